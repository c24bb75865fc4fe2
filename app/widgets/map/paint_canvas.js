// paint_canvas.js: the same picture on a 2-D canvas, where there is no WebGL2. Same methods as GlPainter.

class CanvasPainter {
  constructor(canvas) {
    this.kind = "canvas";
    this.canvas = canvas;
    this.pen = canvas.getContext("2d");
  }

  setPlaces(from, to) {
    [this.from, this.to] = [from, to];
    [this.now, this.screen] = [new Float32Array(to.length), new Float32Array(to.length)];
  }

  setStyle(style) {
    this.style = style;
    this.setOrder(style.order);
  }

  setOrder(order) {
    this.order = order;
  }

  draw(scene) {
    const { pen, canvas, style, now, from, to } = this, { camera } = scene;
    const pixels = canvas.width / camera.width;
    pen.setTransform(pixels, 0, 0, pixels, 0, 0);
    pen.clearRect(0, 0, camera.width, camera.height);
    if (!style) return;
    for (let i = 0; i < to.length; i++) now[i] = from[i] + (to[i] - from[i]) * scene.share;
    camera.project(now, this.screen);
    for (const point of this.order) {
      const [x, y, depth] = this.screen.subarray(3 * point, 3 * point + 3);
      if (x < -20 || y < -20 || x > camera.width + 20 || y > camera.height + 20) continue;
      const near = camera.perspective ? 1 / Math.max(0.2, 1 - depth * camera.perspective) : 1;
      const fog = camera.depth ? 0.42 + 0.58 * Math.min(1, Math.max(0, depth * camera.depth * 0.5 + 0.5)) : 1;
      const [r, g, b, a] = style.colours.subarray(4 * point, 4 * point + 4);
      pen.globalAlpha = (a / 255) * fog * (style.looks[4 * point + 2] ? scene.share : 1);
      this.mark(x, y, (0.5 * scene.size * style.looks[4 * point] * near) / 16, style.looks[4 * point + 1], `rgb(${r},${g},${b})`, scene);
    }
    pen.globalAlpha = 1;
  }

  mark(x, y, radius, shape, colour, scene) {
    const pen = this.pen;
    pen.beginPath();
    if (shape === STAR) {
      radius = Math.max(radius, 11); // a smaller star would be all outline
      for (let corner = 0; corner < 10; corner++) {
        const reach = corner % 2 ? 0.5 * radius : radius, angle = (corner * Math.PI) / 5;
        pen.lineTo(x + reach * Math.sin(angle), y - reach * Math.cos(angle));
      }
      pen.closePath();
      pen.fillStyle = colour;
      for (const [ground, width] of [[true, 4], [false, 1.5]]) {
        pen.strokeStyle = rgb(ground ? scene.ground : scene.ink);
        pen.lineWidth = width;
        pen.stroke();
      }
      pen.fill();
    } else if (shape === RING) {
      const width = Math.max(1.4, 0.3 * radius);
      pen.arc(x, y, radius - width / 2, 0, 2 * Math.PI);
      pen.strokeStyle = colour;
      pen.lineWidth = width;
      pen.stroke();
    } else {
      pen.arc(x, y, radius, 0, 2 * Math.PI);
      pen.fillStyle = colour;
      pen.fill();
    }
  }

  destroy() {}
}
