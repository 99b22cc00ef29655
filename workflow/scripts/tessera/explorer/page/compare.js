// Two cells side by side: the difference with its interval, a test of each repeat, and the examples on which they differ.

import { address, change } from "tessera/address.js";
import { frame, has } from "tessera/data.js";
import { h, link, note, picker, section } from "tessera/dom.js";
import { contrast, mcnemar, score, signed } from "tessera/numbers.js";
import { rowOf } from "tessera/cell.js";
import { fits, scored, tests } from "tessera/said.js";
import { plainTable, sortable } from "tessera/tables.js";

// Of each repeat: how often one side alone is right (groups of examples; draws by their first), and where they differ.
function differing(left, right, tested, split) {
  const repeats = [], examples = [];
  for (const one of left.filter(fit => fit.split === split && fit.draw === 0)) {
    const other = right.find(fit => fit.split === split && fit.draw === 0 && fit.repeat === one.repeat);
    const { places } = tested.parts.find(part => part.repeat === one.repeat && part.split === split), gains = new Map();
    places.forEach((place, number) => {
      const label = tested.label[place], gain = (one.predicted[number] === label) - (other.predicted[number] === label);
      gains.set(tested.group[place], (gains.get(tested.group[place]) ?? 0) + gain);
      if (one.predicted[number] !== other.predicted[number])
        examples.push({ example: tested.all.column("example")[place], id: tested.all.column("id")[place], repeat: one.repeat, label: tested.classes[label], left: tested.classes[one.predicted[number]], right: tested.classes[other.predicted[number]],
          left_confidence: one.confidence[number], right_confidence: other.confidence[number] });
    });
    const counts = [...gains.values()], lefts = counts.filter(gain => gain > 0).length, rights = counts.filter(gain => gain < 0).length;
    repeats.push({ repeat: one.repeat, left: one.macro_f1, right: other.macro_f1, difference: one.macro_f1 - other.macro_f1, left_alone: lefts, right_alone: rights, p: counts.some(gain => Math.abs(gain) > 1) ? null : mcnemar(lefts, rights) });
  }
  return { repeats, examples };
}

export async function compare(study, parts, query) {
  const cells = (await frame("grid", "cells")).rows(row => row.split === "test");
  const known = name => has(`cell/${name}`);
  const data = known(query.left) ? cells.find(row => row.name === query.left).data : study.frames.best.column("data")[0];
  const names = cells.filter(row => row.data === data).sort((one, other) => other.cv_macro_f1 - one.cv_macro_f1).map(row => row.name);
  const best = study.frames.best.rows(row => row.data === data && row.split === "test").map(row => row.name);
  for (const name of [query.left, query.right].filter(one => one !== undefined)) if (!known(name)) throw new Error(`there is no cell ${name}`);
  if (query.right !== undefined && !names.includes(query.right)) throw new Error(`${query.right} is of another data set than ${data}; cells of one can be compared`);
  if (query.left !== undefined && query.left === query.right) throw new Error("left and right are the same cell; pick two");
  const left = known(query.left) ? query.left : best[0], right = names.includes(query.right) && query.right !== left ? query.right : best.find(name => name !== left) ?? names.find(name => name !== left);
  if (!right) throw new Error("there is one cell on this data set, nothing to compare it with");
  const pickers = h("div", { class: "pickers" },
    picker("data set", [...new Set(cells.map(row => row.data))], data, value => change({ left: study.frames.best.rows(row => row.data === value && row.split === "test")[0].name, right: undefined, split: undefined })),
    picker("left", names, left, value => change({ left: value, right })), picker("right", names, right, value => change({ left, right: value })));
  const [tested, lefts, rights] = await Promise.all([tests(data), fits(left), fits(right)]);
  const splits = [...new Set(lefts.map(fit => fit.split))], split = splits.includes(query.split) ? query.split : splits[0];
  const [one, other] = await Promise.all([rowOf(left, split), rowOf(right, split)]);
  const sides = [scored(lefts, tested, split), scored(rights, tested, split)];
  const paired = one.draws > 1 && one.draws === other.draws && ["model", "layer", "width"].every(axis => one[axis] === other[axis]);
  const found = contrast(...sides, { paired, overlap: study.overlap, reaches: study.reaches });
  const { repeats, examples } = differing(lefts, rights, tested, split);
  const values = study.metrics.filter(metric => one[metric] !== null && other[metric] !== null && one[metric] !== undefined)
    .map(metric => ({ metric, left: one[metric], left_low: one[`${metric}_low`] ?? null, left_high: one[`${metric}_high`] ?? null, right: other[metric], right_low: other[`${metric}_low`] ?? null, right_high: other[`${metric}_high`] ?? null, difference: one[metric] - other[metric] }));
  const starts = new Map(tested.examples.rows().map(row => [row.example, row.start]));
  const rows = examples.map(row => ({ ...row, text: starts.get(row.example) }));
  return [
    h("h1", {}, "Two cells compared"),
    pickers,
    splits.length > 1 ? h("div", { class: "pickers" }, picker("test split", splits, split, value => change({ split: value }))) : null,
    h("p", {}, "Left: ", link(address("cell", left.split("/")), left), ". Right: ", link(address("cell", right.split("/")), right), "."),
    h("div", { class: "card", id: "difference" },
      h("p", {}, "Macro F1, left minus right: ", h("strong", {}, signed(found.difference)), ` [${score(found.low)}, ${score(found.high)}]: `, h("span", { class: "verdict undecided" }, found.verdict)),
      note(`A 95 % interval that counts test examples, repeats${Math.max(one.draws, other.draws) > 1 ? " and draws" : ""}, as that of a claim does; but not that you chose these two after seeing their scores. The claims of a study are corrected for each other, so their intervals are wider.`)),
    section("Scores", plainTable(values, [{ name: "metric", shown: row => row.metric.replaceAll("_", " ") }, { name: "left", interval: "left" }, { name: "right", interval: "right" }, { name: "difference" }])),
    section("Each repeat", note("Groups of test examples that one side alone gets right, and McNemar's exact test of them (first draws); no p where a group has several examples that differ."),
      plainTable(repeats, ["repeat", "left", "right", "difference", "left_alone", "right_alone", "p"].map(name => ({ name })))),
    section(`Where they differ (${rows.length})`, sortable("differing", rows, [
      { name: "id", shown: row => link(address("example", [data, String(row.example)], { cell: left }), String(row.id)) },
      ...(tested.holds === "text" ? [{ name: "text", shown: row => h("span", { class: "one", dir: "auto" }, row.text ?? "") }] : []),
      ...["repeat", "label", "left", "right", "left_confidence", "right_confidence"].map(name => ({ name }))],
      { sort: query.sort, down: Boolean(query.down), words: query.words }, change)),
  ];
}
