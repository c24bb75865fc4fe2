// chart.js: one Plotly figure, drawn once and then changed in place. Plotly itself is a script of its own, fetched with the first
// chart of the browser's page and kept by the browser.
const charts = new WeakMap(); // parentElement -> Chart

export default function (message) {
  const parent = message.parentElement;
  if (!charts.has(parent)) charts.set(parent, new Chart(parent));
  charts.get(parent).receive(message.data);
  return () => {
    charts.get(parent)?.destroy();
    charts.delete(parent);
  };
}

// Resolves when globalThis.Plotly is there; asked again after a failure, such as a server that was away.
function fetchPlotly(path) {
  if (globalThis.Plotly) return Promise.resolve();
  return (globalThis.__labPlotly ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = new URL(path.slice(1), document.baseURI);
    script.addEventListener("load", resolve);
    script.addEventListener("error", () => {
      globalThis.__labPlotly = null;
      reject(new Error("The charts' code could not be fetched from this lab's server. Is it started with app/main.py?"));
    });
    document.head.append(script);
  }));
}

const TOUCHED = matchMedia("(hover: none)").matches;
const ENLARGE = { width: 24, height: 24, path: "M4 4h7v2H6v5H4zM20 20h-7v-2h5v-5h2zM13 4h7v7h-2V6h-5zM4 13h2v5h5v2H4z" };

class Chart {
  constructor(parent) {
    this.root = document.createElement("div");
    this.root.className = "lab-chart";
    this.root.setAttribute("role", "figure");
    this.root.tabIndex = 0; // one stop of the Tab key; the buttons of its corner are the mouse's
    this.root.addEventListener("keydown", (event) => this.obey(event));
    parent.append(this.root);
    this.text = "";
    this.alive = true;
    this.busy = Promise.resolve(); // Plotly finishes one thing after the other, and is never asked about a chart that is gone
    this.width = 0;
    this.sizes = new ResizeObserver(() => this.fit());
    this.sizes.observe(this.root);
    this.root.labChart = this; // a handle for tests and the console
    this.drawn = 0;
  }

  receive({ figure, alt, name, fill, plotly }) {
    const text = JSON.stringify(figure);
    if (text === this.text) return;
    this.text = text;
    this.then(() => fetchPlotly(plotly));
    this.root.classList.toggle("fill", fill);
    this.root.style.setProperty("--own", `${figure.layout.height}px`);
    this.height = (fill && this.root.clientHeight) || figure.layout.height; // without a height of its own while it is hidden
    this.root.setAttribute("aria-label", `${alt}. Enter enlarges, D saves the data.`);
    this.name = name;
    const layout = { ...figure.layout, height: this.height, autosize: true };
    if (TOUCHED) layout.dragmode = false; // a finger that is drawn over a chart scrolls the page
    this.then(() => {
      if (!globalThis.Plotly) return null;
      if (!this.root._fullLayout) this.root.replaceChildren(); // what was said instead of a chart
      return Plotly.react(this.root, figure.data, layout, this.config(name)).then(() => {
        for (const button of this.root.querySelectorAll(".modebar-btn")) button.tabIndex = -1;
      });
    });
    this.drawn += 1;
  }

  then(work) {
    this.busy = this.busy.then(() => (this.alive && this.root.isConnected ? work() : null)).catch((error) => this.fail(error));
  }

  obey(event) {
    if (event.target !== this.root || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Enter") this.enlarge();
    else if (event.key.toLowerCase() === "d" && this.root._fullData) this.save(this.root, this.name);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  // A chart that cannot be drawn says so where it would be.
  fail(error) {
    console.warn(error);
    if (!globalThis.Plotly) [this.root.textContent, this.text] = [error.message, ""];
  }

  fit() {
    const { clientWidth: width, clientHeight } = this.root;
    const height = this.root.classList.contains("fill") ? clientHeight : this.height;
    if (!width || !height || !this.text || document.fullscreenElement === this.root) return;
    if (width === this.width && height === this.height) return;
    [this.width, this.height] = [width, height];
    this.then(() => (this.root._fullLayout ? Plotly.relayout(this.root, { height, autosize: true }) : null));
  }

  config(name) {
    return {
      displayModeBar: TOUCHED ? false : "hover", // without a mouse it would always be there
      displaylogo: false,
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
      modeBarButtonsToAdd: [
        { name: "Save the data (CSV)", icon: Plotly.Icons.disk, click: (graph) => this.save(graph, name) },
        { name: "Enlarge", icon: ENLARGE, click: () => this.enlarge() },
      ],
      toImageButtonOptions: { format: "png", scale: 2, filename: name },
    };
  }

  save(graph, name) {
    const lines = ["series,x,y"];
    for (const trace of graph._fullData) {  // with binary arrays unpacked
      const xs = Array.from(trace.x ?? []), ys = Array.from(trace.y ?? []);
      const label = JSON.stringify(String(trace.name ?? "")).replaceAll('\\"', '""');
      xs.forEach((x, i) => lines.push(`${label},${x},${ys[i]}`));
    }
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([lines.join("\n")], { type: "text/csv" }));
    link.download = `${name}.csv`;
    link.click();
    URL.revokeObjectURL(link.href);
  }

  async enlarge() {
    if (document.fullscreenElement) return document.exitFullscreen();
    await this.root.requestFullscreen?.();
    this.then(() => Plotly.relayout(this.root, { height: window.innerHeight }));
    const back = () => {
      if (document.fullscreenElement) return;
      document.removeEventListener("fullscreenchange", back);
      this.then(() => Plotly.relayout(this.root, { height: this.height }));
    };
    document.addEventListener("fullscreenchange", back);
  }

  destroy() {
    this.sizes.disconnect();
    this.busy = this.busy.then(() => globalThis.Plotly?.purge(this.root));
    this.alive = false;
    this.root.remove();
  }
}
