// Elements and texts. Whatever others wrote becomes a text node, never markup.

// What a reader cannot see, or what changes how its neighbours read: control characters, marks that turn the direction
// of writing, half of a surrogate pair. Shown by its number.
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\p{Surrogate}]/gu;
const IN_A_LINE = { "\n": "\\n", "\t": "\\t" };

const code = (sign) => `\\u${sign.codePointAt(0).toString(16).padStart(4, "0")}`;

export const visible = (text) => String(text).replace(HIDDEN, code);
export const inLine = (text) => visible(text).replace(/[\n\t]/g, (sign) => IN_A_LINE[sign]);

// An element with attributes, and children that are elements or texts.
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "onclick" || name === "oninput" || name === "onsubmit") made[name] = value;
    else made.setAttribute(name, value === true ? "" : name === "value" ? value : inLine(value));
  }
  for (const child of children) {
    if (child !== null && child !== undefined) made.append(child instanceof Node ? child : inLine(child));
  }
  return made;
}

// A text that others wrote, in a box of its own direction.
export const foreign = (text, attributes = {}) =>
  element("span", { ...attributes, class: `text ${attributes.class ?? ""}`.trim() }, text);

export const set = (node, text) => {
  const wanted = inLine(text);
  if (node.textContent !== wanted) node.textContent = wanted;
};

export const hint = (node, text) => {
  const wanted = inLine(text);
  if (node.title !== wanted) node.title = wanted;
};

const TIME = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

export const time = (iso) => (iso ? TIME.format(new Date(iso)) : "");
export const day = (milliseconds) => DAY.format(milliseconds);

export function length(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 100) return `${whole} s`;
  if (whole < 6000) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  const hours = Math.round(whole / 3600);
  return hours < 48 ? `${hours} h` : `${Math.round(hours / 24)} days`;
}

// What is the same in all paths of Resource Manager is left out.
export function shortPath(path) {
  const parts = path.split("/").filter(Boolean);
  const lower = parts.map((part) => part.toLowerCase());
  const operation = lower.indexOf("operations");
  if (operation > 0) return `operation ${(parts[operation + 1] ?? "").slice(0, 8)}`;
  const group = lower.indexOf("resourcegroups");
  const provider = lower.indexOf("microsoft.compute");
  const tail = parts.slice(provider + 1).join("/").replace(/^virtualMachineScaleSets\/?/i, "");
  const where = group >= 0 ? `${parts[group + 1] ?? ""}/` : "";
  return provider < 0 ? path : `${where}${tail || "all scale sets"}`;
}

export const shortSet = (key) => key.split("/").slice(1).join("/");
export const natural = new Intl.Collator("en", { numeric: true }).compare;

// JSON with its lines broken, written as it came: a name that comes twice stays twice, a long number stays whole.
export function json(text) {
  const shown = element("pre", { tabindex: "0" });
  try {
    JSON.parse(text);
  } catch {
    shown.append(visible(text));
    return shown;
  }
  const signs = text.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g) ?? [];
  let depth = 0;
  const broken = () => `\n${"  ".repeat(depth)}`;
  let plain = "";
  const flush = () => {
    if (plain) shown.append(plain);
    plain = "";
  };
  signs.forEach((sign, at) => {
    const empty = (sign === "{" && signs[at + 1] === "}") || (sign === "[" && signs[at + 1] === "]");
    const closesEmpty = (sign === "}" && signs[at - 1] === "{") || (sign === "]" && signs[at - 1] === "[");
    if (sign === "{" || sign === "[") {
      depth += 1;
      plain += empty ? sign : sign + broken();
    } else if (sign === "}" || sign === "]") {
      depth -= 1;
      plain += closesEmpty ? sign : broken() + sign;
    } else if (sign === ",") plain += sign + broken();
    else if (sign === ":") plain += ": ";
    else if (signs.length > 20000) plain += visible(sign);
    else {
      flush();
      const kind = signs[at + 1] === ":" ? "key" : sign.startsWith('"') ? "string" : "number";
      const part = document.createElement("span");
      part.className = kind;
      part.append(visible(sign));
      shown.append(part);
    }
  });
  flush();
  return shown;
}

export const facts = (pairs) =>
  element(
    "dl",
    { class: "facts" },
    ...pairs
      .filter(([, value]) => value !== null && value !== undefined && value !== "")
      .flatMap(([name, value]) => [
        element("dt", {}, name),
        element("dd", {}, value instanceof Node ? value : foreign(value)),
      ]),
  );
