// chrome.js: what stands around the points: buttons, the line of facts, the tooltip. Words from outside are only ever textContent.

function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

const ICONS = {
  fit: "M3 7V3h4M13 3h4v4M17 13v4h-4M7 17H3v-4",
  follow: "M10 3v3M10 14v3M3 10h3M14 10h3M10 7.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6",
  names: "M3 15 7 5l4 10M4.6 11.5h4.8M13.5 9.5a3 3 0 0 1 3.5 2.8V15M17 12.4c-3.6 0-4 .7-4 1.4 0 .8.6 1.3 1.6 1.3S17 14.300 17 13",
  legend: "M3.500 5h2M8.500 5h8M3.500 10h2M8.500 10h8M3.500 15h2M8.500 15h8",
  lasso: "M6.500 13C4.400 12.200 3 10.700 3 9c0-2.800 3.100-5 7-5s7 2.200 7 5-3.100 5-7 5c-.7 0-1.400-.1-2-.2M6.500 13a1.600 1.600 0 1 0 .4 2.800c.6 1 .2 1.800-.9 2.200",
  clear: "M5 5l10 10M15 5 5 15",
  save: "M10 3v9M6.500 8.500 10 12l3.500-3.500M4 16h12",
  enlarge: "M12 3h5v5M8 17H3v-5M17 3l-6 6M3 17l6-6",
};

function iconButton(name, title, toggles, act) {
  const button = make("button", "tool");
  button.type = "button";
  button.dataset.tool = name;
  button.title = title;
  button.setAttribute("aria-label", title);
  if (toggles) button.setAttribute("aria-pressed", "false");
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  button.append(svg);
  button.addEventListener("click", act);
  return button;
}

// One stop of the Tab key for all the buttons in `box`; arrow keys, Home and End go from one to the next.
function rove(box, selector) {
  const offered = () => [...box.querySelectorAll(selector)];
  const settle = () => {
    const all = offered(), here = all.find((button) => button.tabIndex === 0) ?? all[0];
    for (const button of all) if (button.tabIndex !== (button === here ? 0 : -1)) button.tabIndex = button === here ? 0 : -1;
  };
  const goTo = (button) => {
    for (const other of offered()) other.tabIndex = other === button ? 0 : -1;
    button.focus();
  };
  box.addEventListener("focusin", (event) => event.target.matches(selector) && goTo(event.target));
  box.addEventListener("keydown", (event) => {
    const all = offered(), at = all.indexOf(event.target);
    const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    goTo(all[(to + all.length) % all.length]);
  });
  new MutationObserver(settle).observe(box, { childList: true, subtree: true, attributes: true, attributeFilter: ["hidden", "disabled"] });
  settle();
}

// A name in two parts, of which the first is shortened where there is no room: names of a kind differ at their ends.
function endsOf(name) {
  const letters = [...name];
  return letters.length > 14 ? [letters.slice(0, -8).join(""), letters.slice(-8).join("")] : [name];
}

// A name of at most `most` letters, without its middle.
function shortName(name, most) {
  const letters = [...name], half = Math.floor((most - 1) / 2);
  return letters.length <= most ? name : `${letters.slice(0, most - 1 - half).join("")}…${letters.slice(-half).join("")}`;
}

class Chrome {
  constructor(map) {
    this.map = map;
    this.root = make("div", "map");
    this.stage = make("div", "stage");
    [this.under, this.points, this.marks] = ["under", "points", "marks"].map((name) => make("canvas", name));
    this.names = make("div", "names");
    this.over = make("div", "over"); // takes every gesture and key
    this.over.tabIndex = 0;
    this.over.setAttribute("role", "application");
    this.over.setAttribute("aria-roledescription", "scatter map");
    this.tools = make("div", "tools");
    this.tools.setAttribute("role", "toolbar");
    this.tools.setAttribute("aria-label", "Map tools");
    this.buttons = {};
    const tools = [
      ["fit", "Fit everything into view (0)", false, () => map.fit()],
      ["follow", "Follow: keep everything in view as it moves", true, () => map.setFollow(!map.follow)],
      ["names", "Names of the classes", true, () => map.setNames(!map.named)],
      ["legend", "List of the classes", true, () => this.legend.toggle()],
      ["lasso", "Lasso (L, or shift-drag)", true, () => map.setLassoMode(!map.lassoMode)],
      ["clear", "Clear the selection (Escape)", false, () => map.clear()],
      ["save", "Save as PNG", false, () => map.save()],
      ["enlarge", "Enlarge", true, () => map.enlarge()],
    ];
    for (const [name, title, toggles, act] of tools) this.tools.append((this.buttons[name] = iconButton(name, title, toggles, act)));
    rove(this.tools, ".tool:not(:disabled)");
    this.facts = make("div", "facts");
    this.tip = make("div", "tip");
    this.tip.hidden = true;
    this.thumb = make("div", "thumb");
    this.tipName = make("strong");
    this.tipRest = make("span");
    const words = make("div", "words");
    words.append(this.tipName, this.tipRest);
    this.tip.append(this.thumb, words);
    this.said = make("div", "said");
    this.said.setAttribute("aria-live", "polite");
    this.stage.append(this.under, this.points, this.names, this.marks, this.over, this.tip, this.said);
    this.legend = new Legend(map);
    this.root.append(this.tools, this.stage, this.facts, this.legend.root);
    // Streamlit listens for single letters (r reruns, c clears): what is typed here stays here.
    for (const kind of ["keydown", "keyup", "keypress"]) this.root.addEventListener(kind, (event) => event.stopPropagation());
  }

  // Pixels of the stage that tools and facts cover; nothing on a narrow map, where they stand above and below it.
  covered() {
    const [stage, tools, facts] = [this.stage, this.tools, this.facts].map((box) => box.getBoundingClientRect());
    return { head: tools.bottom > stage.top + 1 ? tools.bottom - stage.top : 0, foot: facts.top < stage.bottom - 1 ? facts.height : 0 };
  }

  press(name, on) {
    this.buttons[name].setAttribute("aria-pressed", String(on));
  }

  // One line: how many of how many, which step, which method, how faithful.
  showFacts(frame, painterKind, lost) {
    const parts = [
      [frame.count < frame.total ? `showing ${number(frame.count)} of ${number(frame.total)}` : `all ${number(frame.total)}`, ""],
      [METHODS[frame.method] ?? frame.method, frame.dims === 3 ? "Three axes: drag to turn" : ""],
      [frame.step === 0 ? "before training" : `step ${number(frame.step)}`, "step"],
    ];
    const { knn_kept: kept, trustworthiness: trust } = frame.faith ?? {};
    if (kept !== undefined)
      parts.push([`kNN kept ${Math.round(100 * kept)} %`, "Of each point's nearest neighbours in the embedding, so many are still its nearest in this picture."]);
    if (trust !== undefined)
      parts.push([
        `trustworthiness ${trust.toFixed(2).replace(/^0/, "")}`,
        "1 means: points that lie close here are close in the embedding too. Below about .8, do not read closeness off this picture.",
      ]);
    const chips = parts.map(([text, title]) => {
      const chip = make("span", "fact", text);
      if (title === "step") chip.dataset.step = frame.step;
      else if (title) chip.title = title;
      return chip;
    });
    const notes = [frame.message, painterKind === "canvas" ? "drawn without WebGL2, slower" : "", lost ? "the graphics card went away; waiting for it" : ""];
    for (const note of notes) if (note) chips.push(make("span", "fact note", note));
    this.facts.replaceChildren(...chips);
  }

  describe(frame, view) {
    const held = frame.heldOut.reduce((sum, one) => sum + one, 0);
    const words =
      `Map of ${frame.count} of ${frame.total} samples by ${METHODS[frame.method] ?? frame.method}, step ${frame.step}: ${held} held-out, ` +
      `${frame.count - held} training, ${new Set(frame.labels).size} classes, ${view.selected.size} selected. ` +
      "Arrows pan, plus and minus zoom, 0 fits, L lassoes, Escape clears.";
    this.over.setAttribute("aria-label", words);
  }

  showTip(frame, point, x, y, note) {
    if (point < 0) {
      this.tip.hidden = true;
      return;
    }
    this.tipName.textContent = frame.names[frame.labels[point]];
    this.tipRest.textContent = [`${frame.heldOut[point] ? "held-out" : "training"} · #${frame.ids[point]}`, note].filter(Boolean).join(" · ");
    this.thumb.hidden = !placeTile(this.thumb, frame.atlas, frame.atlasIndex ? frame.atlasIndex[point] : point, 88);
    this.tip.hidden = false;
    const { offsetWidth: w, offsetHeight: h } = this.tip, { clientWidth: width, clientHeight: height } = this.stage;
    const left = x + 16 + w > width ? x - 16 - w : x + 16, top = y + 14 + h > height ? y - 14 - h : y + 14;
    this.tip.style.transform = `translate(${Math.max(2, Math.min(width - w - 2, left))}px, ${Math.max(2, Math.min(height - h - 2, top))}px)`;
  }
}

const METHODS = { umap: "UMAP", pca: "PCA", head: "the embedding itself", straight: "first axes", "2-d": "2-D head", "3-d": "3-D head" };
const number = (value) => value.toLocaleString("en-GB");

// Shows one tile of an atlas (app/tiles brings them) as the background of `box`; false while the atlas is not there.
function placeTile(box, atlas, tile, side) {
  const store = atlas && globalThis.__labAtlases?.[atlas.key];
  if (!store || tile >= store.count) return false;
  const rows = Math.ceil(store.count / store.columns), column = tile % store.columns, row = Math.floor(tile / store.columns);
  Object.assign(box.style, {
    width: `${side}px`,
    height: `${side}px`,
    backgroundImage: `url("${store.url}")`,
    backgroundSize: `${store.columns * side}px ${rows * side}px`,
    backgroundPosition: `${-column * side}px ${-row * side}px`,
    imageRendering: side > 1.5 * store.tile ? "pixelated" : "auto",
  });
  return true;
}
