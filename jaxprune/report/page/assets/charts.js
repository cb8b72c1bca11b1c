// Draws the charts: of all their traces those that the reader chose, in the colours of the page.
"use strict";

const charts = JSON.parse(document.getElementById("charts").textContent);
const root = document.documentElement;
const narrow = matchMedia("(max-width: 40rem)");
const systemDark = matchMedia("(prefers-color-scheme: dark)");
let printing = false;
const TWO_COLOURS = /^#[0-9a-f]{6}\|#[0-9a-f]{6}$/i; // on white, on black

function isDark() {
  return root.dataset.theme === "dark";
}

// A copy of a value with every pair of colours replaced by one of them.
function coloured(value) {
  if (typeof value === "string") {
    return TWO_COLOURS.test(value) ? value.split("|")[isDark() ? 1 : 0] : value;
  }
  if (Array.isArray(value)) return value.map(coloured);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, coloured(part)]));
}

// The traces that have no tag of a kind, or the one chosen.
function chosen(figure, data) {
  const wanted = [...figure.querySelectorAll("select")].map((select) => [select.dataset.tag, select.value]);
  return data.filter((trace) =>
    wanted.every(([tag, value]) => value === "all" || !(tag in trace.meta) || trace.meta[tag] === value)
  );
}

function axis(settings, style) {
  return { gridcolor: style.rule, linecolor: style.soft, zerolinecolor: style.soft, automargin: true, ...settings };
}

// Names below the chart take no height from it, of which they get one line for two free. A page of paper
// holds two charts; Plotly does not hear of its width.
function size(data) {
  const names = data.filter((trace) => trace.showlegend !== false && trace.type !== "heatmap").length;
  const below = 20 * Math.max(0, Math.ceil(names / (narrow.matches ? 1.5 : 2)) - 2);
  if (printing) return { width: 680, height: 320 + below };
  return { height: (narrow.matches ? 370 : 420) + below };
}

function layout(chart, data) {
  const css = getComputedStyle(root);
  const style = Object.fromEntries(["ink", "soft", "rule", "panel"].map((n) => [n, css.getPropertyValue(`--${n}`).trim()]));
  const { xaxis, yaxis, ...rest } = chart.layout;
  return {
    ...rest,
    xaxis: axis({ zeroline: false, ...xaxis }, style),
    yaxis: axis(yaxis, style),
    font: { color: style.ink, size: narrow.matches ? 11 : 13, family: "system-ui, 'DejaVu Sans', sans-serif" },
    paper_bgcolor: style.panel,
    plot_bgcolor: style.panel,
    margin: { l: 50, r: 12, t: 12, b: 40 },
    ...size(data),
    legend: { orientation: "h", yref: "container", y: 0, yanchor: "bottom", x: 0, maxheight: 0.9 },
    hovermode: "closest",
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
  };
}

function draw(figure) {
  const chart = charts[figure.id];
  const data = chosen(figure, chart.data).map(coloured);
  return Plotly.react(figure.querySelector(".plot"), data, layout(chart, data), { displayModeBar: false, responsive: true });
}

function drawAll() {
  document.querySelectorAll(".chart").forEach(draw);
}

function setTheme(dark) {
  root.dataset.theme = dark ? "dark" : "light";
}

setTheme(systemDark.matches);
drawAll();

document.querySelectorAll(".chart").forEach((figure) => {
  figure.querySelectorAll("select").forEach((select) => select.addEventListener("change", () => draw(figure)));
  figure.querySelectorAll("[data-save]").forEach((button) =>
    button.addEventListener("click", () =>
      Plotly.downloadImage(figure.querySelector(".plot"), {
        format: button.dataset.save, filename: figure.id, width: 1000, height: 600, scale: 2,
      })
    )
  );
});

document.getElementById("theme").addEventListener("click", () => { setTheme(!isDark()); drawAll(); });
systemDark.addEventListener("change", (event) => { setTheme(event.matches); drawAll(); });
narrow.addEventListener("change", drawAll);

// Paper is white.
let before = false;
addEventListener("beforeprint", () => { before = isDark(); printing = true; setTheme(false); drawAll(); });
addEventListener("afterprint", () => { printing = false; setTheme(before); drawAll(); });
