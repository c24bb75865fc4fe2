// layers.js: the two thin layers around the points: below them circle, sphere and axes; above them lasso, lines and rings; and the names.

function penFor(canvas, camera) {
  const pen = canvas.getContext("2d"), pixels = canvas.width / camera.width;
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.setTransform(pixels, 0, 0, pixels, 0, 0);
  return pen;
}

function strokeLoop(pen, camera, places) {
  const screen = camera.project(places, new Float32Array(places.length));
  pen.beginPath();
  for (let i = 0; i < screen.length; i += 3) pen.lineTo(screen[i], screen[i + 1]);
  pen.stroke();
}

// The unit sphere's silhouette: in perspective a little wider than its equator.
function outline(pen, camera) {
  const [x, y] = camera.project([0, 0, 0], [0, 0, 0]);
  pen.beginPath();
  pen.arc(x, y, camera.scale / Math.sqrt(1 - camera.perspective ** 2), 0, 2 * Math.PI);
  pen.stroke();
}

// A circle of 96 corners in the plane of two of the axes x, y, z (0, 1, 2)
function circle(one, other, radius, centre) {
  const places = new Float32Array(97 * 3);
  for (let i = 0; i <= 96; i++) {
    places.set(centre, 3 * i);
    places[3 * i + one] += radius * Math.cos((i * Math.PI) / 48);
    places[3 * i + other] += radius * Math.sin((i * Math.PI) / 48);
  }
  return places;
}

// Around each star of the unit circle the part of it where the loss's margin is met, in the class's colour. It glides with the star.
function drawWedges(pen, map) {
  const { camera, frame, view } = map, stars = map.presentPlaces().subarray(3 * frame.ids.length);
  const [x, y] = camera.project([0, 0, 0], [0, 0, 0]);
  frame.proxyLabels.forEach((label, i) => {
    const [clockwise, counterclockwise] = frame.wedges.subarray(2 * i, 2 * i + 2);
    if (clockwise + counterclockwise <= 0 || view.hidden.has(label)) return;
    const turn = Math.atan2(stars[3 * i + 1], stars[3 * i]), lit = view.lit === null || view.lit === label;
    pen.beginPath();
    pen.moveTo(x, y);
    pen.arc(x, y, camera.scale, clockwise - turn, -turn - counterclockwise, true); // the screen's y points down
    pen.closePath();
    pen.fillStyle = rgb(parseColour(frame.colours[label]), lit ? 0.16 : 0.04);
    pen.fill();
  });
}

function drawUnder(canvas, map) {
  const { camera, frame, ink } = map;
  const isHead = frame.method === "head";
  if (!isHead && frame.dims === 2 && !frame.ghosts) {
    canvas.hidden = true; // an empty layer still costs the browser
    return;
  }
  canvas.hidden = false;
  const pen = penFor(canvas, camera);
  pen.lineWidth = 1;
  pen.strokeStyle = rgb(ink, 0.22);
  if (isHead) {
    if (frame.dims === 3) {
      outline(pen, camera);
      pen.strokeStyle = rgb(ink, 0.13);
      for (const [one, other] of [[0, 2], [1, 2]]) strokeLoop(pen, camera, circle(one, other, 1, [0, 0, 0]));
    } else {
      if (frame.wedges) drawWedges(pen, map);
      strokeLoop(pen, camera, circle(0, 1, 1, [0, 0, 0]));
      pen.strokeStyle = rgb(ink, 0.1);
      strokeLoop(pen, camera, [-1, 0, 0, 1, 0, 0]);
      strokeLoop(pen, camera, [0, -1, 0, 0, 1, 0]);
    }
  } else if (frame.dims === 3) {
    const reach = 1 / camera.depth, [x, y, z] = camera.target;
    pen.strokeStyle = rgb(ink, 0.14);
    for (let axis = 0; axis < 3; axis++) {
      const line = [x, y, z, x, y, z];
      line[axis] -= reach;
      line[3 + axis] += reach;
      strokeLoop(pen, camera, line);
    }
    strokeLoop(pen, camera, circle(0, 2, reach, camera.target));
  }
  if (frame.ghosts) drawGhosts(pen, camera, frame, ink);
}

function drawGhosts(pen, camera, frame, ink) {
  const screen = camera.project(frame.ghosts, new Float32Array(frame.ghosts.length));
  pen.fillStyle = rgb(ink, 0.16);
  for (let i = 0; i < screen.length; i += 3) pen.fillRect(screen[i] - 1.5, screen[i + 1] - 1.5, 3, 3);
}

function drawOver(canvas, map) {
  const { camera, frame, view, ink, size } = map;
  const busy = map.lasso || map.hovered >= 0 || view.picked !== null;
  canvas.hidden = !busy;
  if (!busy) return;
  const pen = penFor(canvas, camera);
  const screen = map.screenPlaces();
  const at = (point) => [screen[3 * point], screen[3 * point + 1]];
  if (view.picked !== null) drawNeighbours(pen, map, at);
  if (map.hovered >= 0 && map.hovered < frame.ids.length) ring(pen, at(map.hovered), size / 2 + 3.5, rgb(ink, 0.9), 1.5);
  if (map.lasso) {
    pen.beginPath();
    for (const [x, y] of map.lasso) pen.lineTo(x, y);
    pen.closePath();
    pen.fillStyle = rgb(ink, 0.07);
    pen.fill();
    pen.setLineDash([5, 4]);
    pen.lineWidth = 1.5;
    pen.strokeStyle = rgb(ink, 0.75);
    pen.stroke();
    pen.setLineDash([]);
  }
}

function ring(pen, [x, y], radius, colour, width) {
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
  pen.lineWidth = width;
  pen.strokeStyle = colour;
  pen.stroke();
}

// Lines from the picked point: solid to its own class, dashed to others.
function drawNeighbours(pen, map, at) {
  const { frame, view, ink, size } = map, centre = frame.ids.indexOf(view.picked);
  pen.lineWidth = 1.25;
  for (const id of map.neighbours()) {
    const point = frame.ids.indexOf(id);
    if (point < 0 || view.hidden.has(frame.labels[point])) continue;
    const same = frame.labels[point] === frame.labels[centre];
    pen.setLineDash(same ? [] : [4, 4]);
    pen.strokeStyle = rgb(ink, same ? 0.75 : 0.5);
    pen.beginPath();
    pen.moveTo(...at(centre));
    pen.lineTo(...at(point));
    pen.stroke();
  }
  pen.setLineDash([]);
  ring(pen, at(centre), size * 0.78 + 4, rgb(ink, 0.95), 2);
}

// Where each class's name stands: at the middle of its points, above its proxy's star if it has one. Most populous first; a name
// that would lie on another is left out. Returns [{label, name, x, y}].
function placeNames(map) {
  const { frame, view, camera, glide } = map, share = eased(glide.share), counts = new Map();
  map.middles ??= [middles(frame, glide.from), middles(frame, glide.to)];
  for (const label of frame.labels) counts.set(label, (counts.get(label) ?? 0) + 1);
  const hasProxy = new Set(frame.proxyLabels), placed = [], [from, to] = map.middles;
  for (const label of [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a))) {
    if (view.hidden.has(label) || (view.lit !== null && view.lit !== label)) continue;
    const place = from.get(label).map((value, axis) => value + (to.get(label)[axis] - value) * share);
    let [x, y] = camera.project(place, [0, 0, 0]);
    if (frame.method === "head" && frame.dims === 2) {
      const reach = Math.hypot(place[0], place[1]) || 1; // outside the circle, where nothing lies
      [x, y] = camera.project([place[0] / reach, place[1] / reach, 0], [0, 0, 0]);
      [x, y] = [x + (34 * place[0]) / reach, y - (20 * place[1]) / reach];
    } else if (hasProxy.has(label)) y -= 20;
    const name = shortName(frame.names[label], 22), half = 3.7 * name.length + 5;
    const outside = x < 0 || y < 8 || x > camera.width || y > camera.height;
    if (!outside && !placed.some((other) => Math.abs(other.x - x) < other.half + half && Math.abs(other.y - y) < 17))
      placed.push({ label, name, x, y, half });
  }
  return placed;
}

// Names are elements of their own: the browser moves them without painting them again.
function drawNames(box, map) {
  const placed = map.named ? placeNames(map) : [];
  while (box.children.length > placed.length) box.lastChild.remove();
  placed.forEach(({ name, x, y }, i) => {
    const element = box.children[i] ?? box.appendChild(make("span"));
    if (element.textContent !== name) element.textContent = name;
    element.style.transform = `translate(${x}px, ${y}px) translate(-50%, -50%)`;
  });
}

// The whole map as one canvas: what it is above, its classes beside it, its facts below. What "Save as PNG" saves.
function picture(map, facts) {
  const { under, points, marks: over } = map.chrome, ratio = points.width / map.camera.width;
  const head = map.frame.title ? 30 : 0, foot = 26, side = 170;
  const width = points.width / ratio, height = points.height / ratio;
  const canvas = make("canvas");
  [canvas.width, canvas.height] = [(width + side) * ratio, (head + height + foot) * ratio];
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  pen.fillStyle = rgb(map.ground);
  pen.fillRect(0, 0, width + side, head + height + foot);
  for (const layer of [under, points, over]) if (!layer.hidden) pen.drawImage(layer, 0, head, width, height);
  pen.lineJoin = "round";
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.font = "600 12px system-ui, sans-serif";
  for (const { name, x, y } of map.named ? placeNames(map) : []) {
    pen.lineWidth = 3.5;
    pen.strokeStyle = rgb(map.ground, 0.85);
    pen.strokeText(name, x, head + y);
    pen.fillStyle = rgb(map.ink);
    pen.fillText(name, x, head + y);
  }
  pen.textAlign = "left";
  pen.textBaseline = "alphabetic";
  pen.fillStyle = rgb(map.ink);
  pen.font = "600 14px system-ui, sans-serif";
  if (head) pen.fillText(map.frame.title, 10, 20, width + side - 20);
  pen.fillStyle = rgb(map.ink, 0.8);
  pen.font = "12px system-ui, sans-serif";
  pen.fillText(facts, 10, head + height + 17, width + side - 20);
  drawClasses(pen, map, width + 12, head + 12, side - 20, height - 16);
  return canvas;
}

// The classes that are shown, each with its mark: a disc where it is held out, a ring where it is trained on.
function drawClasses(pen, map, left, top, width, height) {
  const { frame, view } = map, line = 18, held = new Map();
  frame.labels.forEach((label, i) => !view.hidden.has(label) && held.set(label, (held.get(label) ?? 0) | (frame.heldOut[i] ? 2 : 1)));
  const labels = [...held.keys()].sort((a, b) => a - b), stars = frame.proxyLabels.length ? 1 : 0;
  const room = Math.max(1, Math.floor(height / line) - 2 - stars), shown = labels.slice(0, room);
  let y = top;
  const write = (text) => {
    pen.fillStyle = rgb(map.ink);
    pen.fillText(text, left + 16, y + 4, width - 16);
    y += line;
  };
  for (const label of shown) {
    const colour = frame.colours[label];
    pen.beginPath();
    pen.arc(left + 5, y, 4, 0, 2 * Math.PI);
    pen.lineWidth = 2;
    [pen.strokeStyle, pen.fillStyle] = [colour, colour];
    pen.stroke();
    if (held.get(label) === 2) pen.fill();
    write(shortName(frame.names[label], 22));
  }
  if (labels.length > room) write(`and ${labels.length - room} more classes`);
  if (stars) {
    pen.fillStyle = rgb(map.ink);
    pen.fillText("★", left, y + 4);
    write("proxies");
  }
  pen.fillText("filled: held out, ring: training", left, y + 4, width);
}
