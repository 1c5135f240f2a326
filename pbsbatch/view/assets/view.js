// The viewer's page. State lives in the address behind #: slide, place, zoom, what is hidden; a link to it restores it.
import { Cells, Filter } from "./cells.js";
import { $, element, fillFigures, fillList, fillToggles, sayCount, search, showCell, showLegend, showNumbers, showScale } from "./panel.js";
import { Smear } from "./smear.js";

const NEAREST = 4, NARROW = matchMedia("(max-width: 760px)");
const map = L.map("map", { crs: L.CRS.Simple, attributionControl: false, maxZoom: NEAREST, zoomSnap: 0.5, zoomDelta: 1, zoomAnimation: !matchMedia("(prefers-reduced-motion: reduce)").matches });
for (const [name, over] of [["smear", 350], ["cells", 450]]) {
  Object.assign(map.createPane(name).style, { zIndex: over, pointerEvents: "none" });
}
map.getContainer().setAttribute("aria-label", "The slide: arrows move it, plus and minus zoom");
let now = null;  // the slide that is shown, and what is drawn of it
let turn = 0;

async function ask(address, form = "json") {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).error ?? `${answer.status} ${answer.statusText}`);
  return form === "bytes" ? answer.arrayBuffer() : answer.json();
}

const Pixels = L.GridLayer.extend({
  createTile(at, done) {
    const { slide } = this.options, tile = element("div", { className: "pixels" });
    const image = element("img", { alt: "", draggable: false });
    image.addEventListener("load", () => { image.style.width = `${100 * image.naturalWidth / slide.side}%`; done(null, tile); });
    image.addEventListener("error", () => done(new Error("a tile did not come"), tile));
    image.src = `tile/${encodeURIComponent(slide.id)}/${-at.z}/${at.x}/${at.y}.jpg`;
    tile.append(image);
    return tile;
  },
});

function readHash() {
  const q = new URLSearchParams(location.hash.slice(1)), number = (n) => (q.has(n) && Number.isFinite(+q.get(n)) ? +q.get(n) : null);
  const list = (n) => (q.get(n) ? q.get(n).split(",") : []);
  return { slide: q.get("slide"), x: number("x"), y: number("y"), zoom: number("zoom"), off: list("off"), offTypes: list("off-types"),
    score: number("score"), map: q.get("map") ?? "" };
}

function writeHash() {
  if (!now || now.moving) return;
  const at = map.getCenter(), q = new URLSearchParams({ slide: now.slide.id, x: Math.round(at.lng), y: Math.round(-at.lat), zoom: map.getZoom() });
  if (now.filter) {
    if (now.filter.off.size) q.set("off", [...now.filter.off]);
    if (now.filter.offTypes.size) q.set("off-types", [...now.filter.offTypes]);
    if (now.filter.least) q.set("score", now.filter.least / 100);
  }
  if ($("figure").value) q.set("map", $("figure").value);
  history.replaceState(null, "", `#${q}`);
  $("link").href = `#${q}`;
}

function say(text) { $("notice").textContent = text; $("notice").hidden = !text; }

async function open(id, wanted = {}) {
  const mine = ++turn;
  now?.layers.forEach((layer) => layer.remove());
  now = null;
  showCell(null); say(""); $("numbers").hidden = true;
  $("count").textContent = "opening the slide …"; $("inview").textContent = ""; $("unsure-text").textContent = "";
  for (const button of $("list").querySelectorAll("button")) {
    if (button.dataset.id === id) button.setAttribute("aria-current", "true"); else button.removeAttribute("aria-current");
  }
  try {
    const slide = await ask(`slide/${encodeURIComponent(id)}.json`);
    if (mine !== turn) return;
    show(slide, wanted);
    const [index, data] = await Promise.all([ask(`index/${encodeURIComponent(id)}.json`), ask(`map/${encodeURIComponent(id)}.json`)]);
    if (mine === turn) overlay(slide, index, data, wanted);
  } catch (error) {
    if (mine === turn) { $("count").textContent = ""; say(`${error.message}`); }
  }
}

function show(slide, wanted) {
  const bounds = L.latLngBounds([-slide.height, 0], [0, slide.width]);
  $("title").textContent = slide.name; document.title = `${slide.name} · pbsbatch view`;
  map.setMinZoom(-slide.coarsest - 1);
  const pixels = new Pixels({ slide, tileSize: slide.side, bounds, noWrap: true, minNativeZoom: -slide.coarsest, maxNativeZoom: 0,
    minZoom: -slide.coarsest - 1, maxZoom: NEAREST, keepBuffer: 1 });
  now = { slide, bounds, layers: [pixels], filter: null, cells: null, smear: null, unsure: [], at: -1, moving: true };
  if (wanted.x !== null && wanted.y !== null && wanted.x !== undefined && wanted.zoom !== null) map.setView([-wanted.y, wanted.x], wanted.zoom, { animate: false });
  else map.fitBounds(bounds, { animate: false });
  map.setMaxBounds(bounds.pad(0.5));
  pixels.addTo(map);
  now.moving = false;
  $("count").textContent = "reading the table of cells …";
  if (slide.preview_because) say(`Shown from the small preview: ${slide.preview_because}.`);
  showScale(map.getZoom(), slide.mpp);
  if (!NARROW.matches) map.getContainer().focus({ preventScroll: true });
}

function overlay(slide, index, data, wanted) {
  const filter = new Filter(slide, index);
  (wanted.off ?? []).filter((n) => filter.kinds.includes(n)).forEach((n) => filter.off.add(n));
  (wanted.offTypes ?? []).filter((n) => filter.sorts.includes(n)).forEach((n) => filter.offTypes.add(n));
  filter.least = Math.min(100, Math.max(0, Math.round((wanted.score ?? 0) * 100)));
  filter.changed();
  const smear = new Smear(map, data), cells = new Cells(map, slide, index, filter, ask, drawn);
  now.layers.push(smear, cells);
  Object.assign(now, { filter, smear, cells, unsure: index.unsure });
  $("score").value = filter.least;
  fillFigures(data);
  $("figure").value = data.figures.some((f) => f.name === wanted.map) ? wanted.map : "";
  smear.show($("figure").value);
  showLegend(smear, slide.mpp);
  showNumbers(slide, data.figures.map((f) => f.name), chooseMap);
  $("unsure-text").textContent = !index.unsure_total ? "no unsure cell" : `${index.unsure_total.toLocaleString("en")} ${Object.keys(slide.types).length ? slide.asked ? "unsure or flagged cells" : "unsure cells" : "white cells, lowest score first"}`;
  refilter();
}

function drawn({ near, waiting, inside, leftOut, problem }) {
  if (problem) say(problem);
  if (near === undefined) return;
  $("map").dataset.waiting = waiting;
  const more = leftOut ? `; ${leftOut.toLocaleString("en")} more lie too close to be drawn` : "";
  $("inview").textContent = now?.filter?.hidden ? "hidden (h)" : near ? `${inside.toLocaleString("en")} of them in view${more}` : "from afar: go nearer for outlines";
}

function refilter() {
  now.filter.changed();
  $("score-value").textContent = (now.filter.least / 100).toFixed(2);
  fillToggles(now.filter, changedToggle);
  sayCount(now.filter, now.slide.cells);
  now.cells.redraw();
  writeHash();
}

function changedToggle() {
  const { kind, sort } = document.activeElement?.dataset ?? {};
  refilter();  // the boxes are made anew: the one that was touched keeps the focus
  const again = [...document.querySelectorAll("#panel input[type=checkbox]")].find((b) => b.dataset.kind === kind && b.dataset.sort === sort);
  again?.focus();
}

async function choose(id) {
  if (!now?.cells) return;
  const slide = now.slide;
  now.cells.chosen = id;
  now.cells.redraw();
  const cell = id === null ? null : await ask(`cell/${encodeURIComponent(slide.id)}/${id}.json`);
  if (now?.slide !== slide || now.cells.chosen !== id) return;
  showCell(cell, slide);
  if (NARROW.matches) map.invalidateSize({ animate: false });
}

function placeCell() {
  // In a narrow window the panel is folded: a cell's numbers stand below the slide.
  if (NARROW.matches) $("stage").after($("cell")); else $("numbers").before($("cell"));
}

async function clicked(at) {
  if (!now?.cells || now.filter.hidden) return;
  const x = at.latlng.lng, y = -at.latlng.lat;
  if (now.cells.isNear) return choose(now.cells.hit(x, y));
  const cell = await ask(`at/${encodeURIComponent(now.slide.id)}/${Math.floor(x)}/${Math.floor(y)}.json`);
  choose(cell ? cell.id : null);
}

function chooseMap(name) {
  if (!now?.smear) return;
  $("figure").value = name;
  now.smear.show(name);
  showLegend(now.smear, now.slide.mpp);
  writeHash();
}

function step(by) {
  if (!now?.unsure.length) return;
  now.at = now.at < 0 && by < 0 ? now.unsure.length - 1 : (now.at + by + now.unsure.length) % now.unsure.length;
  const [id, x, y] = now.unsure[now.at];
  map.setView([-y, x], Math.max(map.getZoom(), 0), { animate: false });
  $("unsure-text").textContent = `${now.at + 1} of ${now.unsure.length}`;
  choose(id);
}

function fold(id, closed) {
  $(id).hidden = closed ?? !$(id).hidden;
  $(`${id}-button`).setAttribute("aria-expanded", String(!$(id).hidden));
  map.invalidateSize({ pan: false });
}

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open) return;
  const typing = event.target.matches?.("input[type=search], select");
  if (event.key === "Escape") { typing ? event.target.blur() : choose(null); return; }
  const keys = { n: () => step(1), N: () => step(-1), "?": () => $("keys").showModal(), "/": () => { fold("slides", false); $("search").focus(); },
    0: () => now && map.fitBounds(now.bounds), h: () => { if (now?.filter) { now.filter.hidden = !now.filter.hidden; refilter(); } } };
  if (typing || !keys[event.key]) return;
  event.preventDefault();
  keys[event.key]();
}

async function start() {
  map.on("click", clicked);
  map.on("moveend", writeHash);
  map.on("zoomend", () => now && showScale(map.getZoom(), now.slide.mpp));
  map.on("mousemove", ({ latlng }) => {
    const figure = now?.smear?.at(latlng.lng, -latlng.lat);
    $("where").textContent = `x ${Math.floor(latlng.lng)}, y ${Math.floor(-latlng.lat)}${figure ? ` · ${figure}` : ""}`;
  });
  document.addEventListener("keydown", pressed);
  $("search").addEventListener("input", search);
  $("score").addEventListener("input", () => { if (now?.filter) { now.filter.least = +$("score").value; refilter(); } });
  $("figure").addEventListener("change", () => chooseMap($("figure").value));
  $("next").addEventListener("click", () => step(1));
  $("previous").addEventListener("click", () => step(-1));
  $("keys-button").addEventListener("click", () => $("keys").showModal());
  for (const id of ["slides", "panel"]) $(`${id}-button`).addEventListener("click", () => fold(id));
  placeCell();
  NARROW.addEventListener("change", placeCell);
  if (NARROW.matches) { fold("slides", true); fold("panel", true); }
  window.addEventListener("hashchange", () => { const at = readHash(); if (at.slide) open(at.slide, at); });
  const wanted = readHash(), { run, finished, slides } = await ask("slides.json");
  fillList(slides, wanted.slide, (id) => { if (NARROW.matches) fold("slides", true); open(id); });
  $("title").textContent = run;
  if (!finished) say("The run has not finished: these are the slides that are done. Reload the page for more.");
  if (!slides.length) { say("No slide of this run is done yet."); return; }
  await open(slides.some((s) => s.id === wanted.slide) ? wanted.slide : slides[0].id, wanted.slide ? wanted : {});
}

start().catch((error) => say(error.message));
