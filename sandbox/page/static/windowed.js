// A list of which only the rows in sight are in the document, however long it is.

const ROW = 24;
const MORE = 8;

export class WindowedList {
  // `fill(row, index)` draws one row; `open(index)` is called with the row that is clicked, or chosen by Enter.
  constructor(box, { fill, open }) {
    this.box = box;
    this.fill = fill;
    this.open = open;
    this.count = 0;
    this.at = -1;
    this.rows = [];
    this.space = document.createElement("div");
    this.space.className = "space";
    this.space.setAttribute("role", "presentation");
    box.append(this.space);
    box.addEventListener("scroll", () => this.soon(), { passive: true });
    box.addEventListener("keydown", (event) => this.key(event));
    this.space.addEventListener("click", ({ target }) => {
      const row = target.closest(".row");
      if (row) open(Number(row.dataset.index));
    });
    new ResizeObserver(() => this.soon()).observe(box);
  }

  // `added`: so many rows are new at the top; what is in sight stays in sight.
  show(count, added = 0) {
    this.count = count;
    this.space.style.height = `${count * ROW}px`;
    if (added && this.box.scrollTop > ROW) this.box.scrollTop += added * ROW;
    if (added && this.at >= 0) this.at += added;
    if (this.at >= count) this.at = count - 1;
    this.draw();
  }

  soon() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = undefined;
      this.draw();
    });
  }

  draw() {
    const first = Math.max(0, Math.floor(this.box.scrollTop / ROW) - MORE);
    const last = Math.min(this.count, Math.ceil((this.box.scrollTop + this.box.clientHeight) / ROW) + MORE);
    while (this.rows.length < last - first) {
      const row = document.createElement("div");
      row.className = "row";
      row.setAttribute("role", "option");
      this.rows.push(row);
      this.space.append(row);
    }
    this.rows.forEach((row, at) => {
      const index = first + at;
      row.hidden = index >= last;
      if (row.hidden) return;
      row.style.top = `${index * ROW}px`;
      row.dataset.index = index;
      row.setAttribute("aria-posinset", index + 1);
      row.setAttribute("aria-setsize", this.count);
      row.setAttribute("aria-selected", index === this.at);
      row.classList.toggle("at", index === this.at);
      this.fill(row, index);
    });
    this.inSight = [first, last];
  }

  key(event) {
    const page = Math.max(1, Math.floor(this.box.clientHeight / ROW) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -this.count, End: this.count };
    if (event.key === "Enter" && this.at >= 0) this.open(this.at);
    else if (event.key in steps && this.count) {
      this.at = Math.min(this.count - 1, Math.max(0, this.at + steps[event.key]));
      const top = this.at * ROW;
      if (top < this.box.scrollTop) this.box.scrollTop = top;
      else if (top + ROW > this.box.scrollTop + this.box.clientHeight) this.box.scrollTop = top + ROW - this.box.clientHeight;
      this.draw();
    } else return;
    event.preventDefault();
  }
}
