// The panel at the side: one thing at a time, opened over the page; and the line that says what was done.

import { store } from "./store.js";
import { element, foreign, set, visible } from "./text.js";

const dialog = document.querySelector("#panel");
const title = document.querySelector("#panel-title");
const body = document.querySelector("#panel-body");
const notice = document.querySelector("#notice");
let live = null;

// `follows`: sections of the store, and what draws again when they change.
export function open(words, children, follows = null) {
  title.replaceChildren(foreign(words));
  body.replaceChildren(...children);
  live = follows;
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  follows?.draw();
}

export const close = () => dialog.close();

// What was done is said for a while; what went wrong, and what holds for good, until something else is said.
const A_WHILE = 8000;
let timer = 0;

export function say(words, bad = false, lasting = bad) {
  clearTimeout(timer);
  if (!lasting) timer = setTimeout(() => (notice.hidden = true), A_WHILE);
  notice.classList.toggle("bad", bad);
  notice.replaceChildren(visible(words));
  notice.hidden = !words;
}

export const problem = (error) => {
  const words = error instanceof TypeError ? "The sandbox does not respond." : error.message;
  say(words, true);
  const shown = body.querySelector(".result");
  if (dialog.open && shown) {
    shown.className = "result bad";
    set(shown, words);
  }
};

export const result = () => element("p", { class: "result", role: "status" });

export function begin() {
  document.querySelector("#panel-close").addEventListener("click", close);
  // A click beside the panel closes it, as Escape does.
  dialog.addEventListener("click", ({ target }) => target === dialog && close());
  dialog.addEventListener("close", () => {
    live = null;
    body.replaceChildren();
  });
  for (const section of ["instances", "runs", "calls", "events", "entities"]) {
    store.view([section], () => live?.sections.includes(section) && live.draw());
  }
}
