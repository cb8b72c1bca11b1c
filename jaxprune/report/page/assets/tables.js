// The full tables: one at a time, sorted by a column, rows that hold all words of the filter, and as CSV.
"use strict";

const tables = JSON.parse(document.getElementById("tables").textContent);
const ROWS = 100; // shown at first, and added by every "more rows"

// The rows of a packed table, each an array of values.
function unpacked(table) {
  const column = (c) => ("same" in c ? Array(table.rows).fill(c.same) : c.values);
  const columns = table.columns.map(column);
  return Array.from({ length: table.rows }, (_, row) => columns.map((values) => values[row]));
}

function shownAs(value) {
  if (value === null) return "";
  if (typeof value === "number" && !Number.isInteger(value)) return String(Number(value.toPrecision(5)));
  return String(value);
}

// Numbers by size (also "inf"), words by the alphabet, nothing last.
function compare(one, other) {
  if (one === null || other === null) return (one === null) - (other === null);
  const [a, b] = [one, other].map((v) => (v === "inf" ? Infinity : v === "-inf" ? -Infinity : v));
  if (typeof a === "number" && typeof b === "number") return a === b ? 0 : a < b ? -1 : 1;
  return String(a).localeCompare(String(b));
}

function quoted(value) {
  const text = value === null ? "" : String(value);
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function start(full) {
  const role = (name) => full.querySelector(`[data-role="${name}"]`);
  const table = full.querySelector("table");
  let names = [], rows = [], found = [], sorted = null, down = false, most = ROWS;

  function open() {
    const packed = tables[`${full.dataset.place}-${role("table").value}`];
    names = packed.columns.map((column) => column.name);
    rows = unpacked(packed);
    sorted = null;
    search();
  }

  function search() {
    const words = role("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const holds = (row, word) => row.some((value) => shownAs(value).toLowerCase().includes(word));
    found = rows.filter((row) => words.every((word) => holds(row, word)));
    if (sorted !== null) order();
    most = ROWS;
    show();
  }

  function order() {
    const sign = down ? -1 : 1;
    // What is nothing stays last whichever way.
    const absent = (row) => row[sorted] === null;
    found.sort((a, b) => (absent(a) || absent(b) ? compare(a[sorted], b[sorted]) : sign * compare(a[sorted], b[sorted])));
  }

  function sortBy(column) {
    down = sorted === column && !down;
    sorted = column;
    order();
    show();
  }

  function heading(name, column) {
    const arrow = sorted !== column ? "" : down ? " ▼" : " ▲";
    const button = element("button", { type: "button", textContent: name + arrow, onclick: () => sortBy(column) });
    const words = rows.some((row) => typeof row[column] === "string");
    const cell = element("th", { scope: "col", className: words ? "words" : "" }, button);
    cell.setAttribute("aria-sort", sorted !== column ? "none" : down ? "descending" : "ascending");
    return cell;
  }

  function show() {
    const row = (values) =>
      element("tr", {}, ...values.map((value) =>
        element("td", { textContent: shownAs(value), className: typeof value === "string" ? "words" : "" })));
    table.replaceChildren(
      element("caption", { textContent: role("table").value }),
      element("thead", {}, element("tr", {}, ...names.map(heading))),
      element("tbody", {}, ...found.slice(0, most).map(row))
    );
    role("count").textContent = `${found.length} of ${rows.length} rows`;
    role("more").hidden = found.length <= most;
  }

  function download() {
    const lines = [names, ...found].map((row) => row.map(quoted).join(","));
    const link = element("a", { download: `${role("table").value}.csv` });
    link.href = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/csv" }));
    link.click();
    URL.revokeObjectURL(link.href);
  }

  role("table").addEventListener("change", open);
  role("filter").addEventListener("input", search);
  role("download").addEventListener("click", download);
  role("more").addEventListener("click", () => { most += ROWS; show(); });
  open();
}

document.querySelectorAll(".full").forEach(start);
