// Scale sets as cards: an instance is a square, which says its state by a sign and by its colour.

import { open } from "./panel.js";
import { store } from "./store.js";
import { element, facts, foreign, hint, inLine, natural, set } from "./text.js";
import { failingButton } from "./forms.js";

export const STATES = {
  eligible: ["", "due"],
  "in-progress": ["▸", "in maintenance"],
  completed: ["✓", "done"],
  aborted: ["✕", "failed"],
  "retry-later": ["↻", "retry later"],
  "window-closed": ["⌛", "window closed"],
  "not-planned": ["–", "nothing planned"],
};
const MANY = 120;
const WIDE = 9;
const cards = new Map(); // by the scale set's key
const cells = new Map(); // by the instance's key

const box = document.querySelector("#sets .cards");

export function begin() {
  const legend = document.querySelector("#state-legend");
  for (const [state, [sign, words]] of Object.entries(STATES)) {
    if (state === "window-closed" || state === "retry-later") continue;
    legend.append(element("li", {}, element("span", { class: "cell", "data-state": state, "aria-hidden": true }, sign), words));
  }
  box.addEventListener("click", ({ target }) => target.dataset?.key && show(target.dataset.key));
  box.addEventListener("keydown", move);
  store.view(["sets", "instances"], draw);
}

function draw(dirty, whole) {
  const keys = dirty.get("instances") ?? new Set();
  // Another set of instances is another card; another state is another cell.
  const shaped = new Set(dirty.get("sets") ?? []);
  for (const key of keys) {
    const instance = store.instances.get(key);
    const cell = cells.get(key);
    if (!instance || !cell || cell.dataset.domain !== String(instance.domain)) shaped.add(key.split("\n")[0]);
  }
  if (whole) {
    for (const key of new Set([...cards.keys(), ...store.sets.keys()])) shaped.add(key);
  }
  if (shaped.size) shape(shaped);
  const touched = new Set();
  for (const key of whole ? store.instances.keys() : keys) {
    const instance = store.instances.get(key);
    if (!instance) continue;
    touched.add(instance.set);
    if (cells.has(key)) paint(cells.get(key), instance);
  }
  for (const key of touched) count(key);
}

function shape(keys) {
  const byCard = new Map([...keys].map((key) => [key, []]));
  for (const [key, instance] of store.instances) byCard.get(instance.set)?.push([key, instance]);
  for (const [key, instances] of byCard) {
    const old = cards.get(key);
    for (const cell of old?.root.querySelectorAll("[data-key]") ?? []) cells.delete(cell.dataset.key);
    const about = store.sets.get(key);
    if (!about) {
      old?.root.remove();
      cards.delete(key);
      continue;
    }
    const made = card(key, about, instances);
    if (old) old.root.replaceWith(made.root);
    cards.set(key, made);
  }
  const inOrder = [...cards].sort(([a], [b]) => store.sets.get(a).order - store.sets.get(b).order);
  inOrder.forEach(([, { root }], at) => box.children[at] !== root && box.insertBefore(root, box.children[at] ?? null));
}

function card(key, about, instances) {
  instances.sort(([, a], [, b]) => (a.domain ?? -1) - (b.domain ?? -1) || natural(a.id, b.id));
  const domains = new Map();
  instances.forEach(([instanceKey, instance], at) => {
    if (!domains.has(instance.domain)) {
      const label = instance.domain === null ? "?" : instance.domain;
      const title = instance.domain === null ? "update domain not reported" : `update domain ${label}`;
      domains.set(instance.domain, element("div", { class: "domain", title }, element("small", {}, label)));
    }
    const cell = element("button", { type: "button", class: "cell", tabindex: at ? -1 : 0 });
    cell.dataset.key = instanceKey;
    cell.dataset.domain = instance.domain;
    cells.set(instanceKey, cell);
    paint(cell, instance);
    domains.get(instance.domain).append(cell);
  });
  const sum = element("div", { class: "sum" });
  const size = instances.length > MANY ? " many" : instances.length > WIDE ? " wide" : "";
  const root = element(
    "article",
    { class: `card${size}`, "aria-label": `scale set ${about.group}/${about.name}` },
    element("h3", {}, foreign(about.name), element("small", { title: about.subscription }, `${about.group} · ${about.location}`)),
    sum,
    element("div", { class: "domains" }, ...domains.values()),
  );
  root.dataset.set = `${about.group}/${about.name}`;
  return { root, sum };
}

function paint(cell, instance) {
  const [sign, words] = STATES[instance.state] ?? ["?", instance.state];
  if (cell.dataset.state !== instance.state) {
    cell.dataset.state = instance.state;
    set(cell, sign);
  }
  const ill = instance.health === "unhealthy";
  const updated = instance.provisioning === "Updating" && instance.state !== "in-progress";
  cell.classList.toggle("ill", ill);
  cell.classList.toggle("updated", updated);
  const label = `${instance.id}: ${words}${ill ? ", unhealthy" : ""}${updated ? ", updated by others" : ""}`;
  if (cell.ariaLabel !== inLine(label)) {
    hint(cell, label);
    cell.ariaLabel = inLine(label);
  }
}

function count(key) {
  const shown = cards.get(key);
  if (!shown) return;
  const sums = {};
  for (const cell of shown.root.querySelectorAll("[data-key]")) sums[cell.dataset.state] = (sums[cell.dataset.state] ?? 0) + 1;
  const words = Object.keys(STATES).filter((state) => sums[state]).map((state) => `${sums[state]} ${STATES[state][1]}`);
  const mode = store.sets.get(key).mode === "Uniform" ? [] : [store.sets.get(key).mode];
  set(shown.sum, [...mode, ...words].join(" · ") || "no instances");
}

// Arrows move among the squares of a card, of which one can be reached by Tab.
function move(event) {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!step || !event.target.dataset?.key) return;
  const all = [...event.target.closest(".card").querySelectorAll("[data-key]")];
  const next = all[all.indexOf(event.target) + step];
  if (!next) return;
  event.preventDefault();
  event.target.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

function show(key) {
  const body = element("div");
  const draw = () => {
    const instance = store.instances.get(key);
    if (!instance) return body.replaceChildren("The instance is gone.");
    return body.replaceChildren(
      facts([
        ["state", STATES[instance.state]?.[1] ?? instance.state],
        ["message", instance.message],
        ["VM", instance.vm],
        ["update domain", instance.domain],
        ["fault domain", instance.faultDomain],
        ["power", instance.power],
        ["health", instance.health ?? "not reported"],
        ["provisioning", instance.provisioning],
        ["maintenances begun", instance.begun],
        ["last outcome", instance.outcome],
      ]),
    );
  };
  const instance = store.instances.get(key);
  const about = store.sets.get(instance.set);
  open(`${about.group}/${about.name}/${instance.id}`, [body, failingButton(instance)], { sections: ["instances"], draw });
}
