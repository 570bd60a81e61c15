// How a client app loses no work: it keeps the text, says what is missing, leads there and back, and saves again.
"use strict";

const { user, signIn } = document.body.dataset;
const form = document.forms.note;
const { text } = form.elements;
const [said, way, button, here] = ["#said", "#way", "button", "#here"].map((name) => form.querySelector(name));
// What was kept on the way there and back in this tab. Nothing of it stays, and nobody else than its author gets it.
const kept = JSON.parse(sessionStorage.getItem(user));
sessionStorage.clear();
// The same for each try, so that a save whose answer was lost and that is sent again makes no second note.
const id = kept?.id ?? crypto.randomUUID();
const WAYS = {
  "enrolment-required": ["/set-up", "Set up two-factor authentication in a new tab"],
  "second-factor-required": ["/code", "Type your code in a new tab"],
  unauthenticated: ["/", "Sign in again in a new tab"],
  "another-user": ["/", "Sign in as the note’s author in a new tab"],
};
let isSaved = true;

text.addEventListener("input", () => (isSaved = false));
addEventListener("beforeunload", (event) => isSaved || event.preventDefault());
here.addEventListener("click", () => {
  sessionStorage.setItem(user, JSON.stringify({ id, text: text.value }));
  isSaved = true; // kept, so that nobody is asked whether to leave
});
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const headers = { "Content-Type": "application/json", "X-Author": user };
  try {
    const answer = await fetch(`/notes/${id}`, { method: "PUT", headers, body: JSON.stringify({ text: text.value }) });
    tell(answer.ok ? null : await answer.json());
  } catch {
    tell({ detail: "It could not be sent. Please try again in a moment." });
  }
});
if (kept) {
  text.value = kept.text;
  tell({ detail: "Please save it now." });
}

function tell(problem) {
  const kind = problem?.type?.split(":").pop();
  const [page, words] = WAYS[kind] ?? [];
  const lead = (back) => `${signIn}${page ?? ""}?return_to=${encodeURIComponent(location.origin + back)}`;
  isSaved = !problem;
  said.textContent = problem ? `Not saved yet; your note is kept here. ${problem.detail}` : "Saved.";
  if (problem?.reason) said.textContent += ` ${problem.reason.sentence}`;
  button.textContent = problem ? "Save again" : "Save";
  way.hidden = !page;
  way.firstElementChild.textContent = words ?? "";
  way.firstElementChild.href = lead("/back");
  here.href = lead("/");
  // While nobody, or somebody else, is signed in, what was written about a patient is not on the screen, nor kept.
  text.hidden = here.hidden = kind === "unauthenticated" || kind === "another-user";
}
