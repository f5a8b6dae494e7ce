// Queues, the topic and its subscriptions: how many messages there are, when the next is due, and each of them.

import { fetched } from "./link.js";
import { open, problem } from "./panel.js";
import { store } from "./store.js";
import { element, facts, foreign, hint, json, length, set, time } from "./text.js";
import { WindowedList } from "./windowed.js";

const DEAD = "/$DeadLetterQueue";
const CHUNK = 100;
const rows = new Map();
const body = document.querySelector("#queues tbody");

export function begin() {
  store.view(["entities"], draw);
}

export function tick() {
  for (const [name, row] of rows) due(row, store.entities.get(name));
}

function draw() {
  for (const [name, row] of rows) {
    if (store.entities.has(name)) continue;
    row.root.remove();
    rows.delete(name);
  }
  for (const [name, entity] of store.entities) {
    if (!rows.has(name)) {
      const label = element("button", { type: "button", class: "link text", onclick: () => browse(name) }, entity.label);
      const numbers = ["active", "locked", "scheduled", "dead"].map(() => element("td"));
      const next = element("td");
      const root = element("tr", {}, element("td", {}, label), ...numbers, next);
      root.dataset.entity = name;
      rows.set(name, { root, numbers, next });
      body.append(root);
    }
    const row = rows.get(name);
    ["active", "locked", "scheduled", "dead"].forEach((what, at) => {
      set(row.numbers[at], entity[what].toLocaleString("en"));
      row.numbers[at].className = entity[what] === 0 ? "zero" : what;
      row.numbers[at].dataset.what = what;
    });
    due(row, entity);
  }
}

function due(row, entity) {
  if (!entity) return;
  const left = entity.nextDue ? (Date.parse(entity.nextDue) - store.now()) / 1000 : null;
  set(row.next, left === null ? "–" : left <= 0 ? "now" : `in ${length(left)}`);
  hint(row.next, entity.nextDue ?? "");
  row.next.className = left === null ? "zero" : "";
}

// The messages of an entity, fetched in pieces as they come in sight.
function browse(name) {
  let dead = false;
  let total = 0;
  let pieces = new Map();
  const asked = new Set();
  const box = element("div", { class: "list", tabindex: "0", role: "listbox", "aria-label": `Messages of ${name}` });
  const whole = element("div");
  const none = element("p", { class: "quiet" }, "No messages.");
  const message = (index) => pieces.get(Math.floor(index / CHUNK))?.[index % CHUNK];
  const list = new WindowedList(box, {
    fill: (row, index) => {
      fill(row, message(index));
      if (!pieces.has(Math.floor(index / CHUNK))) ask(Math.floor(index / CHUNK));
    },
    open: (index) => message(index) && show(message(index).number).catch(problem),
  });
  const entity = () => (dead ? name + DEAD : name);
  const ask = (piece) => {
    const key = `${dead} ${piece}`;
    if (asked.has(key)) return;
    asked.add(key);
    const path = `/messages?entity=${encodeURIComponent(entity())}&skip=${piece * CHUNK}&most=${CHUNK}`;
    fetched(path)
      .then((found) => {
        if (key !== `${dead} ${piece}`) return;
        pieces.set(piece, found.messages);
        total = found.total;
        none.hidden = total > 0;
        list.show(total);
      }, problem)
      .finally(() => asked.delete(key));
  };
  // What is shown stays until the new pieces are there; those out of sight are fetched again when they are needed.
  const again = () => {
    const [first, last] = list.inSight ?? [0, 1];
    const inSight = new Set([0, Math.floor(first / CHUNK), Math.floor(Math.max(last - 1, 0) / CHUNK)]);
    pieces = new Map([...pieces].filter(([piece]) => inSight.has(piece)));
    inSight.forEach(ask);
  };
  const show = async (number) => {
    const found = await fetched(`/messages/${number}?entity=${encodeURIComponent(entity())}`);
    whole.replaceChildren(
      element("h3", {}, foreign(found.id)),
      facts([
        ["state", found.state],
        ["number", found.number],
        ["subject", found.subject],
        ["enqueued", found.enqueued],
        ["due", found.due],
        ["failed deliveries", found.deliveries],
        ["correlation", found.correlation],
        ["dead-letter reason", found.reason],
        ["description", found.description],
        ...Object.entries(found.properties),
      ]),
      json(found.body),
    );
    whole.scrollIntoView({ block: "nearest" });
  };
  const tab = (words, wanted) =>
    element("button", { type: "button", "aria-pressed": String(wanted === dead), onclick: ({ target }) => {
      dead = wanted;
      pieces = new Map();
      for (const other of target.parentNode.children) other.setAttribute("aria-pressed", String(other === target));
      whole.replaceChildren();
      list.show(0);
      again();
    } }, words);
  const tabs = element("div", { class: "tabs" }, tab("Messages", false), tab("Dead letters", true));
  open(name, [tabs, box, none, whole], { sections: ["entities"], draw: again });
}

function fill(row, message) {
  if (!row.parts) {
    row.parts = ["when", "kind", "grow text mono", "status quiet"].map((name) => element("span", { class: name }));
    row.append(...row.parts);
  }
  const [when, state, id, more] = row.parts;
  set(when, message ? time(message.due ?? message.enqueued) : "");
  set(state, message ? message.state : "…");
  set(id, message ? message.id : "");
  set(more, message ? (message.reason ?? (message.deliveries ? `${message.deliveries} failed` : (message.subject ?? ""))) : "");
}
