// What scripts add to pages that work without them. Every element says by a data attribute what it wants.
"use strict";

document.documentElement.classList.add("js");

for (const box of document.querySelectorAll("[data-digits]")) {
  // A code goes off by itself once it is complete; once, so that a wrong one can be mended in peace.
  let sent = box.value !== "";
  if (sent) box.select();
  box.addEventListener("input", () => {
    const digits = box.value.replace(/[\s\u200b\u00a0-]/g, "");
    if (!sent && digits.length === Number(box.dataset.digits) && /^\d+$/.test(digits)) {
      sent = true;
      box.form.requestSubmit();
    }
  });
}

for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    const from = document.getElementById(button.dataset.copy);
    const text = from.dataset.text || from.textContent.trim();
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const marked = document.createRange();
      marked.selectNodeContents(from);
      getSelection().removeAllRanges();
      getSelection().addRange(marked);
      return;
    }
    button.textContent = button.dataset.copied;
  });
}

for (const button of document.querySelectorAll("[data-print]")) {
  button.addEventListener("click", () => window.print());
}

for (const place of document.querySelectorAll("[data-live]")) {
  // A part of the page that changes by itself: asked for again every few seconds, until it says that it is over.
  const every = Number(place.dataset.every) * 1000;
  const look = async () => {
    try {
      const answer = await fetch(place.dataset.live, { headers: { "X-Part": "1" }, redirect: "error" });
      if (answer.ok) {
        const text = await answer.text();
        if (text !== place.innerHTML) place.innerHTML = text;
        if (place.querySelector("[data-over]")) return;
      }
    } catch {
      // away for a moment: asked again
    }
    setTimeout(look, every);
  };
  setTimeout(look, every);
}

for (const button of document.querySelectorAll("[data-wait]")) {
  // What can be asked for again only later; it says so itself.
  const words = button.textContent;
  const opens = Date.now() + Number(button.dataset.wait) * 1000;
  const tick = () => {
    const left = Math.ceil((opens - Date.now()) / 1000);
    button.disabled = left > 0;
    button.textContent = left > 0 ? button.dataset.waiting.replace("%", left) : words;
    if (left > 0) setTimeout(tick, 250);
  };
  tick();
}
