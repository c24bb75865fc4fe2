// paint_gl.js: draws the points with WebGL2. The card moves them: each carries where it was and where it goes.

const VERTEX = `#version 300 es
in vec3 a_from; in vec3 a_to; in vec4 a_colour; in vec4 a_look;
uniform float u_share, u_scale, u_perspective, u_depth, u_pixels, u_size;
uniform vec3 u_target, u_right, u_up, u_toward;
uniform vec2 u_half;
out vec4 v_colour;
flat out float v_shape, v_radius;
void main() {
  vec3 p = mix(a_from, a_to, u_share) - u_target;
  vec3 q = vec3(dot(p, u_right), dot(p, u_up), dot(p, u_toward));
  float near = 1.0 / max(0.2, 1.0 - q.z * u_perspective);
  gl_Position = vec4(q.xy * u_scale * near / u_half, 0.0, 1.0);
  v_radius = 0.5 * u_size * a_look.x / 16.0 * mix(1.0, near, step(0.0001, u_perspective)) * u_pixels;
  v_shape = a_look.y;
  if (v_shape > 1.5) v_radius = max(v_radius, 11.0 * u_pixels); // a smaller star would be all outline
  float fog = u_depth > 0.0 ? mix(0.42, 1.0, clamp(q.z * u_depth * 0.5 + 0.5, 0.0, 1.0)) : 1.0;
  v_colour = vec4(a_colour.rgb, a_colour.a * fog * (a_look.z > 0.5 ? u_share : 1.0));
  gl_PointSize = 2.0 * v_radius + 2.0;
}`;

// Two fragment programs: almost all points are discs and rings, and their pixels must be cheap without a graphics card.
const ROUND = `#version 300 es
precision highp float;
in vec4 v_colour;
flat in float v_shape, v_radius;
uniform vec3 u_ground, u_ink;
uniform float u_pixels;
out vec4 colour;
void main() {
  float r = length((gl_PointCoord - 0.5) * (2.0 * v_radius + 2.0)) - v_radius; // 0 on the rim
  float hole = clamp(r + max(1.4 * u_pixels, 0.3 * v_radius) + 0.5, 0.14, 1.0);
  float alpha = v_colour.a * clamp(0.5 - r, 0.0, 1.0) * mix(1.0, hole, v_shape);
  float rim = (1.0 - v_shape) * 0.55 * clamp(r + 0.5 * u_pixels + 0.9, 0.0, 1.0);
  colour = vec4(mix(v_colour.rgb, u_ground, rim) * alpha, alpha);
}`;

// Distance to a five-pointed star: fold the plane into one tenth of it, then measure to the line from tip to notch.
// From the inside out: its class's colour, an outline of ink, a rim of ground that lifts it off its own points.
const STARS = `#version 300 es
precision highp float;
in vec4 v_colour;
flat in float v_shape, v_radius;
uniform vec3 u_ground, u_ink;
uniform float u_pixels;
out vec4 colour;
void main() {
  vec2 d = (gl_PointCoord - 0.5) * (2.0 * v_radius + 2.0);
  float sector = 0.62831853;
  float angle = mod(atan(d.x, -d.y) + sector, 2.0 * sector) - sector;
  vec2 p = length(d) * vec2(cos(angle), abs(sin(angle)));
  vec2 tip = vec2(v_radius, 0.0);
  vec2 edge = 0.5 * v_radius * vec2(cos(sector), sin(sector)) - tip;
  float s = dot(p - tip, normalize(vec2(edge.y, -edge.x)));
  vec3 paint = mix(v_colour.rgb, u_ink, smoothstep(-2.5 * u_pixels, -1.9 * u_pixels, s));
  paint = mix(paint, u_ground, smoothstep(-1.4 * u_pixels, -0.8 * u_pixels, s));
  float alpha = (1.0 - smoothstep(-0.5, 0.5, s)) * v_colour.a;
  colour = vec4(paint * alpha, alpha);
}`;

const ATTRIBUTES = ["a_from", "a_to", "a_colour", "a_look"];

class GlPainter {
  static on(canvas) {
    const gl = canvas.getContext("webgl2", { alpha: true, antialias: false, depth: false, stencil: false, premultipliedAlpha: true });
    return gl ? new GlPainter(canvas, gl) : null;
  }

  constructor(canvas, gl) {
    this.kind = "webgl2";
    this.canvas = canvas;
    this.gl = gl;
    this.build();
  }

  build() {
    const gl = this.gl;
    this.round = this.program(ROUND);
    this.stars = this.program(STARS);
    this.buffers = {};
    for (const name of ATTRIBUTES) this.buffers[name] = gl.createBuffer();
    this.order = gl.createBuffer();
    this.room = gl.createVertexArray();
    gl.bindVertexArray(this.room);
    const { FLOAT, UNSIGNED_BYTE } = gl, kinds = [[3, FLOAT, false], [3, FLOAT, false], [4, UNSIGNED_BYTE, true], [4, UNSIGNED_BYTE, false]];
    kinds.forEach((kind, place) => {
      gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[ATTRIBUTES[place]]);
      gl.enableVertexAttribArray(place);
      gl.vertexAttribPointer(place, ...kind, 0, 0);
    });
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.order);
    [this.drawn, this.drawnStars] = [0, 0];
  }

  // {program, at: uniform name -> its place}; both programs share the attributes' places
  program(fragment) {
    const gl = this.gl, program = gl.createProgram();
    for (const [type, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(type);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    ATTRIBUTES.forEach((name, place) => gl.bindAttribLocation(program, place, name));
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) throw new Error(gl.getProgramInfoLog(program));
    return { program, at: new Proxy({}, { get: (known, name) => (known[name] ??= gl.getUniformLocation(program, name)) }) };
  }

  fill(name, values) {
    const gl = this.gl;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name]);
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.DYNAMIC_DRAW);
  }

  setPlaces(from, to) {
    this.fill("a_from", from);
    this.fill("a_to", to);
  }

  setStyle(style) {
    this.fill("a_colour", style.colours);
    this.fill("a_look", style.looks);
    this.drawnStars = style.stars;
    this.setOrder(style.order);
  }

  // Which points are drawn, in which order; the stars come last.
  setOrder(order) {
    const gl = this.gl;
    gl.bindVertexArray(this.room);
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, order, gl.DYNAMIC_DRAW);
    this.drawn = order.length;
  }

  draw(scene) {
    const gl = this.gl;
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.bindVertexArray(this.room);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    const round = this.drawn - this.drawnStars;
    if (round) this.drawPart(this.round, scene, 0, round);
    if (this.drawnStars) this.drawPart(this.stars, scene, round, this.drawnStars);
  }

  drawPart({ program, at }, { camera, share, size, ground, ink }, first, count) {
    const gl = this.gl, { right, up, toward } = camera.axes();
    gl.useProgram(program);
    gl.uniform1f(at.u_share, share);
    gl.uniform1f(at.u_scale, camera.scale);
    gl.uniform1f(at.u_perspective, camera.perspective);
    gl.uniform1f(at.u_depth, camera.depth);
    gl.uniform1f(at.u_pixels, this.canvas.width / camera.width);
    gl.uniform1f(at.u_size, size);
    gl.uniform3fv(at.u_target, camera.target);
    gl.uniform3fv(at.u_right, right);
    gl.uniform3fv(at.u_up, up);
    gl.uniform3fv(at.u_toward, toward);
    gl.uniform2f(at.u_half, camera.width / 2, camera.height / 2);
    gl.uniform3fv(at.u_ground, ground.map((value) => value / 255));
    gl.uniform3fv(at.u_ink, ink.map((value) => value / 255));
    gl.drawElements(gl.POINTS, count, gl.UNSIGNED_INT, 4 * first);
  }

  destroy() {
    const gl = this.gl;
    for (const buffer of Object.values(this.buffers)) gl.deleteBuffer(buffer);
    gl.deleteBuffer(this.order);
    gl.deleteVertexArray(this.room);
    for (const { program } of [this.round, this.stars]) gl.deleteProgram(program);
    gl.getExtension("WEBGL_lose_context")?.loseContext();
  }
}
