"use strict";
(() => {
  const table = document.getElementById("slides");
  if (!table) return;
  const body = table.tBodies[0], rows = [...body.rows], empty = document.getElementById("none-left");
  const value = (row, column) => {
    const text = row.cells[column].dataset.v ?? row.cells[column].textContent;
    const number = Number(text);
    return text !== "" && Number.isFinite(number) ? number : text.toLowerCase();
  };
  const before = (a, b) => a === "" ? 1 : b === "" ? -1 :
    typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === "number" ? -1 : 1;
  table.tHead.querySelectorAll("button").forEach((button) => button.addEventListener("click", () => {
    const head = button.parentElement, column = head.cellIndex;
    const down = head.getAttribute("aria-sort") === "ascending";
    table.tHead.querySelectorAll("th").forEach((th) => th.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    rows.map((row) => [value(row, column), row])
      .sort(([a], [b]) => a === "" || b === "" ? before(a, b) : down ? before(b, a) : before(a, b))
      .forEach(([, row]) => body.append(row));
  }));
  const text = document.getElementById("find"), state = document.getElementById("state");
  const filter = () => {
    const wanted = text.value.trim().toLowerCase();
    let left = 0;
    rows.forEach((row) => {
      const fits = (!wanted || row.dataset.text.includes(wanted)) && (!state.value || row.dataset.state === state.value);
      row.hidden = !fits;
      left += fits;
    });
    empty.hidden = left > 0;
  };
  text.addEventListener("input", filter);
  state.addEventListener("change", filter);
  document.querySelectorAll(".controls").forEach((e) => { e.hidden = false; });
})();
