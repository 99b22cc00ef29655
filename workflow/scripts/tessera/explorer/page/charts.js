// Figures: Vega-Lite drawn as SVG, with their numbers as a table below for the keyboard, and both to save.

import { h, save } from "tessera/dom.js";
import { csv, plainTable } from "tessera/tables.js";

const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function look() {
  const [ink, faint, line, ground] = ["--ink", "--faint", "--line", "--ground"].map(css);
  const text = { labelColor: ink, titleColor: ink, labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal", labelLimit: 260, titleLimit: 500 };
  return {
    background: ground, font: "system-ui, sans-serif", view: { stroke: null }, title: { color: ink, fontSize: 13, anchor: "start" },
    axis: { ...text, gridColor: line, domainColor: faint, tickColor: faint }, legend: { ...text, symbolBaseFillColor: ink, symbolBaseStrokeColor: ink }, header: { ...text, labelFontSize: 13 },
    text: { color: ink, fontSize: 12 }, rule: { color: faint }, bar: { color: css("--link") }, mark: { color: css("--link") },
  };
}

// A figure of rows. `spec` is Vega-Lite without its data; `columns` are what the table and the csv show of each row;
// a row's `address` is where a click on its mark leads.
export function chart(name, caption, spec, rows, columns, { open = false } = {}) {
  const place = h("div", { class: "chart" });
  let drawn;
  const full = { $schema: "https://vega.github.io/schema/vega-lite/v6.json", data: { values: rows }, config: look(), ...spec, description: caption };
  const ready = window.vegaEmbed(place, full, { renderer: "svg", actions: false, tooltip: { theme: "custom" } }).then(result => {
    drawn = result.view;
    drawn.addEventListener("click", (_, item) => {
      if (item?.datum?.address) location.hash = item.datum.address;
    });
  });
  ready.catch(error => place.replaceChildren(h("p", { class: "error" }, `not drawn: ${error.message}`)));
  const svg = async () => save(`${name}.svg`, await drawn.toSVG(), "image/svg+xml");
  return h("figure", {},
    h("figcaption", {}, caption),
    place,
    h("div", { class: "tools" },
      h("button", { onclick: svg }, "save as SVG"),
      h("button", { onclick: () => save(`${name}.csv`, csv(rows, columns), "text/csv") }, "save as csv")),
    h("details", { open }, h("summary", {}, "these numbers as a table"), plainTable(rows, columns)));
}

// A heat map of rows: x and y are fields or encodings; `shown`, where there is room, is what each entry says of `value`.
export function heat(x, y, value, { title, shown, tooltip, middle, scale = {}, step = [78, 34], format, cursor }) {
  const dark = `datum[${JSON.stringify(value)}] ${scale.reverse ? ">" : "<"} ${middle}`;
  return {
    width: { step: step[0] }, height: { step: step[1] }, encoding: { x, y, tooltip },
    layer: [
      { mark: { type: "rect", cursor }, encoding: { color: { field: value, type: "quantitative", scale: { scheme: "cividis", ...scale }, title, legend: { format } } } },
      ...(shown ? [{ mark: { type: "text", fontSize: 12, cursor }, encoding: { text: { field: shown }, color: { condition: { test: dark, value: "white" }, value: "black" } } }] : []),
    ],
  };
}

export const middleOf = values => (Math.min(...values) + Math.max(...values)) / 2;

const [WIDE, NARROW, ROOM, CHARACTER] = [420, 240, 580, 6.4]; // pixels: of a plot, of plot and labels, of a letter

// A value with its interval, a row each: the rows have `label`, value, value_low and value_high. Long labels take from
// the plot, so that its right end, where the best stand, is in sight.
export function intervals(rows, value, { title, zero = false, height = 20, colour, extra = [] }) {
  const y = { field: "label", type: "nominal", sort: null, title: null, axis: { labelLimit: 420 } };
  const x = field => ({ field, type: "quantitative", title, scale: { zero } });
  const tooltip = [{ field: "label" }, ...[value, `${value}_low`, `${value}_high`, ...extra].map(field => ({ field }))];
  const ink = colour ?? {};
  const longest = Math.max(0, ...rows.map(row => String(row.label).length));
  return {
    width: Math.min(WIDE, Math.max(NARROW, ROOM - CHARACTER * longest)), height: { step: height },
    layer: [
      ...(zero ? [{ mark: { type: "rule", strokeDash: [3, 3] }, encoding: { x: { datum: 0 } } }] : []),
      { mark: { type: "rule", strokeWidth: 2 }, encoding: { y, x: x(`${value}_low`), x2: { field: `${value}_high` }, ...ink } },
      { mark: { type: "point", filled: true, size: 70, opacity: 1 }, encoding: { y, x: x(value), tooltip, ...ink } },
    ],
  };
}
