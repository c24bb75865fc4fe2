// map.js: the map itself. Holds what must outlive any number of messages (camera, selection, painter) and draws when something
// changed. Joined after message, camera, shared, style, paint_*, chrome, legend and gestures (see widget.py); the entry is exported.

const GLIDE = 500; // milliseconds that points take to their new places
const DISTINCT = 24; // classes that have colours of their own (app/shared/palette.py)
const maps = new WeakMap(); // parentElement -> LiveMap
const POSES = "lab.map.poses", MOST_POSES = 20;
const poses = new Map(storedPoses()); // space -> {pose, follow} when it was last shown, for as long as the tab is open

function storedPoses() {
  try {
    return JSON.parse(sessionStorage.getItem(POSES)) ?? [];
  } catch {
    return []; // the browser stores nothing for this page
  }
}

export default function (message) {
  const parent = message.parentElement;
  if (!maps.has(parent)) maps.set(parent, new LiveMap(parent));
  maps.get(parent).receive(message);
  return () => {
    maps.get(parent)?.destroy();
    maps.delete(parent);
  };
}

class LiveMap {
  constructor(parent) {
    this.parent = parent;
    this.frame = null;
    this.camera = new Camera();
    this.follow = true;
    this.shared = { lasso: new Shared([]), picked: new Shared(null), hidden: new Shared([]) };
    this.view = { selected: new Set(), picked: null, hidden: new Set(), lit: null, fresh: null };
    this.glide = { from: new Float32Array(0), to: new Float32Array(0), start: 0, share: 1 };
    this.move = null; // a camera tween: {from, to, start, length}
    this.lassoMode = false;
    this.lasso = null; // the polygon while it is drawn
    this.hovered = -1; // a row of the frame
    this.pointerAt = null;
    this.framesDrawn = 0;
    this.calm = matchMedia("(prefers-reduced-motion: reduce)");
    this.chrome = new Chrome(this);
    parent.append(this.chrome.root);
    this.chrome.over.labMap = this; // a handle for tests and the console
    this.stopListening = listen(this, this.chrome.over);
    this.sizes = new ResizeObserver(() => this.resize());
    this.sizes.observe(this.chrome.stage);
    this.onFullscreen = () => this.chrome.press("enlarge", this.isLarge());
    document.addEventListener("fullscreenchange", this.onFullscreen);
    this.onPageHide = () => this.keepPose();
    addEventListener("pagehide", this.onPageHide);
  }

  // --- messages -------------------------------------------------------------------------------------------------------------

  receive(message) {
    this.message = message; // its setStateValue belongs to the newest run of the page
    this.readTheme();
    if (message.data && !sameBytes(message.data, this.bytes)) {
      this.bytes = message.data;
      this.take(decodeFrame(message.data));
    } else this.restyle();
  }

  take(frame) {
    const old = this.frame, first = old === null, { chrome } = this;
    if (first) {
      this.follow = frame.camera === "follow";
      const classes = new Set(frame.labels).size;
      this.setNames(classes <= LONG || classes > DISTINCT, true); // where colours repeat, names tell classes apart
      this.makePainter(frame.nogl);
    }
    chrome.root.style.setProperty("--map-height", `${frame.height}px`);
    if (first) this.measure();
    const hoveredId = this.hovered < 0 ? null : old.ids[this.hovered];
    const from = first ? null : this.presentPlaces();
    const changedSpace = first || (old.space !== frame.space && !samePicture(old, frame));
    const screen = changedSpace && !first ? this.camera.project(from, new Float32Array(from.length)) : null;
    if (changedSpace) this.keepPose();
    this.frame = frame;
    this.to = joined(frame.positions, frame.proxies);
    this.fitScale = null;
    chrome.showFacts(frame, this.painter.kind, this.painter.lost); // before the fit: it covers the stage's foot
    const pose = this.poseFor(frame, changedSpace);
    if (changedSpace) {
      this.camera.take(pose);
      this.move = null;
      if (screen) this.fromScreen(screen, from);
    } else if (this.follow) this.tween(pose, GLIDE);
    this.startGlide(old, from);
    this.hovered = hoveredId === null ? -1 : frame.ids.indexOf(hoveredId);
    const { lasso, picked, hidden } = this.shared;
    lasso.adopt(frame.selected);
    picked.adopt(frame.picked);
    hidden.adopt(frame.hidden);
    chrome.press("follow", this.follow);
    chrome.over.style.touchAction = this.lassoMode ? "none" : "pan-y";
    chrome.legend.show(frame, new Set(hidden.value));
    this.restyle();
  }

  keepPose() {
    if (!this.frame) return;
    poses.delete(this.frame.space); // the last one comes last
    poses.set(this.frame.space, { pose: this.move?.to ?? this.camera.pose(), follow: this.follow });
    try {
      sessionStorage.setItem(POSES, JSON.stringify([...poses].slice(-MOST_POSES)));
    } catch {} // the browser stores nothing for this page
  }

  // Where the camera goes for a new frame: kept within a space, remembered for each, fitted when the space is new.
  poseFor(frame, changedSpace) {
    const known = changedSpace ? poses.get(frame.space) : null;
    if (known && !known.follow) {
      this.follow = false;
      return known.pose;
    }
    if (changedSpace && !this.follow) this.follow = frame.camera === "follow";
    return changedSpace || this.follow ? this.fitPose() : this.camera.pose();
  }

  fitPose() {
    const { frame, camera } = this;
    const turn = camera.depth ? { yaw: camera.yaw, pitch: camera.pitch } : { yaw: 0.5, pitch: 0.35 };
    return fittingPose(this.to, frame.dims, frame.method === "head", camera.width, camera.height, this.chrome.covered(), turn);
  }

  startGlide(old, from) {
    const { frame, to } = this, start = to.slice();
    const points = frame.ids.length, fresh = new Uint8Array(to.length / 3).fill(1);
    const rows = new Map();
    old?.ids.forEach((id, row) => rows.set(id, row));
    for (let i = 0; i < points && from; i++) {
      const row = rows.get(frame.ids[i]);
      if (row === undefined) continue;
      start.set(from.subarray(3 * row, 3 * row + 3), 3 * i);
      fresh[i] = 0;
    }
    // A class's proxies keep their order between snapshots.
    if (from && old.proxies.length === frame.proxies.length) {
      start.set(from.subarray(3 * old.ids.length), 3 * points);
      fresh.fill(0, points);
    }
    this.view.fresh = fresh;
    this.middles = null;
    this.glide = { from: start, to, start: performance.now(), share: this.calm.matches ? 1 : 0 };
    this.painter.setPlaces(this.calm.matches ? to : start, to);
  }

  // The places that lie, under the new camera, where the old places are on the screen now.
  fromScreen(screen, places) {
    for (let i = 0; i < places.length; i += 3) places.set(this.camera.place(screen[i], screen[i + 1]), i);
  }

  presentPlaces() {
    const { from, to, share } = this.glide;
    if (share >= 1) return to.slice();
    const bent = eased(share);
    return to.map((value, i) => from[i] + (value - from[i]) * bent);
  }

  tell(name, value) {
    this.stamp = Math.max(Date.now(), (this.stamp ?? 0) + 1);
    this.message.setStateValue(name, { stamp: this.stamp, value });
  }

  // --- drawing --------------------------------------------------------------------------------------------------------------

  makePainter(nogl) {
    const canvas = this.chrome.points;
    this.painter = (nogl ? null : GlPainter.on(canvas)) ?? new CanvasPainter(canvas);
    canvas.addEventListener("webglcontextlost", (event) => {
      if (!this.frame) return; // we let it go ourselves
      event.preventDefault();
      this.painter.lost = true;
      this.chrome.showFacts(this.frame, this.painter.kind, true);
    });
    canvas.addEventListener("webglcontextrestored", () => {
      this.painter.build();
      this.painter.lost = false;
      this.painter.setPlaces(this.glide.from, this.glide.to);
      this.chrome.showFacts(this.frame, this.painter.kind, false);
      this.restyle();
    });
  }

  readTheme() {
    const css = getComputedStyle(this.parent.host ?? this.parent);
    this.ground = cssColour(css.getPropertyValue("--st-background-color").trim(), "#ffffff");
    this.ink = cssColour(css.getPropertyValue("--st-text-color").trim(), "#31333f");
    this.chrome.root.dataset.ground = brightness(this.ground) > 0.5 ? "light" : "dark";
  }

  restyle() {
    if (!this.frame) return;
    const { frame, view, shared } = this;
    view.selected = new Set(shared.lasso.value);
    view.picked = frame.ids.includes(shared.picked.value) ? shared.picked.value : null;
    view.hidden = new Set(shared.hidden.value);
    this.look = styleOf({ ...frame, neighbours: this.neighbours() }, view, this.ground);
    this.painter.setStyle(this.look);
    this.chrome.describe(frame, view);
    this.chrome.buttons.clear.disabled = !view.selected.size && view.picked === null;
    this.ask();
  }

  // Neighbours belong to the point that the page was told of; until it answers there are none.
  neighbours() {
    return this.frame.picked === this.shared.picked.value ? this.frame.neighbours : [];
  }

  ask() {
    this.asked ??= requestAnimationFrame((now) => {
      this.asked = null;
      this.tick(now);
    });
  }

  tick(now) {
    if (!this.frame) return;
    const { glide, camera, painter } = this;
    if (glide.share < 1) {
      glide.share = Math.min(1, Math.max(0, now - glide.start) / GLIDE);
      if (glide.share >= 1 && this.pointerAt) this.hover(this.pointerAt); // another point may lie under the hand now
    }
    if (this.move) {
      const share = Math.min(1, Math.max(0, now - this.move.start) / this.move.length);
      camera.take(between(this.move.from, this.move.to, eased(share)));
      if (share >= 1) this.move = null;
    }
    if (camera.depth) painter.setOrder(byDepth(this.look, camera.project(this.presentPlaces(), new Float32Array(glide.to.length)), 1 / camera.depth));
    this.drawAll();
    this.framesDrawn++;
    if (glide.share < 1 || this.move) this.ask();
  }

  drawAll() {
    const { camera, frame, chrome } = this;
    this.fitScale ??= this.fitPose().scale;
    const size = pointSize(frame.count, camera.width * camera.height, camera.scale / this.fitScale);
    this.size = size;
    if (!this.painter.lost) this.painter.draw({ camera, share: eased(this.glide.share), size, ground: this.ground, ink: this.ink });
    drawUnder(chrome.under, this);
    drawOver(chrome.marks, this);
    drawNames(chrome.names, this);
  }

  measure() {
    const { stage, under, points, marks } = this.chrome, ratio = pixelRatio();
    const [width, height] = [Math.max(1, stage.clientWidth), Math.max(1, stage.clientHeight)];
    if (width === this.camera.width && height === this.camera.height && points.width === Math.round(width * ratio)) return false;
    for (const canvas of [under, points, marks]) [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    Object.assign(this.camera, { width, height });
    return true;
  }

  resize() {
    if (!this.frame || !this.measure()) return;
    this.fitScale = null;
    if (this.follow) [this.move = null, this.camera.take(this.fitPose())];
    this.drawAll(); // at once: a resized canvas is empty
    this.ask();
  }

  // --- the camera -----------------------------------------------------------------------------------------------------------

  hold() {
    this.move = null;
    if (this.follow) this.setFollow(false);
  }

  tween(pose, length) {
    if (this.calm.matches) this.camera.take(pose);
    else this.move = { from: this.camera.pose(), to: pose, start: performance.now(), length };
    this.fitScale = null;
    this.ask();
  }

  fit() {
    this.tween(this.fitPose(), 300);
  }

  setFollow(on) {
    this.follow = on;
    this.chrome.press("follow", on);
    if (on) this.tween(this.fitPose(), 300);
    this.tell("follow", on);
  }

  drag(dx, dy) {
    if (this.frame.dims === 3) this.camera.orbit(dx, dy);
    else [this.hold(), this.camera.pan(dx, dy)];
    this.ask();
  }

  nudge(dx, dy) {
    this.drag(this.frame.dims === 3 ? -dx : dx, this.frame.dims === 3 ? -dy : dy);
  }

  zoomAt(factor, x, y) {
    this.hold();
    this.camera.zoom(factor, x, y, this.frame.dims === 2);
    this.ask();
  }

  zoomSmoothly(factor, x = this.camera.width / 2, y = this.camera.height / 2) {
    const goal = new Camera();
    Object.assign(goal, this.camera, this.move ? { ...this.move.to } : {});
    goal.zoom(factor, x, y, this.frame.dims === 2);
    this.hold();
    this.tween(goal.pose(), 220);
    this.fitScale = null;
  }

  // --- what is under the hand -----------------------------------------------------------------------------------------------

  screenPlaces() {
    return this.camera.project(this.presentPlaces(), new Float32Array(this.glide.to.length));
  }

  nearest([x, y], reach) {
    const screen = this.screenPlaces(), { frame, view } = this;
    let best = -1, least = reach * reach;
    for (let i = 0; i < frame.ids.length; i++) {
      if (view.hidden.has(frame.labels[i])) continue;
      const away = (screen[3 * i] - x) ** 2 + (screen[3 * i + 1] - y) ** 2;
      if (away < least) [best, least] = [i, away];
    }
    return best;
  }

  hover(place) {
    this.pointerAt = place;
    const point = place && this.frame ? this.nearest(place, 12) : -1;
    const { frame, chrome } = this;
    const note = point < 0 ? "" : frame.notes[this.neighbours().indexOf(frame.ids[point])];
    if (point >= 0 || this.hovered >= 0) chrome.showTip(frame, point, ...(place ?? [0, 0]), note);
    chrome.over.style.cursor = this.lassoMode ? "crosshair" : point >= 0 ? "pointer" : "";
    if (point !== this.hovered) this.ask();
    this.hovered = point;
  }

  click(place, reach) {
    const point = this.nearest(place, reach), { frame, shared } = this;
    const id = point < 0 || frame.ids[point] === shared.picked.value ? null : frame.ids[point];
    if (id === shared.picked.value) return;
    shared.picked.set(id);
    this.tell("picked", id);
    if (id !== null) this.chrome.said.textContent = `Picked ${frame.names[frame.labels[point]]}, number ${id}`;
    this.restyle();
  }

  setLassoMode(on) {
    this.lassoMode = on;
    this.chrome.press("lasso", on);
    this.chrome.over.style.cursor = on ? "crosshair" : "";
    this.chrome.over.style.touchAction = on ? "none" : "pan-y";
  }

  startLasso(place) {
    this.lasso = [place];
    this.ask();
  }

  growLasso(place) {
    const [x, y] = this.lasso.at(-1);
    if (Math.hypot(place[0] - x, place[1] - y) > 2) this.lasso.push(place);
    this.ask();
  }

  dropLasso() {
    this.lasso = null;
    this.ask();
  }

  closeLasso() {
    const polygon = this.lasso, screen = this.screenPlaces(), { frame, view } = this;
    this.lasso = null;
    const inside = [];
    for (let i = 0; i < frame.ids.length; i++)
      if (!view.hidden.has(frame.labels[i]) && isInside(screen[3 * i], screen[3 * i + 1], polygon)) inside.push(frame.ids[i]);
    this.select(inside);
  }

  select(ids) {
    const sorted = [...ids].sort((a, b) => a - b);
    this.shared.lasso.set(sorted);
    this.tell("lasso", sorted);
    this.chrome.said.textContent = `${sorted.length} selected`;
    this.restyle();
  }

  // The class's points; none where they are the selection already.
  selectClass(label) {
    const ids = [...this.frame.ids].filter((_, i) => this.frame.labels[i] === label).sort((a, b) => a - b);
    const chosen = this.shared.lasso.value;
    this.select(ids.length === chosen.length && ids.every((id, i) => id === chosen[i]) ? [] : ids);
  }

  clear() {
    if (this.lasso) return this.dropLasso();
    const { lasso, picked } = this.shared;
    if (!lasso.value.length && picked.value === null) return this.setLassoMode(false);
    if (picked.value !== null) [picked.set(null), this.tell("picked", null)];
    if (lasso.value.length) return this.select([]);
    return this.restyle();
  }

  light(label) {
    if (this.view.lit === label) return;
    this.view.lit = label;
    this.restyle();
  }

  toggleHidden(label) {
    const hidden = new Set(this.shared.hidden.value);
    if (!hidden.delete(label)) hidden.add(label);
    this.setHidden([...hidden].sort((a, b) => a - b));
  }

  setHidden(labels) {
    this.shared.hidden.set(labels);
    this.tell("hidden", labels);
    this.chrome.legend.show(this.frame, new Set(labels));
    this.view.lit = null;
    this.restyle();
  }

  setNames(on, quietly = false) {
    this.named = on;
    this.chrome.press("names", on);
    if (!quietly) this.ask();
  }

  // --- out of the page ------------------------------------------------------------------------------------------------------

  // What is enlarged: the map with all that stands in its panel, such as a scrubber.
  panel() {
    const key = this.frame?.panel;
    return (key && this.parent.host?.closest(`.st-key-${key.replaceAll(".", "-")}`)) || this.chrome.root;
  }

  isLarge() {
    const panel = this.panel();
    return panel.matches(":fullscreen") || "large" in panel.dataset;
  }

  enlarge() {
    const panel = this.panel(), fill = () => (panel.dataset.large = "");
    if (document.fullscreenElement) document.exitFullscreen();
    else if ("large" in panel.dataset) delete panel.dataset.large;
    else panel.requestFullscreen ? panel.requestFullscreen().catch(fill) : fill();
    this.chrome.press("enlarge", this.isLarge());
  }

  save() {
    const { frame, chrome } = this;
    const link = make("a");
    link.download = `${frame.method}-step-${frame.step}.png`;
    this.drawAll(); // WebGL's picture lives only until the task ends
    link.href = picture(this, chrome.facts.innerText.replace(/\s*\n\s*/g, " · ")).toDataURL("image/png");
    link.click();
  }

  destroy() {
    this.keepPose();
    cancelAnimationFrame(this.asked);
    this.stopListening();
    this.sizes.disconnect();
    document.removeEventListener("fullscreenchange", this.onFullscreen);
    removeEventListener("pagehide", this.onPageHide);
    this.painter?.destroy();
    this.chrome.root.remove();
    this.frame = null;
  }
}

// Whether two frames show the same points at the same places, as a run that begins with the map of its preview does.
function samePicture(one, other) {
  if (one.method !== other.method || one.dims !== other.dims || one.positions.length !== other.positions.length) return false;
  return one.ids.every((id, i) => id === other.ids[i]) && one.positions.every((place, i) => place === other.positions[i]);
}

function isInside(x, y, polygon) {
  let inside = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [ax, ay] = polygon[i], [bx, by] = polygon[j];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
  }
  return inside;
}
