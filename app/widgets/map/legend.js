// legend.js: the classes. A click selects a class's points, its box hides it, hovering lights it; long lists scroll and filter.
// It opens by itself where there are few classes; what the person chose is kept in the browser.

const LONG = 12; // classes from which a filter box appears, and the list begins closed
const OPEN = "lab.map.legend";

function readChoice(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null; // the browser stores nothing for this page
  }
}

function keepChoice(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch {}
}

class Legend {
  constructor(map) {
    this.map = map;
    this.root = make("div", "legend");
    this.head = make("div", "legend-head");
    this.filter = make("input", "filter");
    this.filter.type = "search";
    this.filter.placeholder = "Find a class";
    this.filter.setAttribute("aria-label", "Find a class");
    this.filter.addEventListener("input", () => this.sift());
    this.all = make("button", "show-all", "Show all");
    this.all.type = "button";
    this.all.addEventListener("click", () => map.setHidden([]));
    this.head.append(this.filter, this.all);
    this.list = make("div", "legend-list");
    this.list.addEventListener("pointerleave", () => map.light(null));
    this.list.setAttribute("role", "group");
    this.list.setAttribute("aria-label", "Classes: Enter selects, H hides");
    rove(this.list, ".entry:not([hidden])");
    this.root.append(this.head, this.list);
    this.rows = new Map(); // label -> its button
    this.signature = "";
  }

  // Rebuilt only when classes, colours or counts change, so that focus and scroll place stay.
  show(frame, hidden) {
    const counts = new Map();
    frame.labels.forEach((label, i) => {
      const count = counts.get(label) ?? [0, 0];
      count[frame.heldOut[i]]++;
      counts.set(label, count);
    });
    const signature = JSON.stringify([[...counts].sort((a, b) => a[0] - b[0]), frame.names, frame.colours, frame.proxyLabels.length > 0]);
    if (signature !== this.signature) {
      this.signature = signature;
      this.build(frame, counts);
    }
    for (const [label, button] of this.rows) {
      button.classList.toggle("away", hidden.has(label));
      button.setAttribute("aria-label", [frame.names[label], ...(hidden.has(label) ? ["hidden"] : [])].join(", "));
    }
    if (this.open === undefined) this.setOpen((readChoice(OPEN) ?? (counts.size <= LONG ? "open" : "closed")) === "open");
    this.all.hidden = hidden.size === 0;
    this.head.hidden = this.filter.hidden && this.all.hidden;
  }

  setOpen(open) {
    this.open = open;
    this.root.hidden = !open;
    this.map.chrome.press("legend", open);
  }

  toggle() {
    this.setOpen(!this.open);
    keepChoice(OPEN, this.open ? "open" : "closed");
  }

  build(frame, counts) {
    const labels = [...counts.keys()].sort((a, b) => a - b);
    const kinds = [
      ["Held-out classes", "disc", labels.filter((label) => counts.get(label)[0] === 0)],
      ["Training classes", "ring", labels.filter((label) => counts.get(label)[1] === 0)],
      ["Held-out and training", "both", labels.filter((label) => counts.get(label)[0] && counts.get(label)[1])],
    ];
    this.rows.clear();
    this.groups = [];
    const children = [];
    for (const [title, shape, members] of kinds) {
      if (!members.length) continue;
      const group = make("div", "legend-group");
      const heading = make("div", "legend-title", title);
      heading.prepend(make("i", `swatch ${shape}`));
      heading.append(make("span", "count", String(members.length)));
      group.append(heading);
      for (const label of members) group.append(this.row(frame, label, shape, counts.get(label)));
      this.groups.push(group);
      children.push(group);
    }
    if (frame.proxyLabels.length) {
      const key = make("div", "legend-title proxies", "Proxies");
      key.prepend(make("i", "swatch star", "★"));
      key.title = "One star for each training class, in its colour: what the loss pulls its images to";
      children.push(key);
    }
    this.list.replaceChildren(...children);
    this.filter.hidden = labels.length <= LONG;
    this.sift();
  }

  row(frame, label, shape, [training, held]) {
    const button = make("button", "entry");
    button.type = "button";
    button.dataset.label = label;
    const swatch = make("i", `swatch ${shape}`);
    swatch.style.setProperty("--colour", frame.colours[label]);
    const name = make("span", "name");
    name.append(...endsOf(frame.names[label]).map((part, at) => make("span", at ? "name-end" : "name-start", part)));
    button.append(swatch, name, make("span", "count", String(training + held)));
    button.title = `${frame.names[label]}: click selects, the box hides or shows (H)`;
    button.addEventListener("click", (event) => (event.target === swatch ? this.map.toggleHidden(label) : this.map.selectClass(label)));
    button.addEventListener("keydown", (event) => {
      if (event.key.toLowerCase() === "h" && !event.ctrlKey && !event.metaKey && !event.altKey) this.map.toggleHidden(label);
    });
    button.addEventListener("pointerenter", (event) => event.pointerType !== "touch" && this.map.light(label));
    button.addEventListener("focus", () => button.matches(":focus-visible") && this.map.light(label));
    button.addEventListener("blur", () => this.map.light(null));
    this.rows.set(label, button);
    return button;
  }

  sift() {
    const wanted = this.filter.hidden ? "" : this.filter.value.trim().toLowerCase();
    for (const button of this.rows.values()) button.hidden = !button.querySelector(".name").textContent.toLowerCase().includes(wanted);
    for (const group of this.groups ?? []) group.hidden = !group.querySelector(".entry:not([hidden])");
  }
}
