// scrubber.js: one slim row over a run's snapshots. The handle moves here first; the page hears of it and answers later.
const rows = new WeakMap(); // parentElement -> Scrubber

export default function (message) {
  const parent = message.parentElement;
  if (!rows.has(parent)) rows.set(parent, new Scrubber(parent));
  rows.get(parent).receive(message);
  return () => {
    rows.get(parent)?.destroy();
    rows.delete(parent);
  };
}

const LIVE = "live";
const BEAT = 700; // milliseconds per snapshot while playing
const GAP = 80; // least milliseconds between two steps sent while dragging
const PATIENCE = 10000; // milliseconds in which the page may still repeat what the person had set
const LEAP = 5; // snapshots per PageUp
const MARKS = { play: "M5 3.2v9.6l8-4.8z", pause: "M4.5 3.2h2.6v9.6H4.5zM8.9 3.2h2.6v9.6H8.9z" };

function make(tag, className = "", parent = null) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  parent?.append(element);
  return element;
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// A value that the person and the page both set: the page's counts when the page changes it, and never when it repeats, late, what
// the person had set before.
class Owned {
  constructor(value) {
    this.value = this.page = value;
    this.sent = []; // {value, at}
  }

  set(value) {
    this.value = value;
    this.sent.push({ value, at: performance.now() });
  }

  adopt(value) {
    if (value === this.page) return false;
    this.page = value;
    const now = performance.now();
    this.sent = this.sent.filter((one) => now - one.at < PATIENCE);
    const echo = this.sent.findIndex((one) => one.value === value);
    this.sent = this.sent.slice(echo + 1);
    if (echo >= 0 || value === this.value) return false;
    this.sent = [];
    this.value = value;
    return true;
  }
}

class Scrubber {
  constructor(parent) {
    this.data = null;
    this.dots = new Map(); // step -> element
    this.beat = null; // the timer of play
    this.later = null; // the timer of a step that waits to be sent
    this.sentAt = -Infinity;
    this.root = make("div", "scrubber", parent);
    this.build();
    this.listen();
    this.sizes = new ResizeObserver(() => this.data && this.fit());
    this.sizes.observe(this.track);
  }

  build() {
    this.play = make("button", "play", this.root);
    this.play.type = "button";
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 16 16");
    svg.setAttribute("aria-hidden", "true");
    this.mark = document.createElementNS("http://www.w3.org/2000/svg", "path");
    svg.append(this.mark);
    this.play.append(svg);

    this.track = make("div", "track", this.root);
    this.track.setAttribute("role", "slider");
    this.track.setAttribute("aria-label", "Snapshot shown");
    this.first = make("span", "edge first", this.track);
    this.last = make("span", "edge last", this.track);
    this.axis = make("div", "axis", this.track);
    this.done = make("span", "done", make("div", "rail", this.axis));
    this.spots = make("div", "spots", this.axis);
    this.handle = make("span", "handle", this.axis);
    this.label = make("span", "label", this.track);
    this.words = make("span", "words", this.track);

    this.live = make("button", "live", this.root);
    this.live.type = "button";
    make("span", "lamp", this.live);
    make("span", "", this.live).textContent = "Newest";
    const told = make("span", "told", this.live);
    this.count = make("span", "", told);
    this.countWord = make("span", "count-word", told);
  }

  // --- what the page says ---------------------------------------------------------------------------------------------------

  receive(message) {
    this.message = message; // its setStateValue belongs to the newest run of the page
    const text = JSON.stringify(message.data);
    if (!message.data || text === this.text) return;
    this.text = text;
    const first = this.data === null, data = (this.data = message.data);
    const newest = data.steps.at(-1) ?? -1;
    const place = data.live ? LIVE : (data.shown ?? data.steps[0] ?? null);
    if (first) {
      this.place = new Owned(place);
      this.playing = new Owned(false);
      this.leftAt = newest;
    } else if (this.place.adopt(place)) {
      this.leftAt = newest;
      this.dropWaiting();
    }
    if (this.place.value === LIVE) this.leftAt = newest;
    this.drawSpots();
    if (this.playing.adopt(data.playing)) {
      this.rest();
      if (this.playing.value) this.beat = setTimeout(() => this.begin(), BEAT); // what is sent while mounting gets lost
    }
    this.draw();
  }

  // The step under the handle: the page's own while both are live, since it may show an older one until the newest is ready.
  at() {
    const { data, place } = this;
    if (place.value !== LIVE) return place.value;
    return (data.live ? data.shown : null) ?? data.steps.at(-1) ?? null;
  }

  index() {
    return nearest(this.data.steps, this.at());
  }

  idle() {
    return this.data.steps.length < 2;
  }

  // --- what the person does -------------------------------------------------------------------------------------------------

  goTo(step, soon = false) {
    if (step === undefined || step === this.place.value) return;
    if (this.place.value === LIVE) this.leftAt = this.data.steps.at(-1);
    this.place.value = step;
    this.draw();
    if (!soon) return this.sendStep();
    const wait = this.sentAt + GAP - performance.now();
    if (wait <= 0) this.sendStep();
    else this.later ??= setTimeout(() => this.sendStep(), wait);
  }

  sendStep() {
    this.dropWaiting();
    if (this.place.value === LIVE) return;
    this.sentAt = performance.now();
    this.place.set(this.place.value);
    this.tell("step", this.place.value);
  }

  dropWaiting() {
    clearTimeout(this.later);
    this.later = null;
  }

  move(by) {
    const { steps } = this.data;
    this.pause();
    this.goTo(steps[Math.max(0, Math.min(steps.length - 1, this.index() + by))], true);
  }

  toggleLive() {
    this.pause();
    if (this.place.value === LIVE) return this.data.running ? this.goTo(this.at()) : undefined;
    this.dropWaiting();
    this.place.set(LIVE);
    this.leftAt = this.data.steps.at(-1);
    this.tell("live", true);
    return this.draw();
  }

  togglePlay() {
    if (this.idle()) return undefined;
    if (this.playing.value) return this.pause();
    this.setPlaying(true);
    return this.begin();
  }

  // At the end it starts from before.
  begin() {
    const { steps } = this.data;
    if (this.idle()) return this.pause();
    if (this.index() < steps.length - 1) return this.advance();
    this.goTo(steps[0]);
    this.beat = setTimeout(() => this.advance(), BEAT);
    return undefined;
  }

  advance() {
    this.rest();
    const { steps } = this.data, next = this.index() + 1;
    if (next < steps.length) this.goTo(steps[next]);
    if (next >= steps.length - 1) return this.pause();
    this.beat = setTimeout(() => this.advance(), BEAT);
    return undefined;
  }

  rest() {
    clearTimeout(this.beat);
    this.beat = null;
  }

  pause() {
    this.rest();
    if (this.playing.value) this.setPlaying(false);
  }

  setPlaying(value) {
    this.playing.set(value);
    this.tell("playing", value);
    this.draw();
  }

  tell(name, value) {
    this.stamp = Math.max(Date.now(), (this.stamp ?? 0) + 1);
    this.message.setStateValue(name, { stamp: this.stamp, value });
  }

  // --- hands ----------------------------------------------------------------------------------------------------------------

  listen() {
    const { track } = this;
    this.play.addEventListener("click", () => this.togglePlay());
    this.live.addEventListener("click", () => this.toggleLive());
    const under = (event) => {
      const box = this.axis.getBoundingClientRect(), { steps, total } = this.data;
      if (!box.width) return undefined; // not laid out just now: no place is under the hand
      return steps[nearest(steps, ((event.clientX - box.left) / box.width) * total)];
    };
    track.addEventListener("pointerdown", (event) => {
      if (event.button > 0 || this.idle()) return;
      event.preventDefault(); // no text selection; the focus is set by hand
      track.focus({ preventScroll: true });
      track.setPointerCapture(event.pointerId);
      this.dragger = event.pointerId;
      this.root.classList.add("dragging");
      this.light(null);
      this.pause();
      this.goTo(under(event), true);
    });
    track.addEventListener("pointermove", (event) => {
      if (this.dragger === event.pointerId) this.goTo(under(event), true);
      else if (event.pointerType !== "touch" && !this.idle()) this.light(under(event));
    });
    const release = (event) => {
      if (this.dragger !== event.pointerId) return;
      this.dragger = null;
      this.root.classList.remove("dragging");
      if (this.later !== null) this.sendStep();
    };
    track.addEventListener("pointerup", release);
    track.addEventListener("pointercancel", release);
    track.addEventListener("pointerleave", () => this.light(null));

    const keys = {
      ArrowLeft: () => this.move(-1),
      ArrowDown: () => this.move(-1),
      ArrowRight: () => this.move(1),
      ArrowUp: () => this.move(1),
      PageDown: () => this.move(-LEAP),
      PageUp: () => this.move(LEAP),
      Home: () => this.move(-Infinity),
      End: () => this.move(Infinity),
      " ": () => this.togglePlay(),
    };
    track.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key] || this.idle()) return;
      event.preventDefault();
      if (event.key !== " " || !event.repeat) keys[event.key]();
    });
    // Streamlit listens for single letters: keys pressed here stay here.
    for (const kind of ["keydown", "keyup", "keypress"]) this.root.addEventListener(kind, (event) => event.stopPropagation());
  }

  light(step) {
    if (this.lit === step) return;
    this.dots.get(this.lit)?.classList.remove("lit");
    this.dots.get(step)?.classList.add("lit");
    this.lit = step;
  }

  // --- drawing --------------------------------------------------------------------------------------------------------------

  share(step) {
    return this.data.total ? Math.min(1, Math.max(0, step / this.data.total)) : 0;
  }

  drawSpots() {
    const { steps } = this.data, kept = new Set(steps);
    for (const [step, dot] of this.dots) {
      if (kept.has(step)) continue;
      dot.remove();
      this.dots.delete(step);
    }
    for (const step of steps) {
      if (!this.dots.has(step)) this.dots.set(step, make("span", "dot", this.spots));
      this.dots.get(step).style.left = `${100 * this.share(step)}%`;
    }
  }

  draw() {
    const { data, root } = this, { steps, running } = data, step = this.at(), idle = this.idle();
    const newest = steps.at(-1), live = this.place.value === LIVE, playing = this.playing.value && !idle;
    root.classList.toggle("empty", !steps.length);
    root.classList.toggle("idle", idle);
    root.classList.toggle("playing", playing);
    if (!steps.length) return;

    root.style.setProperty("--share", this.share(step));
    this.done.style.width = `${100 * this.share(newest)}%`;
    for (const [at, dot] of this.dots) dot.classList.toggle("past", at <= step);
    write(this.label, step === 0 ? "step 0 · before" : `step ${step}`);
    write(this.first, steps[0] === 0 ? "before" : `step ${steps[0]}`);
    write(this.last, `${data.total}`);
    write(this.words, idle ? `Step ${newest}; ${running ? "more will come as training goes on" : "the run's only snapshot"}` : "");
    this.words.title = this.words.textContent;

    const { track } = this;
    track.tabIndex = idle ? -1 : 0;
    for (const [name, value] of Object.entries({
      disabled: idle,
      valuemin: steps[0],
      valuemax: newest,
      valuenow: step,
      valuetext: `${step === 0 ? "before training" : `step ${step}`}, snapshot ${this.index() + 1} of ${steps.length}`,
    })) track.setAttribute(`aria-${name}`, String(value));

    this.mark.setAttribute("d", playing ? MARKS.pause : MARKS.play);
    this.play.disabled = idle;
    this.play.title = playing ? "Pause" : "Play the snapshots one after another";
    this.play.setAttribute("aria-label", playing ? "Pause" : "Play");

    const missed = live ? 0 : steps.filter((one) => one > this.leftAt).length;
    const pressed = live || (!running && step === newest);
    write(this.count, missed ? `· ${missed}` : "");
    write(this.countWord, missed ? " new" : "");
    this.live.disabled = idle;
    this.live.setAttribute("aria-pressed", String(pressed));
    this.live.title = running ? (live ? "Following the newest snapshot; press to stay here" : "Follow the newest snapshot") : "Show the newest snapshot";
    this.fit();
  }

  // What depends on the width: dots shrink where they are many, and the labels at the edges give way to the handle's.
  fit() {
    const { track, label, first, last } = this, { steps } = this.data;
    const gap = (this.axis.clientWidth * (this.share(steps.at(-1)) - this.share(steps[0]))) / (steps.length - 1 || 1);
    const dot = Math.max(4, Math.min(8, Math.round(gap - 3)));
    this.spots.style.setProperty("--dot", `${dot}px`);
    this.spots.classList.toggle("dense", dot < 6);
    const left = this.share(this.at() ?? 0) * (track.clientWidth - label.offsetWidth);
    first.classList.toggle("away", left < first.offsetWidth + 8);
    last.classList.toggle("away", left + label.offsetWidth > track.clientWidth - last.offsetWidth - 8);
  }

  destroy() {
    this.rest();
    if (this.later !== null) this.dropWaiting();
    this.sizes.disconnect();
    this.root.remove();
  }
}

// The place in `steps` of the one nearest to `step`, the earlier of two equally near; -1 when there is none.
function nearest(steps, step) {
  let best = steps.length ? 0 : -1;
  steps.forEach((one, i) => {
    if (Math.abs(one - step) < Math.abs(steps[best] - step)) best = i;
  });
  return best;
}
