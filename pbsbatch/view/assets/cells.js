// The cells over the slide: outlines from near, the label image from afar. What is hidden is decided here, nothing is asked for again.

const FLOATS = 4e6, PICTURES = 120, AT_ONCE = 6;

export const Canvas = L.Layer.extend({
  // A canvas over the map and a quarter beyond it. draw(context, scale, x, y, view): level-0 (X, Y) lies at X * scale + x.
  initialize(pane, draw) { this._name = pane; this._draw = draw; },
  onAdd(map) {
    this._canvas = L.DomUtil.create("canvas", "leaflet-zoom-hide", map.getPane(this._name));
    this.redraw();
  },
  onRemove() { this._canvas.remove(); },
  getEvents() { return { moveend: this.redraw, resize: this.redraw, viewreset: this.redraw }; },
  redraw() {
    const map = this._map;
    if (!map || this._waiting) return;
    this._waiting = requestAnimationFrame(() => { this._waiting = 0; if (this._map) this._paint(); });
  },
  _paint() {
    const map = this._map, size = map.getSize(), pad = size.multiplyBy(0.25).round(), ratio = devicePixelRatio || 1;
    const corner = map.containerPointToLayerPoint(pad.multiplyBy(-1)), canvas = this._canvas;
    const wide = size.x + 2 * pad.x, tall = size.y + 2 * pad.y;
    L.DomUtil.setPosition(canvas, corner);
    canvas.width = wide * ratio; canvas.height = tall * ratio;
    canvas.style.width = `${wide}px`; canvas.style.height = `${tall}px`;
    const context = canvas.getContext("2d"), scale = map.getZoomScale(map.getZoom(), 0);
    const origin = map.latLngToLayerPoint([0, 0]).subtract(corner);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const view = { x0: -origin.x / scale, y0: -origin.y / scale, x1: (wide - origin.x) / scale, y1: (tall - origin.y) / scale };
    const inner = { x0: view.x0 + pad.x / scale, y0: view.y0 + pad.y / scale, x1: view.x1 - pad.x / scale, y1: view.y1 - pad.y / scale };
    this._draw(context, scale, origin.x, origin.y, view, inner);
  },
});

export class Filter {
  // Which cells are drawn: classes and types that are on, and a least score in hundredths.
  constructor(slide, index) {
    this.kinds = Object.keys(slide.classes); this.sorts = Object.keys(slide.types);
    this.colours = [...Object.values(slide.classes), ...Object.values(slide.types)];
    this.off = new Set(); this.offTypes = new Set(); this.least = 0; this.hidden = false; this.counts = index.counts;
    this.changed();
  }
  changed() {
    this.kindOn = this.kinds.map((n) => !this.off.has(n)); this.sortOn = this.sorts.map((n) => !this.offTypes.has(n));
  }
  passes(kind, sort, score) {
    return score >= this.least && this.kindOn[kind] && (sort >= this.sorts.length || this.sortOn[sort]);
  }
  colour(kind, sort) { return sort < this.sorts.length ? this.kinds.length + sort : kind; }
  sum(take) {
    let total = 0;
    this.counts.forEach((sorts, kind) => sorts.forEach((bins, sort) => {
      if (take(kind, sort)) for (let b = this.least; b < bins.length; b++) total += bins[b];
    }));
    return total;
  }
  get shown() { return this.sum((kind, sort) => this.passes(kind, sort, this.least)); }
  ofKind(kind) { return this.sum((k) => k === kind); }
  ofSort(sort) { return this.sum((_, s) => s === sort); }
}

export class Cells {
  constructor(map, slide, index, filter, ask, said) {
    Object.assign(this, { map, slide, index, filter, ask, said, chosen: null });
    this.tiles = new Map(); this.asked = new Set(); this.queue = []; this.going = 0; this.floats = 0;
    this.layer = new Canvas("cells", (...a) => this.draw(...a)).addTo(map);
  }
  remove() { this.queue = []; this.gone = true; this.layer.remove(); }
  redraw() { this.layer.redraw(); }
  get level() { return Math.min(Math.ceil(-this.map.getZoom() - 0.5), this.slide.coarsest); }
  get isNear() { return this.level <= this.index.near; }
  wanted(view) {
    const near = this.isNear, level = near ? Math.max(this.level, Math.min(0, this.index.near)) : Math.max(0, this.level);
    const side = this.slide.side * 2 ** level, reach = near ? this.index.reach + 8 : 0, keys = [];
    const last = (size) => Math.ceil(size / side) - 1;
    const range = (a, b, size) => [Math.max(0, Math.floor((a - reach) / side)), Math.min(last(size), Math.floor((b + reach) / side))];
    const [c0, c1] = range(view.x0, view.x1, this.slide.width), [r0, r1] = range(view.y0, view.y1, this.slide.height);
    for (let row = r0; row <= r1; row++) for (let column = c0; column <= c1; column++) keys.push({ near, level, column, row, side });
    return keys;
  }
  draw(context, scale, x, y, view, inner) {
    if (this.filter.hidden) { this.said({ near: this.isNear, waiting: 0, inside: 0 }); return; }
    const keys = this.wanted(view), loaded = [];
    this.queue = [];
    for (const key of keys) {
      const name = `${key.near ? "near" : "far"}/${encodeURIComponent(this.slide.id)}/${key.level}/${key.column}/${key.row}.${key.near ? "json" : "bin"}`;
      const tile = this.tiles.get(name);
      if (tile) { this.tiles.delete(name); this.tiles.set(name, tile); loaded.push(tile); }
      else if (!this.asked.has(name)) this.queue.push({ name, key });
    }
    let inside = 0, leftOut = 0;
    if (this.isNear) {
      const paths = [...this.filter.colours, ...this.filter.colours].map(() => new Path2D());  // outlines, then boxes
      for (const tile of loaded) { inside += this.outline(tile, paths, scale, x, y, inner); leftOut += tile.left_out; }
      const thin = scale < 0.5 ? 1 : 1.6, n = this.filter.colours.length;
      paths.forEach((path, i) => {
        context.lineWidth = i % n < this.filter.kinds.length ? thin : 1.7 * thin;  // cells with a type stand out
        context.setLineDash(i < n ? [] : [4, 3]);
        context.strokeStyle = this.filter.colours[i % n];
        context.stroke(path);
      });
      context.setLineDash([]);
      this.mark(context, loaded, scale, x, y);
    } else {
      context.imageSmoothingEnabled = false;
      for (const tile of loaded) this.picture(context, tile, scale, x, y);
    }
    this.pump();
    this.said({ near: this.isNear, waiting: this.queue.length + this.going, inside, leftOut });
  }
  outline(tile, paths, scale, x, y, inner) {
    let inside = 0;
    for (let i = 0; i < tile.id.length; i++) {
      if (!this.filter.passes(tile.class[i], tile.type[i], tile.score[i])) continue;
      const boxed = tile.boxed.has(i) ? this.filter.colours.length : 0;
      trace(paths[this.filter.colour(tile.class[i], tile.type[i]) + boxed], tile, i, scale, x, y);
      const [cx, cy] = middle(tile, i);
      inside += cx >= inner.x0 && cx < inner.x1 && cy >= inner.y0 && cy < inner.y1;
    }
    return inside;
  }
  mark(context, loaded, scale, x, y) {
    for (const tile of loaded) {
      const i = this.chosen === null ? -1 : tile.id.indexOf(this.chosen);
      if (i < 0) continue;
      const path = new Path2D();
      trace(path, tile, i, scale, x, y);
      for (const [colour, width] of [["#000", 5], ["#ffd400", 3]]) { context.strokeStyle = colour; context.lineWidth = width; context.stroke(path); }
    }
  }
  picture(context, tile, scale, x, y) {
    const key = `${this.filter.least} ${[...this.filter.off]} ${[...this.filter.offTypes]}`;
    if (tile.key !== key) {
      const { w, h, planes } = tile, n = w * h, image = new ImageData(w, h), data = new Uint32Array(image.data.buffer);
      const ink = this.filter.colours.map((c) => 0xb0000000 | parseInt(c.slice(5, 7) + c.slice(3, 5) + c.slice(1, 3), 16));
      for (let i = 0; i < n; i++) {
        const kind = planes[i] - 1;
        if (kind >= 0 && this.filter.passes(kind, planes[n + i], planes[2 * n + i])) data[i] = ink[this.filter.colour(kind, planes[n + i])];
      }
      tile.canvas ??= Object.assign(document.createElement("canvas"), { width: w, height: h });
      tile.canvas.getContext("2d").putImageData(image, 0, 0);
      tile.key = key;
    }
    const step = tile.step * scale;
    context.drawImage(tile.canvas, tile.x * scale + x, tile.y * scale + y, tile.w * step, tile.h * step);
  }
  pump() {
    while (this.going < AT_ONCE && this.queue.length && !this.gone) this.load(this.queue.shift());
  }
  async load({ name, key }) {
    this.asked.add(name); this.going++;
    try {
      const tile = key.near ? decode(await this.ask(name), key) : await unpack(await this.ask(name, "bytes"), key, this.slide);
      this.tiles.set(name, tile); this.floats += tile.floats;
      for (const [old, kept] of this.tiles) {
        if (this.floats <= FLOATS && this.tiles.size <= PICTURES) break;
        if (old === name) break;
        this.tiles.delete(old); this.asked.delete(old); this.floats -= kept.floats;
      }
      this.asked.delete(name);
    } catch (error) { this.said({ problem: String(error.message) }); }  // asked stays: no second time
    this.going--;
    if (!this.gone) this.redraw();
  }
  hit(x, y) {
    // The id of the smallest drawn outline around a point; null where none is.
    let best = null, least = Infinity;
    for (const key of this.wanted({ x0: x, y0: y, x1: x, y1: y })) {
      const tile = this.tiles.get(`near/${encodeURIComponent(this.slide.id)}/${key.level}/${key.column}/${key.row}.json`);
      for (let i = 0; tile && i < tile.id.length; i++) {
        if (!this.filter.passes(tile.class[i], tile.type[i], tile.score[i])) continue;
        const area = around(tile, i, x, y);
        if (area !== null && area < least) { least = area; best = tile.id[i]; }
      }
    }
    return best;
  }
}

function decode(tile, key) {
  const starts = new Uint32Array(tile.id.length + 1);
  tile.outline.forEach((line, i) => { starts[i + 1] = starts[i] + line.length; });
  const points = new Float32Array(starts[tile.id.length]), left = key.column * key.side, top = key.row * key.side;
  tile.outline.forEach((line, i) => {
    let x = 0, y = 0;
    for (let p = 0, at = starts[i]; p < line.length; p += 2) {
      x += line[p]; y += line[p + 1];
      points[at++] = left + x * tile.unit; points[at++] = top + y * tile.unit;
    }
  });
  delete tile.outline;
  return Object.assign(tile, { starts, points, boxed: new Set(tile.boxed), floats: points.length });
}

async function unpack(bytes, key, slide) {
  const head = new DataView(bytes), w = head.getUint16(0, true), h = head.getUint16(2, true);
  const stream = new Blob([bytes.slice(4)]).stream().pipeThrough(new DecompressionStream("deflate"));
  const planes = new Uint8Array(await new Response(stream).arrayBuffer()), x = key.column * key.side, y = key.row * key.side;
  const whole = Math.min(slide.side, Math.ceil((slide.width - x) / 2 ** key.level));
  return { w, h, planes, x, y, step: Math.max(1, Math.round(whole / w)) * 2 ** key.level, floats: planes.length / 4 };
}

function trace(path, tile, i, scale, x, y) {
  const { points, starts } = tile;
  for (let p = starts[i]; p < starts[i + 1]; p += 2) {
    const px = points[p] * scale + x, py = points[p + 1] * scale + y;
    if (p === starts[i]) path.moveTo(px, py); else path.lineTo(px, py);
  }
  path.closePath();
}

function bounds(tile, i) {
  let x0 = Infinity, y0 = Infinity, x1 = -Infinity, y1 = -Infinity;
  for (let p = tile.starts[i]; p < tile.starts[i + 1]; p += 2) {
    x0 = Math.min(x0, tile.points[p]); x1 = Math.max(x1, tile.points[p]);
    y0 = Math.min(y0, tile.points[p + 1]); y1 = Math.max(y1, tile.points[p + 1]);
  }
  return [x0, y0, x1, y1];
}

function middle(tile, i) {
  const [x0, y0, x1, y1] = bounds(tile, i);
  return [(x0 + x1) / 2, (y0 + y1) / 2];
}

function around(tile, i, x, y) {
  const [x0, y0, x1, y1] = bounds(tile, i), { points, starts } = tile;
  if (x < x0 || x > x1 || y < y0 || y > y1) return null;
  let odd = false;
  for (let p = starts[i], q = starts[i + 1] - 2; p < starts[i + 1]; q = p, p += 2) {
    const ax = points[p], ay = points[p + 1], bx = points[q], by = points[q + 1];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) odd = !odd;
  }
  return odd ? (x1 - x0) * (y1 - y0) : null;
}
