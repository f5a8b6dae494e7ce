// Requests as a timeline: the waves, the pauses and waits between them, and why a request waits.

import { open } from "./panel.js";
import { store } from "./store.js";
import { element, facts, foreign, length, set, shortPath, shortSet, time } from "./text.js";
import { traceOf } from "./trace.js";

const KINDS = {
  work: "maintenance",
  post: "POST sent",
  pause: "pause",
  health: "waits for health",
  retry: "tries again later",
  plan: "plans",
};
const GOOD = ["Succeeded", "NothingToDo"];
const BAD = ["Failed", "TimedOut", "PartiallySucceeded"];
const MOST = 40;
const LEAST_MILLISECONDS = 5000;
const rows = new Map();
const box = document.querySelector("#runs .rows");
const empty = document.querySelector("#runs .empty");

export function begin() {
  const legend = document.querySelector("#span-legend");
  for (const [kind, words] of Object.entries(KINDS)) {
    legend.append(element("li", {}, element("span", { class: "swatch", "data-kind": kind, "aria-hidden": true }), words));
  }
  new ResizeObserver(() => rows.forEach((row) => row.run && place(row, row.run))).observe(box);
  store.view(["runs"], (dirty, whole) => draw(whole ? null : dirty.get("runs")));
}

// What moves with the clock alone: the ends of bars that go on, and the time until something is due.
export function tick() {
  // As it is drawn: the store may know more by now, which the next frame draws.
  for (const row of rows.values()) if (!row.run.status) place(row, row.run);
}

function draw(keys) {
  const shown = [...store.runs].sort(([, a], [, b]) => b.requested.localeCompare(a.requested) || (a.id < b.id ? 1 : -1)).slice(0, MOST);
  const kept = new Set(shown.map(([key]) => key));
  for (const [key, row] of rows) {
    if (kept.has(key)) continue;
    row.root.remove();
    rows.delete(key);
  }
  shown.forEach(([key, run], at) => {
    if (!rows.has(key)) rows.set(key, made(key));
    const row = rows.get(key);
    // In its place first: what fits into a bar depends on its width.
    if (box.children[at] !== row.root) box.insertBefore(row.root, box.children[at] ?? null);
    if (keys === null || keys.has(key) || !row.run) fill(row, run);
  });
  empty.hidden = rows.size > 0;
}

function made(key) {
  const request = element("button", { type: "button", class: "link request text", onclick: () => tell(key) });
  const badge = element("span", { class: "badge" });
  const where = foreign("", { class: "where" });
  const goes = element("span", { class: "goes" });
  const bar = element("div", { class: "bar", role: "img" });
  const waves = element("ul", { class: "waves", "aria-label": "Waves" });
  const why = element("p", { class: "why text" });
  const root = element("article", { class: "run" }, element("div", { class: "run-line" }, request, badge, where, goes), bar, waves, why);
  return { root, request, badge, where, goes, bar, waves, why, spans: [], run: null, width: 300 };
}

function fill(row, run) {
  row.run = run;
  row.root.dataset.request = run.request;
  const last = run.spans.at(-1);
  set(row.request, run.request);
  set(row.badge, run.status || (last ? KINDS[last.kind] : "accepted"));
  const tone = !run.status ? "busy" : GOOD.includes(run.status) ? "good" : BAD.includes(run.status) ? "bad" : "warn";
  row.badge.className = `badge ${tone}`;
  set(row.where, shortSet(run.set));
  set(row.why, run.why);
  row.why.hidden = !run.why;
  row.waves.replaceChildren(...(run.waves.length > 1 ? run.waves.map((wave, at) => waveMark(run, wave, at)) : []));
  row.waves.hidden = run.waves.length < 2;
  row.spans = run.spans.map((span) => {
    const words = span.kind === "work" ? `wave ${span.wave + 1}` : KINDS[span.kind];
    const title = `${KINDS[span.kind]}, wave ${span.wave + 1}, from ${time(span.from)}${span.to ? ` to ${time(span.to)}` : ""}`;
    return element("div", { class: "span", "data-kind": span.kind, title }, words);
  });
  row.bar.replaceChildren(...row.spans);
  row.bar.setAttribute("aria-label", run.spans.map((span) => `wave ${span.wave + 1}: ${KINDS[span.kind]}`).join(", "));
  place(row, run);
}

function waveMark(run, wave, at) {
  const ended = run.status && run.status !== "Canceled" && run.status !== "TimedOut";
  const state = at < run.wave || (ended && at === run.wave) ? "done" : at === run.wave && !run.status ? "now" : "next";
  const sign = { done: "✓ ", now: "▸ ", next: "" }[state];
  const listed = wave.length > 8 ? `${wave.slice(0, 3).join(", ")} … ${wave.at(-1)}` : wave.join(", ");
  return element("li", { "data-at": state, title: `wave ${at + 1}: ${listed}` }, `${sign}${at + 1}: ${wave.length} inst.`);
}

function place(row, run) {
  row.width = row.bar.clientWidth || row.width;
  const begun = Date.parse(run.requested);
  const now = store.now();
  const lastEnd = run.spans.at(-1)?.to;
  const end = run.status && lastEnd ? Math.max(Date.parse(lastEnd), begun + 1) : Math.max(now, begun + LEAST_MILLISECONDS);
  const share = (iso) => (100 * Math.min(Math.max((iso ? Date.parse(iso) : now) - begun, 0), end - begun)) / (end - begun);
  run.spans.forEach((span, at) => {
    const from = share(span.from);
    const width = Math.max(share(span.to) - from, 0.4);
    const shown = row.spans[at];
    shown.style.left = `${from}%`;
    shown.style.width = `${width}%`;
    // A word that does not fit says less than none.
    shown.classList.toggle("narrow", (width / 100) * row.width < 8 + 6 * shown.textContent.length);
  });
  const wave = run.waves.length > 1 ? `wave ${Math.min(run.wave + 1, run.waves.length)} of ${run.waves.length} · ` : "";
  const due = run.due && !run.status ? (Date.parse(run.due) - now) / 1000 : null;
  const goes = run.status ? length((end - begun) / 1000) : due === null ? "at work" : due > 0 ? `next poll in ${length(due)}` : "due";
  set(row.goes, `${wave}${goes}`);
}

// The story of a request: its records, the calls for its scale set or of its trace, and its events, by time.
function tell(key) {
  const list = element("ul", { class: "story" });
  const about = element("div");
  const traceId = store.runs.get(key).trace;
  const trace = traceId ? traceOf(traceId) : { parts: [], draw() {} };
  const draw = () => {
    trace.draw();
    const run = store.runs.get(key);
    if (!run) return;
    about.replaceChildren(
      facts([
        ["scale set", shortSet(run.set)],
        ["status", run.status || "goes on"],
        ["waits for", run.why],
        ["due", run.due && !run.status ? time(run.due) : null],
        ["deadline", run.deadline ? time(run.deadline) : null],
        ["run", run.id],
        ["trace", run.trace || "no telemetry: the request brought no traceparent"],
      ]),
    );
    list.replaceChildren(...lines(run).map(([at, who, what]) => element("li", {}, element("span", {}, time(at)), element("span", {}, who), foreign(what))));
  };
  open(`Request ${store.runs.get(key).request}`, [about, element("h3", {}, "What happened"), list, ...trace.parts], { sections: ["runs", "calls", "events"], draw });
}

function lines(run) {
  const end = run.status ? run.spans.at(-1)?.to : null;
  const during = (at) => at >= run.requested && (!end || at <= end);
  const [, group, name] = run.set.toLowerCase().split("/");
  const mine = `/resourcegroups/${group}/providers/microsoft.compute/virtualmachinescalesets/${name}/`;
  const callOfSet = (call) => during(call.at) && `${call.path}/`.toLowerCase().includes(mine);
  const ofTrace = (call) => run.trace && call.trace === run.trace;
  return [
    ...run.spans.map((span) => [span.from, "run", `${KINDS[span.kind]}${run.waves.length > 1 ? `, wave ${span.wave + 1}` : ""}`]),
    ...store.calls.filter((call) => (run.trace && call.trace ? ofTrace(call) : callOfSet(call))).map((call) => [call.at, "ARM", `${call.method} ${shortPath(call.path)} → ${call.status ?? "cut"}`]),
    ...store.events.filter((event) => event.run === run.id).map((event) => [event.at, "event", [event.kind, event.status, event.detail].filter(Boolean).join(" · ")]),
  ].sort(([a], [b]) => a.localeCompare(b));
}
