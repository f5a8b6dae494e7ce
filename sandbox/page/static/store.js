// What the page knows, and who is to draw it again. Changes are grouped: one drawing for each frame of the screen.

const LINES = 1000;
const SECTIONS = ["sets", "instances", "entities", "faults", "limits", "runs", "about", "clock"];

class Store {
  constructor() {
    for (const section of SECTIONS) this[section] = new Map();
    this.calls = [];
    this.events = [];
    this.ahead = 0; // milliseconds by which the sandbox's clock is ahead of this machine's
    this.views = [];
    this.dirty = new Map();
    this.whole = false;
    this.frame = 0;
  }

  // `draw(keys, whole)` is called with the keys of the sections that have changed.
  view(sections, draw) {
    this.views.push({ sections, draw });
  }

  now() {
    const still = this.clock.get("now");
    return still ? Date.parse(still) : Date.now() + this.ahead;
  }

  snapshot(content) {
    for (const section of SECTIONS) this[section].clear();
    this.calls = [];
    this.events = [];
    this.whole = true;
    this.apply(content);
  }

  apply(content) {
    this.ahead = Date.parse(content.now) - Date.now();
    for (const [section, { set = {}, gone = [] }] of Object.entries(content.changes)) {
      if (!SECTIONS.includes(section)) continue;
      const keys = this.keysOf(section);
      for (const key of gone) {
        this[section].delete(key);
        keys.add(key);
      }
      for (const [key, entry] of Object.entries(set)) {
        this[section].set(key, entry);
        keys.add(key);
      }
    }
    for (const section of ["calls", "events"]) {
      if (!content[section].length) continue;
      this[section] = this[section].concat(content[section]).slice(-LINES);
      this.keysOf(section).add("lines");
    }
    this.soon();
  }

  keysOf(section) {
    if (!this.dirty.has(section)) this.dirty.set(section, new Set());
    return this.dirty.get(section);
  }

  soon() {
    if (!this.frame) this.frame = requestAnimationFrame(() => this.draw());
  }

  draw() {
    const { dirty, whole } = this;
    this.dirty = new Map();
    this.whole = false;
    this.frame = 0;
    for (const { sections, draw } of this.views) {
      if (whole || sections.some((section) => dirty.has(section))) draw(dirty, whole);
    }
  }
}

export const store = new Store();
