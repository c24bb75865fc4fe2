// gestures.js: hands on the map. Mouse, pen, touch and keys become calls of the map; returns what undoes it.

const CLICK = 5; // pixels that a click may tremble

function listen(map, canvas) {
  const pointers = new Map(); // pointerId -> [x, y]
  let mode = null, travelled = 0, startedAt = [0, 0], pinch = null;
  const off = new AbortController();
  const on = (kind, act, options = {}) => canvas.addEventListener(kind, act, { signal: off.signal, ...options });
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const spread = () => {
    const [[ax, ay], [bx, by]] = [...pointers.values()];
    return { gap: Math.max(10, Math.hypot(ax - bx, ay - by)), x: (ax + bx) / 2, y: (ay + by) / 2 };
  };

  on("pointerdown", (event) => {
    if (event.button > 0) return;
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, place(event));
    map.hover(null);
    if (pointers.size === 2) {
      if (mode === "lasso") map.dropLasso();
      mode = "pinch";
      pinch = spread();
    } else if (pointers.size === 1) {
      startedAt = place(event);
      travelled = 0;
      mode = event.shiftKey || map.lassoMode ? "lasso" : "move";
      if (mode === "lasso") map.startLasso(startedAt);
    }
  });

  on("pointermove", (event) => {
    const now = place(event);
    if (!pointers.has(event.pointerId)) {
      if (event.pointerType !== "touch") map.hover(now);
      return;
    }
    const before = pointers.get(event.pointerId);
    pointers.set(event.pointerId, now);
    travelled = Math.max(travelled, Math.hypot(now[0] - startedAt[0], now[1] - startedAt[1]));
    if (mode === "pinch" && pointers.size === 2) {
      const next = spread();
      map.drag(next.x - pinch.x, next.y - pinch.y);
      map.zoomAt(next.gap / pinch.gap, next.x, next.y);
      pinch = next;
    } else if (mode === "lasso") map.growLasso(now);
    else if (mode === "move" && travelled > CLICK && (event.pointerType !== "touch" || map.frame.dims === 3 || map.isLarge()))
      map.drag(now[0] - before[0], now[1] - before[1]); // one finger on a flat map scrolls the page; two move the map
  });

  const release = (event) => {
    if (!pointers.delete(event.pointerId)) return;
    const cancelled = event.type === "pointercancel";
    if (mode === "lasso") {
      if (cancelled || travelled <= CLICK) map.dropLasso();
      else map.closeLasso();
    } else if (mode === "move" && !cancelled && travelled <= CLICK && event.detail < 2) map.click(startedAt, event.pointerType === "touch" ? 22 : 12);
    if (pointers.size === 0) mode = null;
    else if (mode === "pinch") mode = "move";
  };
  on("pointerup", release);
  on("pointercancel", release);
  on("pointerleave", () => pointers.size === 0 && map.hover(null));
  on("dblclick", (event) => {
    event.preventDefault();
    map.zoomSmoothly(event.shiftKey ? 0.5 : 2, ...place(event));
  });
  on("wheel", (event) => {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : 1;
    const step = Math.max(-120, Math.min(120, event.deltaY * lines)) * (event.ctrlKey ? 0.01 : 0.0022);
    map.zoomAt(Math.exp(-step), ...place(event));
  }, { passive: false });
  // Two fingers are ours even where one finger may scroll the page.
  on("touchstart", (event) => event.touches.length > 1 && event.preventDefault(), { passive: false });
  on("touchmove", (event) => event.touches.length > 1 && event.preventDefault(), { passive: false });

  const step = 48, arrows = {
    ArrowLeft: () => map.nudge(step, 0),
    ArrowRight: () => map.nudge(-step, 0),
    ArrowUp: () => map.nudge(0, step),
    ArrowDown: () => map.nudge(0, -step),
  };
  const letters = {
    "+": () => map.zoomSmoothly(1.5),
    "=": () => map.zoomSmoothly(1.5),
    "-": () => map.zoomSmoothly(1 / 1.5),
    "0": () => map.fit(),
    l: () => map.setLassoMode(!map.lassoMode),
    L: () => map.setLassoMode(!map.lassoMode),
    Escape: () => map.clear(),
  };
  const obey = (event, keys) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return false;
    event.preventDefault();
    keys[event.key]();
    return true;
  };
  on("keydown", (event) => obey(event, { ...arrows, ...letters }));
  // Wherever else on the page the focus is, letters are the map's while it is in view and nobody is typing; arrows scroll.
  const heard = (event) => {
    const inMap = event.composedPath().includes(map.chrome.root);
    if (!inMap && isSeen(canvas) && !takesKeys(event) && obey(event, letters)) event.stopPropagation();
  };
  addEventListener("keydown", heard, { capture: true, signal: off.signal });
  return () => off.abort();
}

const TYPED_INTO = "input:not([type=button], [type=checkbox], [type=radio], [type=range]), textarea, select, [contenteditable=true]";

// Whether a key belongs to a text field, or to a window that lies over the page.
function takesKeys(event) {
  const [target] = event.composedPath();
  return target.matches?.(TYPED_INTO) || document.querySelector("[role=dialog], [role=listbox], [role=menu]") !== null;
}

function isSeen(element) {
  const { top, bottom } = element.getBoundingClientRect();
  return bottom > 0 && top < innerHeight;
}
