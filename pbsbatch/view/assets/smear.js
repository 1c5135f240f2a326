// The smear map: blocks of the slide coloured by one figure, and the border of the monolayer, from which densities come.
import { Canvas } from "./cells.js";

const RAMP = ["#00224e", "#35456c", "#666970", "#948e77", "#c8b866", "#fee838"].map((c) => [1, 3, 5].map((i) => parseInt(c.slice(i, i + 2), 16)));

export class Smear {
  constructor(map, data) {
    Object.assign(this, { map, data, figure: null });
    this.zones = data.figures.find((f) => f.name === "zones");
    this.layer = new Canvas("smear", (...a) => this.draw(...a)).addTo(map);
  }
  remove() { this.layer.remove(); }
  show(name) { this.figure = this.data.figures.find((f) => f.name === name) || null; this.layer.redraw(); }
  draw(context, scale, x, y, view) {
    if (!this.figure) return;
    context.globalAlpha = 0.6;
    this.each(view, (value, a, b, c, d) => {
      context.fillStyle = this.colour(value);
      context.fillRect(a * scale + x, b * scale + y, (c - a) * scale + 0.3, (d - b) * scale + 0.3);
    });
    context.globalAlpha = 1;
    if (this.zones) this.border(context, scale, x, y);
  }
  each(view, take) {
    const { columns, rows } = this.data;
    rows.forEach((row, r) => {
      if (!row || row[1] < view.y0 || row[0] > view.y1) return;
      columns.forEach((column, c) => {
        const value = this.figure.values[r * columns.length + c];
        if (column && value !== null && column[1] >= view.x0 && column[0] <= view.x1) take(value, column[0], row[0], column[1], row[1]);
      });
    });
  }
  area(name) {
    // How much of the slide one of the zones takes, in level-0 pixels.
    const { columns, rows } = this.data, wanted = this.zones.names.indexOf(name);
    return this.zones.values.reduce((sum, value, i) => {
      const column = columns[i % columns.length], row = rows[Math.floor(i / columns.length)];
      return value === wanted && column && row ? sum + (column[1] - column[0]) * (row[1] - row[0]) : sum;
    }, 0);
  }
  colour(value) {
    if (this.figure.names) return this.figure.colours[value];
    const { low, high } = this.figure, t = Math.min(1, Math.max(0, (value - low) / (high - low || 1))) * (RAMP.length - 1);
    const i = Math.min(RAMP.length - 2, Math.floor(t)), mix = RAMP[i].map((v, k) => Math.round(v + (RAMP[i + 1][k] - v) * (t - i)));
    return `rgb(${mix})`;
  }
  border(context, scale, x, y) {
    const { columns, rows } = this.data, mono = this.zones.names.indexOf("monolayer"), n = columns.length;
    const inside = (r, c) => r >= 0 && c >= 0 && r < rows.length && c < n && this.zones.values[r * n + c] === mono;
    const path = new Path2D();
    const line = (ax, ay, bx, by) => { path.moveTo(ax * scale + x, ay * scale + y); path.lineTo(bx * scale + x, by * scale + y); };
    rows.forEach((row, r) => columns.forEach((column, c) => {
      if (!row || !column || !inside(r, c)) return;
      if (!inside(r - 1, c)) line(column[0], row[0], column[1], row[0]);
      if (!inside(r + 1, c)) line(column[0], row[1], column[1], row[1]);
      if (!inside(r, c - 1)) line(column[0], row[0], column[0], row[1]);
      if (!inside(r, c + 1)) line(column[1], row[0], column[1], row[1]);
    }));
    for (const [colour, width] of [["#fff", 5], ["#00694e", 2.5]]) { context.strokeStyle = colour; context.lineWidth = width; context.stroke(path); }
  }
  at(x, y) {
    // What the chosen figure says of a point, as text.
    if (!this.figure) return "";
    const { columns, rows } = this.data, within = (v) => (pair) => pair && v >= pair[0] && v < pair[1];
    const c = columns.findIndex(within(x)), r = rows.findIndex(within(y));
    const value = c < 0 || r < 0 ? null : this.figure.values[r * columns.length + c];
    const said = value === null ? "nothing was measured here" : this.figure.names ? this.figure.names[value] : String(value);
    const zone = this.zones && this.zones !== this.figure && c >= 0 && r >= 0 ? this.zones.values[r * columns.length + c] : null;
    return `${this.figure.name}: ${said}${zone === null ? "" : ` (${this.zones.names[zone]})`}`;
  }
}
