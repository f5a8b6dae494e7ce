// The calls to Resource Manager with what is left of its limits, and the events: newest first.

import { fetched } from "./link.js";
import { open, problem } from "./panel.js";
import { store } from "./store.js";
import { element, facts, foreign, hint, json, set, shortPath, shortSet, time } from "./text.js";
import { WindowedList } from "./windowed.js";

const tones = { completed: "good", accepted: "", progressed: "", rejected: "warn", duplicate: "warn" };
const statusTones = { Succeeded: "good", NothingToDo: "good", Failed: "bad", TimedOut: "bad", PartiallySucceeded: "bad", Rejected: "warn", Canceled: "warn" };

// By the names under which Compute and Resource Manager report them.
const LIMITS = {
  reads: "reads",
  writes: "writes",
  VMScaleSetActionsSubscriptionMaximum: "maintenance",
  GetVMScaleSetVMsResource: "lists of a set",
  GetVMScaleSetVMsSubscriptionMaximum: "lists of all",
  GetOperationResource: "polls of one",
  GetOperationSubscriptionMaximum: "polls of all",
};

export function begin() {
  list("calls", callRow, (call) => `${call.method} ${call.path} ${call.status ?? "cut"}`, showCall);
  list("events", eventRow, (event) => `${event.kind} ${event.request} ${event.set} ${event.status} ${event.detail}`, showEvent);
  store.view(["limits"], drawLimits);
}

function list(section, fill, words, show) {
  const root = document.querySelector(`#${section}`);
  const filter = root.querySelector("input");
  const count = root.querySelector(".count");
  let lines = [];
  let newest = 0;
  const shown = new WindowedList(root.querySelector(".list"), {
    fill: (row, index) => fill(row, lines[index]),
    open: (index) => show(lines[index].n).catch(problem),
  });
  const draw = () => {
    const wanted = filter.value.trim().toLowerCase();
    lines = store[section].filter((line) => !wanted || words(line).toLowerCase().includes(wanted)).reverse();
    const added = newest ? lines.findIndex((line) => line.n <= newest) : 0;
    newest = lines[0]?.n ?? 0;
    set(count, lines.length === store[section].length ? `${lines.length}` : `${lines.length} of ${store[section].length}`);
    shown.show(lines.length, Math.max(added, 0));
  };
  filter.addEventListener("input", () => {
    newest = 0;
    draw();
  });
  store.view([section], draw);
}

// Rows are used again: only texts and classes change, so that scrolling makes no garbage.
function parts(row, ...names) {
  if (!row.parts) {
    row.parts = names.map((name) => element("span", { class: name }));
    row.append(...row.parts);
  }
  return row.parts;
}

function callRow(row, call) {
  const [when, method, path, status] = parts(row, "when", "method", "grow text mono", "status");
  set(when, time(call.at));
  set(method, call.method);
  set(path, shortPath(call.path));
  hint(path, call.path);
  const words = call.status === null ? "cut" : call.status === 429 ? "429 throttled" : `${call.status}`;
  set(status, words);
  status.className = `status ${call.status === null || call.status >= 500 ? "bad" : call.status >= 400 ? "warn" : "good"}`;
}

function eventRow(row, event) {
  const [when, kind, who, detail, status] = parts(row, "when", "kind", "who text", "grow text quiet", "status");
  set(when, time(event.at));
  set(kind, event.kind);
  kind.className = `kind ${tones[event.kind] ?? ""}`;
  set(who, event.request || event.id);
  set(detail, [shortSet(event.set), event.detail].filter(Boolean).join(" · "));
  set(status, event.status);
  status.className = `status ${statusTones[event.status] ?? "quiet"}`;
}

async function showCall(number) {
  const call = await fetched(`/calls/${number}`);
  open(`${call.method} ${shortPath(call.path)}`, [
    facts([
      ["time", call.at],
      ["status", call.status ?? "the connection was cut"],
      ["path", call.path],
      ["query names", call.query.join(", ")],
      ["token", call.tokenSeen ? (call.authorized ? "accepted; not shown" : "not accepted, or not checked; not shown") : "none"],
      ["trace", call.trace],
    ]),
    element("h3", {}, "Headers"),
    facts(Object.entries(call.headers)),
    element("h3", {}, "Body"),
    call.body ? json(call.body) : element("p", { class: "quiet" }, "none"),
  ]);
}

async function showEvent(number) {
  const event = await fetched(`/events/${number}`);
  open(`${event.kind} ${event.request || event.id}`, [
    facts([
      ["time", event.at],
      ["id", event.id],
      ["status", event.status],
      ["detail", event.detail],
      ["trace", event.trace],
    ]),
    json(event.body),
  ]);
}

function drawLimits() {
  const box = document.querySelector("#calls .limits");
  const wanted = [...store.limits.values()].filter((limit) => !limit.name.startsWith("global-"));
  while (box.children.length > wanted.length) box.lastChild.remove();
  wanted.forEach((limit, at) => {
    if (!box.children[at]) {
      box.append(element("li", {}, foreign(""), element("span", {}), element("meter", { min: 0, low: 0 })));
    }
    const item = box.children[at];
    const [name, left, meter] = item.children;
    set(name, LIMITS[limit.name] ?? limit.name);
    hint(name, `${limit.name} of ${limit.owner}`);
    set(left, `${limit.left} / ${limit.bucket}`);
    meter.max = limit.bucket;
    meter.value = limit.left;
    meter.setAttribute("aria-label", `${limit.name}: ${limit.left} of ${limit.bucket} left`);
    item.classList.toggle("low", limit.left * 10 < limit.bucket);
  });
  box.hidden = !wanted.length;
}
