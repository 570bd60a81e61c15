// How a client app loses no work: it keeps the text, says what is missing, leads there in a second tab, and saves again.
"use strict";

const { user, signIn } = document.body.dataset;
const form = document.forms.note;
const { text } = form.elements;
const [said, way, button] = ["#said", "#way", "button"].map((name) => form.querySelector(name));
// The same for each try, so that a save whose answer was lost and that is sent again makes no second note.
const id = crypto.randomUUID();
const WAYS = {
  "enrolment-required": ["/set-up", "Set up two-factor authentication in a new tab"],
  "second-factor-required": ["/code", "Type your code in a new tab"],
  unauthenticated: ["/", "Sign in again in a new tab"],
  "another-user": ["/", "Sign in as the note’s author in a new tab"],
};
let isSaved = true;

text.addEventListener("input", () => {
  isSaved = false;
});

addEventListener("beforeunload", (event) => {
  if (!isSaved) event.preventDefault();
});

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = JSON.stringify({ text: text.value });
  const headers = { "Content-Type": "application/json", "X-Author": user };
  try {
    const answer = await fetch(`/notes/${id}`, { method: "PUT", headers, body });
    tell(answer.ok ? null : await answer.json());
  } catch {
    tell({ detail: "It could not be sent. Please try again in a moment." });
  }
});

function tell(problem) {
  const kind = problem?.type?.split(":").pop();
  const [page, words] = WAYS[kind] ?? [];
  isSaved = !problem;
  said.textContent = problem ? `Not saved yet; your note is kept here. ${problem.detail}` : "Saved.";
  if (problem?.reason) said.textContent += ` ${problem.reason.sentence}`;
  button.textContent = problem ? "Save again" : "Save";
  way.hidden = !page;
  way.firstElementChild.textContent = words ?? "";
  way.firstElementChild.href = `${signIn}${page ?? ""}?return_to=${encodeURIComponent(`${location.origin}/back`)}`;
  // While nobody, or somebody else, is signed in, what was written about a patient is not on the screen.
  text.hidden = kind === "unauthenticated" || kind === "another-user";
}
