// panels.js: the bars between the Lab's panels. Dragged they resize, to the edge they fold, double-clicked they are as usual.
// What is chosen is kept in the browser, as lengths that app/lab/workbench.css reads.

const LENGTHS = "lab.panels"; // {"--lab-side": "320px", ...}
const FOLD = 72; // pixels below which a panel folds away
const LEAST_REST = 220; // pixels that the map keeps

function resizePanels() {
  const style = document.documentElement.style;
  let lengths = {};
  try {
    lengths = JSON.parse(localStorage.getItem(LENGTHS)) ?? {};
  } catch {} // the browser stores nothing for this page, or something else wrote there
  const root = document.documentElement;
  const fold = () => (root.dataset.labFolded = Object.keys(lengths).filter((name) => lengths[name] === "0px").join(" "));
  for (const [name, length] of Object.entries(lengths)) if (/^\d+px$/.test(length)) style.setProperty(name, length);
  fold();

  const choose = (name, length) => {
    if (length === null) delete lengths[name];
    else lengths[name] = `${Math.round(length)}px`;
    if (length === null) style.removeProperty(name);
    else style.setProperty(name, lengths[name]);
    fold();
    try {
      localStorage.setItem(LENGTHS, JSON.stringify(lengths));
    } catch {}
  };

  // The bar under the pointer: what it resizes, from which edge, and how far it may go.
  const barAt = (event) => {
    const bench = event.target;
    if (!bench.matches?.(".st-key-lab-bench") || getComputedStyle(bench).display !== "grid") return null;
    const all = bench.getBoundingClientRect(), map = bench.querySelector(".st-key-lab-bench-map").getBoundingClientRect();
    const side = bench.querySelector(".st-key-lab-bench-side").parentElement.getBoundingClientRect(); // its place, also when folded
    const across = { name: "--lab-side", of: (x) => all.right - x - 5, most: all.width - LEAST_REST, axis: "clientX" };
    const below = { name: "--lab-below", of: (y) => all.bottom - y - 5, most: all.height - LEAST_REST, axis: "clientY" };
    const beside = matchMedia("(min-width: 1640px)").matches;
    if (event.clientX >= map.right - 1 && event.clientX <= side.left + 1) return beside ? { ...across, of: (x) => side.right - x - 5 } : across;
    if (beside) return { ...across, name: "--lab-wide-below" };
    return event.clientY >= map.bottom - 1 ? below : null;
  };

  let held = null;
  addEventListener("pointermove", (event) => {
    if (held) {
      const length = held.of(event[held.axis]);
      choose(held.name, length < FOLD ? 0 : Math.min(length, held.most));
      return;
    }
    const bar = barAt(event);
    if (bar) event.target.style.cursor = bar.axis === "clientX" ? "col-resize" : "row-resize";
  });
  addEventListener("pointerdown", (event) => {
    held = event.button === 0 ? barAt(event) : null;
    if (held) event.preventDefault(); // no text is marked on the way
  });
  addEventListener("pointerup", () => (held = null));
  addEventListener("pointercancel", () => (held = null));
  addEventListener("dblclick", (event) => {
    const bar = barAt(event);
    if (bar) choose(bar.name, null);
  });
}
