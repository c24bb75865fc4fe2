// tiles.js: rows of image tiles from an atlas. Words from outside are only ever textContent or attributes.
const grids = new WeakMap(); // parentElement -> TileGrid

export default function (message) {
  const parent = message.parentElement;
  if (!grids.has(parent)) grids.set(parent, new TileGrid(parent));
  grids.get(parent).receive(message);
  return () => {
    grids.get(parent)?.destroy();
    grids.delete(parent);
  };
}

const WORDS = { right: "right", wrong: "wrong", query: "query", none: "" };
const STEPS = { ArrowRight: 1, ArrowLeft: -1 };

// Where the one of `count` lies, as CSS wants it: 0 % is the first, 100 % the last.
const share = (place, count) => `${count > 1 ? (100 * place) / (count - 1) : 0}%`;

function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

// Whether the strips of both rows are called the same: the words then stand over the first only.
const sameTitles = (one, other) => one.strips.map((strip) => strip.title).join("\n") === other.strips.map((strip) => strip.title).join("\n");

class TileGrid {
  constructor(parent) {
    this.root = make("div", "tiles");
    parent.append(this.root);
    this.root.addEventListener("click", (event) => this.press(event.target.closest("button")));
    // Streamlit listens for single letters: keys pressed here stay here.
    for (const kind of ["keydown", "keyup", "keypress"]) this.root.addEventListener(kind, (event) => event.stopPropagation());
    this.root.addEventListener("keydown", (event) => this.step(event));
    this.onAtlas = (event) => event.detail === this.data.atlas && this.paint();
    globalThis.addEventListener("lab-atlas", this.onAtlas);
  }

  receive(message) {
    this.message = message;
    const text = JSON.stringify(message.data);
    if (text === this.text) return this.paint();
    this.text = text;
    this.data = message.data;
    const focused = this.root.getRootNode().activeElement?.dataset.spot;
    this.root.style.setProperty("--size", `${this.data.size}px`);
    const most = Math.max(0, ...this.data.rows.map((row) => row.strips.reduce((sum, strip) => sum + strip.tiles.length, row.tiles.length)));
    this.root.style.setProperty("--across", Math.max(1, most));
    this.root.classList.toggle("fits", this.data.rows.some((row) => row.strips.length > 1));
    this.selected = new Set(this.data.selected);
    const rows = this.data.rows.map((row, i) => this.row(row, i));
    this.data.rows.forEach((row, i, all) => i && rows[i].classList.toggle("as-above", sameTitles(row, all[i - 1])));
    this.root.replaceChildren(...(rows.length ? rows : [make("p", "empty", this.data.empty)]));
    this.paint();
    if (focused) this.root.querySelector(`[data-spot="${focused}"]`)?.focus();
    return undefined;
  }

  row(row, at) {
    const section = make("section", "row");
    if (row.title || row.note) {
      const head = make("header");
      if (row.title) head.append(make("strong", "", row.title));
      if (row.note) head.append(make("span", "note", row.note));
      section.append(head);
    }
    const body = make("div", row.strips.length ? "body apart" : "body");
    if (row.tiles.length) body.append(this.strip(row.tiles, `${at}`));
    for (const [i, strip] of row.strips.entries()) {
      const box = make("div", "strip-box");
      box.append(make("span", "strip-title", strip.title), this.strip(strip.tiles, `${at}.${i}`));
      body.append(box);
    }
    if (!body.childElementCount) body.append(make("p", "empty", this.data.empty));
    section.append(body);
    return section;
  }

  strip(tiles, spot) {
    if (!tiles.length) return make("p", "empty", this.data.empty);
    const strip = make("div", "strip");
    strip.setAttribute("role", "group");
    tiles.forEach((tile, i) => {
      const button = make("button", `tile ${tile.frame}`);
      button.type = "button";
      button.tabIndex = i ? -1 : 0; // one stop of the Tab key per strip; arrows go on
      button.dataset.spot = `${spot}-${i}`;
      button.dataset.id = tile.id;
      button.dataset.tile = tile.tile;
      button.title = tile.label;
      button.setAttribute("aria-label", [tile.label || `image ${tile.id}`, WORDS[tile.frame]].filter(Boolean).join(", "));
      button.setAttribute("aria-pressed", String(this.selected.has(tile.id)));
      const image = make("span", "image");
      button.append(image);
      if (tile.frame === "right" || tile.frame === "wrong") button.append(make("span", "mark", tile.frame === "right" ? "✓" : "✕"));
      strip.append(button);
    });
    return strip;
  }

  paint() {
    const store = globalThis.__labAtlases?.[this.data.atlas];
    if (!store || this.painted === this.text) return;
    this.painted = this.text;
    const rows = Math.ceil(store.count / store.columns);
    this.root.style.setProperty("--rendering", this.data.size > 1.5 * store.tile ? "pixelated" : "auto");
    for (const button of this.root.querySelectorAll(".tile")) {
      const tile = Number(button.dataset.tile);
      if (tile >= store.count) continue;
      Object.assign(button.firstChild.style, {
        backgroundImage: `url("${store.url}")`,
        backgroundSize: `${store.columns * 100}% ${rows * 100}%`, // of the tile, whose size the style says
        backgroundPosition: `${share(tile % store.columns, store.columns)} ${share(Math.floor(tile / store.columns), rows)}`,
      });
    }
  }

  press(button) {
    if (button?.dataset.id) this.message.setTriggerValue("picked", Number(button.dataset.id));
  }

  step(event) {
    const strip = event.target.closest(".strip");
    if (!strip || !(event.key in STEPS)) return;
    event.preventDefault();
    const buttons = [...strip.children], next = buttons[buttons.indexOf(event.target) + STEPS[event.key]];
    if (!next) return;
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }

  destroy() {
    globalThis.removeEventListener("lab-atlas", this.onAtlas);
    this.root.remove();
  }
}
