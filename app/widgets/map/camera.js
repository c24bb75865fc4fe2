// camera.js: one camera for 2-D (no turn, no perspective) and 3-D (orbit). Lengths are CSS pixels, angles radians.

const WIDEST_PITCH = Math.PI / 2 - 0.01;

class Camera {
  constructor() {
    this.width = 1;
    this.height = 1;
    this.target = [0, 0, 0];
    this.yaw = 0;
    this.pitch = 0;
    this.scale = 1; // pixels per unit at the target
    this.perspective = 0; // 1 / distance of the eye; 0 is a parallel view
    this.depth = 0; // 1 / radius of what is shown; 0 in 2-D
  }

  axes() {
    const [sy, cy, sp, cp] = [Math.sin(this.yaw), Math.cos(this.yaw), Math.sin(this.pitch), Math.cos(this.pitch)];
    return { right: [cy, 0, -sy], up: [-sy * sp, cp, -cy * sp], toward: [sy * cp, sp, cy * cp] };
  }

  // places (n x 3) -> out (n x 3): x and y in pixels from the top left, then the depth towards the eye
  project(places, out) {
    const { right, up, toward } = this.axes();
    const [tx, ty, tz] = this.target;
    for (let i = 0; i < places.length; i += 3) {
      const x = places[i] - tx, y = places[i + 1] - ty, z = places[i + 2] - tz;
      const near = x * toward[0] + y * toward[1] + z * toward[2];
      const size = this.scale / Math.max(0.2, 1 - near * this.perspective);
      out[i] = this.width / 2 + size * (x * right[0] + y * right[1] + z * right[2]);
      out[i + 1] = this.height / 2 - size * (x * up[0] + y * up[1] + z * up[2]);
      out[i + 2] = near;
    }
    return out;
  }

  // a pixel -> the place under it in the plane through the target
  place(px, py) {
    const { right, up } = this.axes();
    const x = (px - this.width / 2) / this.scale, y = (this.height / 2 - py) / this.scale;
    return this.target.map((t, axis) => t + x * right[axis] + y * up[axis]);
  }

  pan(dx, dy) {
    const { right, up } = this.axes();
    this.target = this.target.map((t, axis) => t + (-dx * right[axis] + dy * up[axis]) / this.scale);
  }

  orbit(dx, dy) {
    this.yaw -= dx * 0.008;
    this.pitch = Math.min(WIDEST_PITCH, Math.max(-WIDEST_PITCH, this.pitch + dy * 0.008));
  }

  zoom(factor, px, py, flat) {
    const before = this.place(px, py);
    this.scale = Math.min(1e7, Math.max(1e-7, this.scale * factor));
    if (!flat) return;
    const after = this.place(px, py);
    this.target = this.target.map((t, axis) => t + before[axis] - after[axis]);
  }

  pose() {
    const { target, yaw, pitch, scale, perspective, depth } = this;
    return { target: [...target], yaw, pitch, scale, perspective, depth };
  }

  take(pose) {
    Object.assign(this, pose, { target: [...pose.target] });
  }
}

// The pose that shows all `places`, with a margin, between the pixels that are covered at the head and at the foot of the stage;
// the picture of a 2-D or 3-D head always shows its circle or sphere.
function fittingPose(places, dims, isHead, width, stageHeight, { head, foot }, turn) {
  const height = stageHeight - head - foot;
  const low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
  for (let i = 0; i < places.length; i++) {
    const axis = i % 3;
    if (places[i] < low[axis]) low[axis] = places[i];
    if (places[i] > high[axis]) high[axis] = places[i];
  }
  if (isHead) for (let axis = 0; axis < dims; axis++) [low[axis], high[axis]] = [Math.min(low[axis], -1), Math.max(high[axis], 1)];
  if (low[0] > high[0]) [low.fill(-1), high.fill(1)];
  const margin = Math.min(40, 0.05 * Math.min(width, height) + 10);
  const [w, h] = [Math.max(40, width - 2 * margin), Math.max(40, height - 2 * margin)];
  const target = low.map((value, axis) => (value + high[axis]) / 2);
  if (dims === 2) {
    const scale = Math.min(w / Math.max(1e-6, high[0] - low[0]), h / Math.max(1e-6, high[1] - low[1]));
    return { target: [target[0], target[1] + (head - foot) / 2 / scale, 0], yaw: 0, pitch: 0, scale, perspective: 0, depth: 0 };
  }
  const radius = isHead ? 1 : Math.max(1e-6, Math.hypot(high[0] - low[0], high[1] - low[1], high[2] - low[2]) / 2);
  const scale = (0.95 * Math.min(w, h)) / (2 * radius);
  return { target: isHead ? [0, 0, 0] : target, ...turn, scale, perspective: 1 / (3.6 * radius), depth: 1 / radius };
}

function between(one, other, share) {
  const mix = (a, b) => a + (b - a) * share;
  return {
    target: one.target.map((t, axis) => mix(t, other.target[axis])),
    yaw: mix(one.yaw, other.yaw),
    pitch: mix(one.pitch, other.pitch),
    scale: one.scale * (other.scale / one.scale) ** share,
    perspective: mix(one.perspective, other.perspective),
    depth: mix(one.depth, other.depth),
  };
}

const eased = (share) => (share >= 1 ? 1 : share <= 0 ? 0 : share < 0.5 ? 4 * share ** 3 : 1 - (2 - 2 * share) ** 3 / 2);

// The three canvas sizes follow the stage; beyond 2 device pixels per CSS pixel nobody sees a difference.
const pixelRatio = () => Math.min(2, globalThis.devicePixelRatio || 1);
