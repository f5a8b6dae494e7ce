// Forms: a request and a cancellation with the fields of their schemas, an alert, a fault, the clock.

import { fetched, perform, token } from "./link.js";
import { open, problem, result, say } from "./panel.js";
import { store } from "./store.js";
import { element, natural, set, shortSet } from "./text.js";

const NAMES = ["subscriptionId", "resourceGroupName", "vmScaleSetName"];
const NOT_ASKED = ["schemaVersion"];

export const mayAct = () => Boolean(token);

export const forms = {
  request: () => message("Send a request", "request", "maintenance-request"),
  cancellation: () => message("Cancel a request", "cancellation", "maintenance-cancellation"),
  alert,
  fault,
  clock,
};

// What does the same in a shell; null where nothing does.
const inShell = (what, text) => {
  const command = store.about.get("command");
  return command && `printf '%s' ${quoted(text)} | ${command.replace("{}", `${what} -`)}`;
};
const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

async function act(command, shown) {
  const done = await perform(command);
  say(done);
  if (shown) {
    shown.className = "result good";
    set(shown, done);
  }
}

// A button that does something; it is not pressed twice at once.
function doing(words, command, shown, kind = "primary") {
  const button = element("button", { type: "button", class: kind, disabled: !mayAct(), onclick: async () => {
    button.disabled = true;
    try {
      await act(command(), shown);
    } catch (error) {
      problem(error);
    } finally {
      button.disabled = false;
    }
  } }, words);
  return button;
}

function copying(text, shown) {
  if (!text()) return null;
  return element("button", { type: "button", onclick: async () => {
    try {
      await navigator.clipboard.writeText(text());
      set(shown, "Copied.");
    } catch {
      set(shown, "The browser does not let a page copy here: select the command below.");
    }
  } }, "Copy the command");
}

function labelled(words, field, title = null, check = false) {
  return check
    ? element("label", { class: "check", title }, field, element("span", {}, words))
    : element("label", { title }, element("span", {}, words), field);
}

const selection = (pairs, name) =>
  element("select", { name }, ...pairs.map(([value, words]) => element("option", { value }, words)));

const sets = () => [...store.sets].sort(([, a], [, b]) => a.order - b.order).map(([key]) => [key, shortSet(key)]);

// One field for one property of a schema; `read` gives its value, undefined where it was left empty.
function property(name, schema) {
  const types = [schema.type, ...(schema.oneOf ?? []).map((each) => each.type)].flat();
  const title = schema.description;
  const words = schema.title ?? name;
  const named = { name, "aria-label": name };
  if (schema.enum || types.includes("boolean")) {
    const values = schema.enum ? schema.enum.filter((each) => each !== null) : [true, false];
    const field = selection([["", "–"], ...values.map((value) => [JSON.stringify(value), String(value)])], name);
    return { label: labelled(words, field, title), field, read: () => (field.value ? JSON.parse(field.value) : undefined) };
  }
  const example = [schema.examples?.[0] ?? ""].flat().join(", ");
  const field = element("input", { ...named, placeholder: example && `e.g. ${example}`, autocomplete: "off", spellcheck: "false" });
  const read = () => {
    const text = field.value.trim();
    if (!text) return undefined;
    if (types.includes("array")) return text.split(",").map((each) => each.trim()).filter(Boolean);
    return types.includes("integer") && /^-?\d+$/.test(text) ? Number(text) : text;
  };
  return { label: labelled(words, field, title), field, read };
}

async function message(title, document_, schemaName) {
  const schema = await fetched(`/documents/${schemaName}`);
  const groups = { "": [] };
  const readers = [];
  for (const [name, each] of Object.entries(schema.properties)) {
    if (NOT_ASKED.includes(name)) continue;
    const nested = each.properties ? Object.entries(each.properties) : [[name, each]];
    const group = each.properties ? (each.title ?? name) : "";
    for (const [inner, entry] of nested) {
      const made = property(inner, entry);
      groups[group] = [...(groups[group] ?? []), made.label];
      readers.push({ path: each.properties ? [name, inner] : [inner], ...made });
    }
  }
  const field = (name) => readers.find(({ path }) => path.at(-1) === name)?.field;
  const body = element("textarea", { "aria-label": "message", spellcheck: "false", rows: 9 });
  const command = element("pre", { tabindex: "0" });
  const shown = result();
  const text = () => inShell("send", body.value);
  const echo = () => command.replaceChildren(text() ?? "");
  const write = () => {
    const written = {};
    for (const { path, read } of readers) {
      const value = read();
      if (value === undefined) continue;
      if (path.length === 1) written[path[0]] = value;
      else (written[path[0]] ??= {})[path[1]] = value;
    }
    // A resource id stands in place of the three names.
    if (written.resourceId) for (const name of NAMES) delete written[name];
    body.value = JSON.stringify(written, null, 2);
    echo();
  };
  const choice = selection(sets(), "scaleSet");
  const choose = () => {
    NAMES.forEach((name, at) => {
      if (field(name)) field(name).value = choice.value.split("/")[at] ?? "";
    });
    write();
  };
  choice.addEventListener("input", choose);
  if (field("requestId")) field("requestId").value = `page-${Date.now().toString(36)}`;
  if (field("cancel")) {
    const last = [...store.runs.values()].filter((run) => !run.status).sort((a, b) => b.requested.localeCompare(a.requested))[0];
    if (last) {
      field("cancel").value = last.request;
      choice.value = last.set;
    }
  }
  const fieldsets = Object.entries(groups).map(([group, labels]) =>
    element("fieldset", { class: "fields" }, group ? element("legend", {}, group) : null, ...(group ? labels : [element("div", { class: "row-of-its-own" }, labelled("Fill in the names of", choice)), ...labels])),
  );
  const form = element("form", { oninput: (event) => event.target !== choice && write(), onsubmit: (event) => event.preventDefault() }, ...fieldsets);
  body.addEventListener("input", echo);
  choose();
  open(title, [
    form,
    element("h3", {}, "The message, as it is sent: change it as you like"),
    body,
    element("div", { class: "buttons" }, doing("Send", () => ({ do: "send", body: body.value }), shown), copying(text, shown)),
    shown,
    ...(text() ? [element("h3", {}, "The same in a terminal"), command] : []),
  ]);
}

async function alert() {
  const body = element("textarea", { "aria-label": "alert", spellcheck: "false", rows: 18 });
  body.value = JSON.stringify(await fetched("/documents/alert"), null, 2);
  const shown = result();
  const text = () => inShell("alert", body.value);
  open("Post an alert", [
    element("p", { class: "quiet" }, "As an action group of Azure Monitor would, to the worker's function receive_alert."),
    body,
    element("div", { class: "buttons" }, doing("Post", () => ({ do: "alert", body: body.value }), shown), copying(text, shown)),
    shown,
  ]);
}

function fault() {
  const shown = result();
  const number = (name, value, most) => element("input", { type: "number", name, value, min: 1, max: most });
  const kind = selection([["throttled", "429 Too Many Requests"], ["unavailable", "503 Service Unavailable"], ["cut-after", "connection cut, work done"], ["cut-before", "connection cut, nothing done"]], "kind");
  const calls = selection([["*", "every call"], ["POST", "performMaintenance"], ["GET", "reads"]], "calls");
  const times = number("times", 1, 1000000);
  const after = number("retryAfter", 5, 86400);
  const lagging = selection(sets(), "lagging");
  const lag = number("lag", 30, 86400);
  const failing = selection(sets(), "failing");
  const instance = element("select", { name: "instance" });
  const list = () => instance.replaceChildren(...[...store.instances.values()].filter((each) => each.set === failing.value).sort((a, b) => natural(a.id, b.id)).map((each) => element("option", { value: each.id }, each.id)));
  failing.addEventListener("input", list);
  list();
  const outcome = selection([["Failed", "Failed"], ["RetryLater", "RetryLater"], ["Aborted", "Aborted"], ["Succeeded", "Succeeded"]], "outcome");
  const entity = selection([["*", "all of them"], ...[...store.entities.keys()].map((name) => [name, name])], "entity");
  const away = number("away", 30, 86400);
  const group = (words, ...fields) => element("fieldset", { class: "fields" }, element("legend", {}, words), ...fields);
  open("Add a fault", [
    group("Resource Manager fails", labelled("How", kind), labelled("Which calls", calls), labelled("How often", times), labelled("Retry-After, seconds", after)),
    doing("Add this fault", () => ({ do: "fault", kind: kind.value, calls: calls.value, times: Number(times.value), retryAfter: Number(after.value) }), shown),
    group("Views lag behind", labelled("Scale set", lagging), labelled("Seconds", lag)),
    doing("Let views lag", () => ({ do: "lag", scaleSet: lagging.value, seconds: Number(lag.value) }), shown),
    group("An instance fails", labelled("Scale set", failing), labelled("Instance", instance), labelled("Its maintenance ends as", outcome)),
    doing("Let it end so", () => ({ do: "failing", scaleSet: failing.value, instanceId: instance.value, outcome: outcome.value }), shown),
    group("Service Bus is away", labelled("Queue or topic", entity), labelled("Seconds", away)),
    doing("Begin the outage", () => ({ do: "outage", entity: entity.value, seconds: Number(away.value) }), shown),
    shown,
  ]);
}

function clock() {
  const shown = result();
  const seconds = element("input", { type: "number", name: "seconds", value: 60, min: 1 });
  open("Move the clock", [
    element("p", { class: "quiet" }, "Forward only: everything that falls due is done, each at its own time."),
    element("div", { class: "fields" }, labelled("Seconds", seconds)),
    doing("Move", () => ({ do: "advance", seconds: Number(seconds.value) }), shown),
    shown,
  ]);
}

export function failingButton(instance) {
  const shown = result();
  const command = () => ({ do: "failing", scaleSet: instance.set, instanceId: instance.id, outcome: "Failed" });
  return element("div", { class: "buttons" }, doing("Let its maintenance fail", command, shown, "danger"), shown);
}
