// The trace of a request: its spans, each below its parent, with a bar where it lies in time.

import { fetched } from "./link.js";
import { element, facts, foreign, length, set } from "./text.js";

const KINDS = { consumer: "receives", client: "calls", producer: "sends", server: "serves", internal: "" };
const DEEPEST = 6;
const AGAIN = 4000;

const milliseconds = (time) => (time < 1000 ? `${Math.round(time)} ms` : time < 10_000 ? `${(time / 1000).toFixed(1)} s` : length(time / 1000));

// A part of the panel that reads the spans of a trace, and reads them again with `draw` and while it is open.
export function traceOf(traceId) {
  const heading = element("h3", {}, "Trace");
  const words = element("p", { class: "quiet" });
  const rows = element("ol", { class: "spans" });
  let drawn = "";
  let asked = false;
  async function draw() {
    if (asked) return;
    asked = true;
    try {
      const { taken, spans, lasts, left } = await fetched(`/traces/${encodeURIComponent(traceId)}`);
      const known = JSON.stringify(spans);
      if (known !== drawn) rows.replaceChildren(...spans.map((span) => row(span, lasts)));
      drawn = known;
      const none = taken ? "No span of it has ended yet." : "Nobody takes its spans here: start the sandbox with --otlp.";
      set(words, spans.length ? `${spans.length} spans in ${milliseconds(lasts)}${left ? `, and ${left} more` : ""}` : none);
    } catch (error) {
      set(words, error.message);
    } finally {
      asked = false;
    }
  }
  // Spans come some seconds after what they are about, the last ones when nothing else changes any more.
  const timer = setInterval(() => (rows.isConnected ? draw() : clearInterval(timer)), AGAIN);
  return { parts: [heading, words, rows], draw };
}

function row(span, lasts) {
  const share = (time) => `${(100 * time) / Math.max(lasts, 1)}%`;
  const bar = element("span", { class: "span", "data-span": span.failed ? "failed" : span.kind });
  bar.style.left = share(span.from);
  bar.style.width = `max(2px, ${share(span.lasts)})`;
  const detail = [KINDS[span.kind], span.failed ? `failed: ${span.status}` : ""].filter(Boolean).join(" · ");
  const name = foreign(span.name, { class: "name" });
  name.style.paddingLeft = `${12 * Math.min(span.depth, DEEPEST)}px`;
  const summary = element("summary", {}, name, element("span", { class: "lasts" }, milliseconds(span.lasts)), element("span", { class: "lane", "aria-hidden": true }, bar));
  const more = facts(Object.entries(span.attributes));
  return element("li", {}, element("details", {}, summary, detail ? foreign(detail, { class: span.failed ? "bad" : "quiet" }) : null, more));
}
