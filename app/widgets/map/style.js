// style.js: how each point looks, worked out once per change on the CPU and read by both painters.

const DISC = 0, RING = 1, STAR = 2;

function parseColour(text) {
  const value = Number.parseInt(text.slice(1, 7), 16);
  return [(value >> 16) & 255, (value >> 8) & 255, value & 255];
}

// "rgb(1, 2, 3)", "#123456" or any CSS colour -> [1, 2, 3]
function cssColour(text, otherwise) {
  const probe = (cssColour.probe ??= document.createElement("canvas").getContext("2d", { willReadFrequently: true }));
  probe.fillStyle = otherwise;
  probe.fillStyle = text || otherwise;
  const found = probe.fillStyle;
  if (found.startsWith("#")) return parseColour(found);
  return (found.match(/[\d.]+/g) ?? [0, 0, 0]).slice(0, 3).map(Number);
}

const brightness = ([r, g, b]) => (0.299 * r + 0.587 * g + 0.114 * b) / 255;
const rgb = ([r, g, b], alpha = 1) => `rgba(${Math.round(r)},${Math.round(g)},${Math.round(b)},${alpha})`;
const blend = (one, other, share) => one.map((value, i) => value + (other[i] - value) * share);

// Diameter in CSS pixels that lets `count` points lie in an area of `area` square pixels without hiding each other.
function pointSize(count, area, zoom) {
  const room = Math.sqrt(area / Math.max(1, count));
  return Math.min(11, Math.max(4.5, 0.42 * room)) * Math.min(2.2, Math.max(1, zoom ** 0.35));
}

// Returns {colours (m x 4 u8), looks (m x 4 u8: size in 1/16 of the base size, shape, fresh, layer), order, stars} for the
// frame's points followed by its proxies; order lists what is drawn, faint first, then lit, and `stars` proxies last.
function styleOf(frame, view, ground) {
  const points = frame.ids.length, all = points + frame.proxyLabels.length;
  const colours = new Uint8Array(all * 4), looks = new Uint8Array(all * 4);
  const classColours = frame.colours.map(parseColour);
  const grey = blend(ground, brightness(ground) > 0.5 ? [110, 116, 128] : [150, 156, 168], 0.75);
  const selected = view.selected, neighbours = new Set(view.picked === null ? [] : frame.neighbours);
  const layers = [[], [], [], []]; // faint, lit, picked, proxies
  for (let i = 0; i < all; i++) {
    const isProxy = i >= points;
    const label = isProxy ? frame.proxyLabels[i - points] : frame.labels[i];
    if (view.hidden.has(label)) continue;
    const id = isProxy ? -1 : frame.ids[i];
    const isPicked = id === view.picked, isNeighbour = neighbours.has(id);
    let lit = true;
    if (view.lit !== null) lit = label === view.lit;
    else if (view.picked !== null && !selected.size) lit = isPicked || isNeighbour;
    else if (selected.size) lit = isProxy || selected.has(id) || isPicked || isNeighbour;
    const strong = lit && !isProxy && (view.lit !== null || selected.has(id) || isPicked || isNeighbour);
    const soft = view.picked !== null && !selected.size && view.lit === null;
    const colour = lit ? classColours[label] : soft ? blend(classColours[label], grey, 0.45) : blend(classColours[label], grey, 0.88);
    const alpha = lit ? 1 : soft ? 0.4 : 0.3;
    colours.set([colour[0], colour[1], colour[2], alpha * 255], 4 * i);
    const size = isProxy ? 3 : isPicked ? 1.55 : strong ? 1.2 : lit ? 1 : 0.82;
    const layer = isProxy ? 3 : isPicked ? 2 : lit ? 1 : 0;
    looks.set([size * 16, isProxy ? STAR : frame.heldOut[i] ? DISC : RING, view.fresh?.[i] ?? 0, layer], 4 * i);
    layers[layer].push(i);
  }
  return { colours, looks, order: Uint32Array.from(layers.flat()), stars: layers[3].length };
}

// In 3-D what is nearer is drawn later, layer by layer: a counting sort over 256 depths.
function byDepth(style, screen, radius) {
  const steps = 256, keys = new Uint16Array(style.order.length), starts = new Uint32Array(4 * steps + 1);
  style.order.forEach((point, i) => {
    const depth = Math.round((screen[3 * point + 2] / radius / 2 + 0.5) * (steps - 1));
    keys[i] = style.looks[4 * point + 3] * steps + Math.min(steps - 1, Math.max(0, depth));
    starts[keys[i] + 1]++;
  });
  for (let i = 1; i < starts.length; i++) starts[i] += starts[i - 1];
  const sorted = new Uint32Array(style.order.length);
  style.order.forEach((point, i) => (sorted[starts[keys[i]]++] = point));
  return sorted;
}

// The middle of each class: the median of its points on each axis. places n x 3 -> Map label -> [x, y, z]
function middles(frame, places) {
  const byClass = new Map();
  frame.labels.forEach((label, i) => {
    if (!byClass.has(label)) byClass.set(label, [[], [], []]);
    byClass.get(label).forEach((values, axis) => values.push(places[3 * i + axis]));
  });
  const median = (values) => Float32Array.from(values).sort()[values.length >> 1];
  return new Map([...byClass].map(([label, axes]) => [label, axes.map(median)]));
}
