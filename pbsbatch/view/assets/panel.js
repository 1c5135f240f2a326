// What stands beside the map: the list of slides, toggles, the numbers of a cell, legends. Text from outside is text, never markup.

export const $ = (id) => document.getElementById(id);
const whole = (n) => Math.round(n).toLocaleString("en");

export function element(name, values = {}, ...inside) {
  const made = Object.assign(document.createElement(name), values);
  made.append(...inside);
  return made;
}

export function fillList(slides, chosen, open) {
  $("list").replaceChildren(...slides.map((slide) => {
    const facts = [slide.n_rbc && `${whole(slide.n_rbc)} red`, slide.n_wbc && `${whole(slide.n_wbc)} white`,
      slide.qc_status && slide.qc_status !== "pass" && slide.qc_status].filter(Boolean).join(", ");
    const image = element("img", { loading: "lazy", alt: "", src: `thumb/${encodeURIComponent(slide.id)}.jpg` });
    const button = element("button", { type: "button" }, image, element("span", {}, slide.name, element("small", { textContent: facts })));
    if (slide.id === chosen) button.setAttribute("aria-current", "true");
    button.dataset.id = slide.id;
    button.addEventListener("click", () => open(slide.id));
    const item = element("li", {}, button);
    item.dataset.text = `${slide.name} ${slide.id} ${slide.sample ?? ""}`.toLowerCase();
    return item;
  }));
}

export function search() {
  const wanted = $("search").value.trim().toLowerCase();
  let left = 0;
  for (const item of $("list").children) { item.hidden = !item.dataset.text.includes(wanted); left += !item.hidden; }
  $("none").hidden = left > 0;
}

export function fillToggles(filter, changed) {
  const rows = (names, off, first, count, group) => names.map((name, i) => {
    const box = element("input", { type: "checkbox", checked: !off.has(name) });
    box.dataset[group] = name;
    box.addEventListener("change", () => { box.checked ? off.delete(name) : off.add(name); changed(); });
    const swatch = element("i", { className: "swatch" });
    swatch.style.background = filter.colours[first + i];
    return element("label", {}, box, swatch, element("span", { textContent: name.replaceAll("_", " ") }),
      element("small", { textContent: whole(count(i)) }));
  });
  $("classes").replaceChildren($("classes").firstElementChild, ...rows(filter.kinds, filter.off, 0, (i) => filter.ofKind(i), "kind"));
  $("types").replaceChildren($("types").firstElementChild, ...rows(filter.sorts, filter.offTypes, filter.kinds.length, (i) => filter.ofSort(i), "sort"));
  $("types").hidden = $("types-note").hidden = !filter.sorts.length;
}

export function sayCount(filter, total) {
  const shown = filter.hidden ? 0 : filter.shown;
  $("count").replaceChildren(element("b", { id: "shown", textContent: whole(shown) }), ` of ${whole(total)} cells shown`);
}

export function showCell(cell, slide) {
  $("cell").hidden = !cell;
  if (!cell) return;
  $("cell-id").textContent = cell.id;
  const um = slide.mpp, [x0, y0, x1, y1] = cell.box;
  const facts = {
    class: cell.class, score: cell.score.toFixed(3), type: cell.type?.replaceAll("_", " "), "type's score": cell.type_score?.toFixed(3),
    "second opinion": cell.second_type && `${cell.second_type.replaceAll("_", " ")} ${cell.second_score.toFixed(3)}`, "flagged": cell.doubt || null,
    area: um ? `${(cell.area_px * um * um).toFixed(1)} µm²` : `${whole(cell.area_px)} px²`,
    box: um ? `${((x1 - x0) * um).toFixed(1)} × ${((y1 - y0) * um).toFixed(1)} µm` : `${(x1 - x0).toFixed(0)} × ${(y1 - y0).toFixed(0)} px`,
    "from x, y": `${x0.toFixed(0)}, ${y0.toFixed(0)}`, "to x, y": `${x1.toFixed(0)}, ${y1.toFixed(0)}`,
  };
  $("cell-facts").replaceChildren(...Object.entries(facts).filter(([, v]) => v !== undefined && v !== null)
    .flatMap(([k, v]) => [element("dt", { textContent: k }), element("dd", { textContent: v })]));
}

const NUMBERS = [
  ["zones", "monolayer_mm2", "From the monolayer", { rbc_per_mm2: "red cells per mm²", wbc_per_mm2: "white cells per mm²",
    platelet_per_mm2: "platelets per mm²", rbc_diameter_um: "red-cell diameter, µm", rbc_diameter_cv_pct: "its variation, %" }],
  ["unread", "analysed_mm2", "From all that was read", { n_rbc: "red cells", n_wbc: "white cells", n_platelet: "platelets",
    n_wbc_diff: "of the differential" }],
];

export function showNumbers(slide, maps, pick) {
  // What stands in the summary, by the area it came from; a press on the area shows it on the smear.
  const groups = NUMBERS.map(([map, area, said, names]) => {
    const found = Object.entries(names).filter(([column]) => slide.row[column]);
    if (!found.length) return null;
    const button = element("button", { type: "button", className: "area" }, said, slide.row[area] ? `, ${(+slide.row[area]).toFixed(2)} mm²` : "");
    button.addEventListener("click", () => pick(maps.includes(map) ? map : "zones"));
    return [button, element("dl", {}, ...found.flatMap(([column, name]) => [element("dt", { textContent: name }),
      element("dd", { textContent: (+slide.row[column]).toLocaleString("en", { maximumFractionDigits: +slide.row[column] < 1000 ? 2 : 0 }) })]))];
  }).filter(Boolean);
  $("numbers").hidden = !groups.length;
  $("numbers-list").replaceChildren(...groups.flat());
}

export function fillFigures(data) {
  const options = data.figures.map((f) => element("option", { value: f.name, textContent: f.name }));
  $("figure").replaceChildren($("figure").firstElementChild, ...options);
}

export function showLegend(smear, mpp) {
  const figure = smear?.figure ?? null, kinds = figure?.names;
  $("legend").hidden = !figure || Boolean(kinds);
  $("zones").hidden = !kinds;
  const line = smear?.zones && figure !== smear.zones ? "The line runs around the monolayer: densities are counted within it." : "";
  $("block").textContent = !figure ? "" : figure.counts ? `The blocks show ${figure.meaning}. ${line}` : line;
  if (!figure) return;
  $("meaning").textContent = figure.meaning; $("low").textContent = figure.low; $("high").textContent = figure.high;
  if (kinds) $("zones").replaceChildren(...kinds.map((name, i) => {
    const swatch = element("i", { className: "swatch" });
    swatch.style.background = figure.colours[i];
    return element("li", {}, swatch, name, element("small", { textContent: figure.counts ? whole(figure.counts[i]) : zoneArea(smear.area(name), mpp) }));
  }));
}

function zoneArea(area, mpp) {
  // of level-0 pixels
  return !area ? "" : mpp ? `${(area * mpp * mpp / 1e6).toFixed(2)} mm²` : `${(area / 1e6).toFixed(1)} MP`;
}

const BARS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000];

export function showScale(zoom, mpp) {
  const unit = (mpp || 1) / 2 ** zoom, most = 110;  // of one CSS pixel
  const length = BARS.filter((b) => b / unit <= most).pop() ?? BARS[0];
  $("scale").hidden = false;
  $("scale").firstElementChild.style.width = `${length / unit}px`;
  $("scale").lastElementChild.textContent = !mpp ? `${whole(length)} px` : length >= 1000 ? `${length / 1000} mm` : `${length} µm`;
}
