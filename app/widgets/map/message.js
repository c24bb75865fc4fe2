// message.js: one packed message in, one plain frame out. The layout is written down in message.py.

const ARRAY_TYPES = { u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, f4: Float32Array };

function decodeFrame(bytes) {
  const headerLength = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + headerLength)));
  if (header.version !== 1) throw new Error(`The map reads message version 1; got ${header.version}. Reload the page.`);
  const start = bytes.byteOffset + 4 + headerLength;
  const arrays = {};
  for (const [name, type, offset, count] of header.arrays) {
    const kind = ARRAY_TYPES[type];
    const from = start + offset; // the message may lie unaligned in its buffer: copy
    arrays[name] = new kind(bytes.buffer.slice(from, from + count * kind.BYTES_PER_ELEMENT));
  }
  const frame = { ...header, ids: arrays.ids, labels: arrays.labels };
  frame.positions = spread(arrays.positions, header.low, header.high, header.dims);
  frame.ghosts = arrays.ghosts ? spread(arrays.ghosts, header.ghost_low, header.ghost_high, header.dims) : null;
  frame.heldOut = Uint8Array.from(frame.ids, (_, i) => (arrays.held_out[i >> 3] >> (i & 7)) & 1);
  frame.proxies = arrays.proxies ? inThree(arrays.proxies, header.dims) : new Float32Array(0);
  frame.proxyLabels = arrays.proxy_labels ?? new Uint8Array(0);
  frame.wedges = arrays.wedges ?? null;
  frame.atlasIndex = arrays.atlas_index ?? null;
  frame.selected = Array.from(arrays.selected);
  frame.neighbours = Array.from(arrays.neighbours);
  // Places are comparable only within one space; the camera is kept for each.
  frame.space = header.method === "head" ? `head ${header.dims}` : `${header.run} ${header.method} ${header.dims}`;
  return frame;
}

// uint16 codes over their bounds -> x, y, z of each point (z = 0 in 2-D)
function spread(codes, low, high, dims) {
  const count = codes.length / dims;
  const places = new Float32Array(count * 3);
  for (let i = 0; i < count; i++)
    for (let axis = 0; axis < dims; axis++)
      places[3 * i + axis] = low[axis] + ((high[axis] - low[axis]) * codes[dims * i + axis]) / 65535;
  return places;
}

function inThree(values, dims) {
  if (dims === 3) return values;
  const places = new Float32Array((values.length / 2) * 3);
  for (let i = 0; i < values.length / 2; i++) {
    places[3 * i] = values[2 * i];
    places[3 * i + 1] = values[2 * i + 1];
  }
  return places;
}

function sameBytes(one, other) {
  if (!one || !other || one.length !== other.length) return false;
  for (let i = 0; i < one.length; i++) if (one[i] !== other[i]) return false;
  return true;
}

const joined = (one, other) => {
  const all = new Float32Array(one.length + other.length);
  all.set(one);
  all.set(other, one.length);
  return all;
};
