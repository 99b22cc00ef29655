// One cell: scores, repeats, confusion, classes, calibration, the latents it weighs most, and its examples.

import { address, change } from "tessera/address.js";
import { chart, heat, intervals } from "tessera/charts.js";
import { frame, has, table } from "tessera/data.js";
import { h, link, note, picker, section } from "tessera/dom.js";
import { interval, score, share } from "tessera/numbers.js";
import { fits, tests } from "tessera/said.js";
import { plainTable } from "tessera/tables.js";

const BINS = 10;

export const rowOf = async (name, split = "test") => (await frame("grid", "cells")).rows(row => row.name === name && row.split === split)[0];

function confusion(all, tested, split) {
  const counts = tested.classes.map(() => tested.classes.map(() => 0));
  for (const fit of all.filter(one => one.split === split)) {
    const { places } = tested.parts.find(part => part.repeat === fit.repeat && part.split === split);
    fit.predicted.forEach((said, place) => counts[tested.label[places[place]]][said]++);
  }
  const total = counts.map(row => row.reduce((sum, one) => sum + one, 0));
  return counts.flatMap((row, label) => row.map((count, said) => ({
    label: tested.classes[label], predicted: tested.classes[said], count, share: total[label] ? count / total[label] : 0, shown: total[label] ? share(count / total[label]) : "",
  })));
}

// Shares of right answers in bins of equally many, by how sure the probe was; all repeats and draws together.
function calibration(all, tested, split) {
  const told = all.filter(one => one.split === split).flatMap(fit => {
    const { places } = tested.parts.find(part => part.repeat === fit.repeat && part.split === split);
    return Array.from(fit.confidence, (sure, place) => [sure, fit.predicted[place] === tested.label[places[place]]]);
  }).sort((one, other) => one[0] - other[0]);
  const bins = Math.min(BINS, told.length);
  return Array.from({ length: bins }, (_, bin) => {
    const some = told.slice(Math.floor((bin * told.length) / bins), Math.floor(((bin + 1) * told.length) / bins));
    return { confidence: some.reduce((sum, one) => sum + one[0], 0) / some.length, right: some.filter(one => one[1]).length / some.length, answers: some.length };
  });
}

async function latentsOf(study, name, row) {
  if (!has(`weights/${name}`)) return null;
  const weights = (await frame(`weights/${name}`, "weights")).rows();
  const place = [row.model, row.layer, row.width, row.data].join("/");
  const evidence = study.places.includes(place) ? (await frame(`place/${place}`, "shown")).rows() : [];
  const named = new Map(evidence.map(one => [one.latent, one.explanation ?? one.fires_on]));
  const rows = weights.map(one => ({ ...one, name: named.get(one.latent) ?? "" }));
  const columns = [
    { name: "class" },
    { name: "latent", shown: one => (has(`latent/${place}/${one.latent}`) ? link(address("latent", [...place.split("/"), String(one.latent)]), String(one.latent)) : String(one.latent)) },
    { name: "weight", about: study.meanings.weight },
    { name: "name", title: "fires on", shown: one => h("span", { class: "one" }, one.name) },
  ];
  return section("The latents it weighs most", note("Of the first repeat, by size of weight on what the probe sees. ",
    evidence.length ? link(address("latents", place.split("/")), "What the evidence says of latents here") : "Evidence of this place was not asked for (config key evidence.places)."),
    plainTable(rows, columns));
}

export async function cell(study, parts, query) {
  const name = parts.join("/"), cells = await frame("grid", "cells");
  const splits = cells.rows(row => row.name === name).map(row => row.split);
  if (!splits.length) throw new Error(`there is no cell ${name}`);
  const split = splits.includes(query.split) ? query.split : splits[0];
  const row = await rowOf(name, split), tested = await tests(row.data), all = await fits(name);
  const isHere = one => one.split === split && study.cell.every(axis => one[axis] === row[axis]);
  const scores = (await table("scores")).rows(one => isHere(one));
  const classes = (await table("classes")).rows(one => isHere(one));
  const metrics = study.metrics.filter(metric => row[metric] !== null && row[metric] !== undefined);
  const classRows = [...new Set(classes.map(one => one.class))].map(one => {
    const some = classes.filter(other => other.class === one), mean = key => some.reduce((sum, other) => sum + (other[key] ?? 0), 0) / some.length;
    return { class: one, precision: mean("precision"), recall: mean("recall"), f1: mean("f1"), support: mean("support") };
  });
  const matrix = confusion(all, tested, split), bins = calibration(all, tested, split);
  const repeats = scores.map(one => ({ ...one, label: `repeat ${one.repeat}${one.draw ? `, draw ${one.draw}` : ""}` }));
  const ordinal = field => ({ field, type: "nominal", sort: tested.classes, title: field === "label" ? "label" : "predicted", axis: { labelAngle: field === "label" ? 0 : -30 } });
  const few = tested.classes.length <= 20;
  return [
    h("h1", {}, name),
    h("p", {}, `${row.control ? "Control: a model of re-drawn weights. " : ""}${row.frozen ? `Control: an SAE of random directions (${row.frozen} frozen). ` : ""}${row.examples} test examples, ${row.training_examples} training examples, ${row.n_features} features of which a matrix entry is not zero in ${share(row.density)}; C ${row.C.join(" or ")}${row.C_at_edge ? " (at the edge of its grid)" : ""}; ${row.repeats} repeats${row.draws > 1 ? `, ${row.draws} draws` : ""}.`),
    h("dl", {}, study.cell.map(axis => [axis, axis === "features" ? row.contestant : row[axis]])
      .filter(([, value]) => value !== null).map(([axis, value]) => [h("dt", { title: study.meanings[axis] }, axis), h("dd", {}, String(value))])),
    h("div", { class: "pickers" },
      splits.length > 1 ? picker("test split", splits, split, value => change({ split: value })) : null,
      link(address("examples", [row.data], { cell: name, only: "wrong" }), "examples it gets wrong"),
      link(address("compare", [], { left: name }), "compare with another cell"),
      link(address("grid", [], { data: row.data, features: row.contestant }), "in the grid")),
    section("Scores", plainTable(metrics.map(metric => ({ metric, value: row[metric], value_low: row[`${metric}_low`] ?? null, value_high: row[`${metric}_high`] ?? null })),
      [{ name: "metric", shown: one => h("span", { title: study.meanings[one.metric] }, one.metric.replaceAll("_", " ")) }, { name: "value", interval: "value" }])),
    h("div", { class: "columns" },
      section("Repeats", note("Intervals of each repeat count its own test examples alone."), chart("repeats", "Macro F1 of each repeat (and draw).", intervals(repeats, "macro_f1", { title: "macro F1" }), repeats, [{ name: "label" }, { name: "macro_f1", interval: "macro_f1" }, { name: "C" }, { name: "cv_macro_f1" }, { name: "converged" }])),
      section("Confusion", chart("confusion", "Share of each label's test examples that got each prediction; all repeats and draws together.", heat(ordinal("predicted"), ordinal("label"), "share", {
        title: "share", shown: few ? "shown" : null, tooltip: ["label", "predicted", "count", "shown"].map(field => ({ field })), middle: 0.5, scale: { domain: [0, 1] }, step: few ? [70, 40] : [14, 14],
      }), matrix, [{ name: "label" }, { name: "predicted" }, { name: "count" }, { name: "share" }])),
      section("Calibration", chart("calibration", `Share of right answers by how sure the probe is, in ${bins.length} bins of equally many; on the dashed line it is as right as it is sure. ECE ${score(row.ece)} ${interval(row, "ece")}.`, {
        width: 240, height: 240, encoding: { x: { field: "confidence", type: "quantitative", title: "probability of the predicted class", scale: { domain: [0, 1] } }, y: { field: "right", type: "quantitative", title: "share of right answers", scale: { domain: [0, 1] } } },
        layer: [{ mark: { type: "rule", strokeDash: [4, 4] }, encoding: { x: { datum: 0 }, y: { datum: 0 }, x2: { datum: 1 }, y2: { datum: 1 } } }, { mark: { type: "line", point: { size: 50 } }, encoding: { tooltip: ["confidence", "right", "answers"].map(field => ({ field })) } }],
      }, bins, [{ name: "confidence" }, { name: "right" }, { name: "answers" }])),
      section("Classes", note("Means over repeats and draws."), plainTable(classRows, ["class", "precision", "recall", "f1", "support"].map(one => ({ name: one, about: study.meanings[one] }))))),
    await latentsOf(study, name, row),
  ];
}
