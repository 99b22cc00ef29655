// Every cell as a heat map over two axes; the others are picked, or the best of them by cross-validation is shown.

import { address, change } from "tessera/address.js";
import { chart, heat, middleOf } from "tessera/charts.js";
import { piece } from "tessera/data.js";
import { h, link, note, picker } from "tessera/dom.js";
import { interval, score } from "tessera/numbers.js";

const BEST = "best by cross-validation";
const said = value => (value === null ? "–" : String(value));

// The values of an axis that are there, in the order of figures.
function valuesOf(study, axis, rows) {
  const there = new Set(rows.map(row => said(row[axis])));
  return [...new Set([...(study.axes[axis] ?? []).map(String), ...there])].filter(value => there.has(value));
}

export async function grid(study, parts, query) {
  const cells = (await piece("grid")).frames.cells;
  const every = cells.rows();
  const there = new Set(every.map(row => row.contestant)), kinds = study.contestants.filter(name => there.has(name));
  const kind = kinds.includes(query.features) ? query.features : kinds[0];
  const splits = [...new Set(every.map(row => row.split))], split = splits.includes(query.split) ? query.split : splits[0];
  const ofKind = every.filter(row => row.contestant === kind && row.split === split);
  const open = study.cell.filter(axis => axis !== "features" && valuesOf(study, axis, ofKind).length > 1);
  const x = open.includes(query.x) ? query.x : ["threshold", "layer", "pooling"].find(axis => open.includes(axis)) ?? open[0] ?? "data";
  const y = open.includes(query.y) && query.y !== x ? query.y : (["pooling", "layer", "width"].find(axis => axis !== x && open.includes(axis)) ?? open.find(axis => axis !== x) ?? "model");
  const others = open.filter(axis => axis !== x && axis !== y);
  const metric = study.metrics.includes(query.metric) ? query.metric : "cv_macro_f1";
  const pick = axis => { // a data set is always one: scores of several are not comparable
    const values = valuesOf(study, axis, ofKind), first = axis === "data" ? values[0] : BEST;
    return values.includes(query[axis]) ? query[axis] : first;
  };
  const chosen = Object.fromEntries(others.map(axis => [axis, pick(axis)]));
  const fits = ofKind.filter(row => others.every(axis => chosen[axis] === BEST || said(row[axis]) === chosen[axis]));
  const best = new Map();
  for (const row of fits) {
    const key = JSON.stringify([said(row[x]), said(row[y])]);
    if (!best.has(key) || (row.cv_macro_f1 ?? -1) > (best.get(key).cv_macro_f1 ?? -1)) best.set(key, row);
  }
  const rows = [...best.values()].map(row => ({
    ...row, x: said(row[x]), y: said(row[y]), value: row[metric], shown: score(row[metric]), chosen: row.C.join(" or "),
    interval: interval(row, metric), address: address("cell", row.name.split("/")),
  }));
  const axis = (field, name) => ({ field, type: "nominal", sort: valuesOf(study, name, ofKind), title: name, axis: { labelAngle: 0, orient: field === "x" ? "top" : "left" } });
  const title = metric.replaceAll("_", " ");
  const tooltip = [["name", "cell"], ["shown", title], ["interval", "95 % interval"], ["density", "density"], ["chosen", "C"], ["cv_macro_f1", "cv macro F1"], ["examples", "test examples"]]
    .map(([field, name]) => ({ field, title: name }));
  const spec = heat(axis("x", x), axis("y", y), "value", { title, shown: "shown", tooltip, middle: middleOf(rows.map(row => row.value)), scale: { reverse: metric === "ece" || metric === "reliability" }, format: ".3f", cursor: "pointer" });
  const columns = [
    { name: "name", title: "cell", shown: row => link(row.address, row.name) }, ...open.map(name => ({ name })),
    { name: metric, interval: `${metric}_low` in rows[0] ? metric : null }, { name: "density", about: study.meanings.density },
    { name: "C", shown: row => row.chosen, about: study.meanings.C }, { name: "cv_macro_f1", about: study.meanings.cv_macro_f1 },
  ];
  const inside = metric === "cv_macro_f1" || metric === "density";
  const only = Object.entries(chosen).map(([name, value]) => `${name}: ${value}`).join("; ");
  return [
    h("h1", {}, "The grid"),
    note("Choose by cv macro f1, inside the training split; the test split is for the one cell that was chosen. Click an entry to open its cell."),
    h("div", { class: "pickers" },
      picker("features", kinds, kind, value => change({ features: value })),
      picker("across", open.length ? open : [x], x, value => change({ x: value, y: value === y ? x : y })),
      picker("down", open.filter(axis => axis !== x), y, value => change({ y: value })),
      others.map(axis => picker(axis, [...(axis === "data" ? [] : [BEST]), ...valuesOf(study, axis, ofKind)], chosen[axis], value => change({ [axis]: value }))),
      picker("shown", study.metrics, metric, value => change({ metric: value }), one => one.replaceAll("_", " ")),
      splits.length > 1 ? picker("test split", splits, split, value => change({ split: value })) : null),
    chart(`grid-${kind}-${x}-${y}-${metric}-${Object.values(chosen).join("-")}`.replace(/[^\w-]+/g, "-"), `${title} of ${kind} ${inside ? "inside the training split" : `on the split ${split}`}, ${x} across, ${y} down${only ? `; ${only}` : ""}.${Object.values(chosen).includes(BEST) ? " Where the best is shown, each entry has its own: pick a value to compare entries of one." : ""}`, spec, rows, columns),
  ];
}
