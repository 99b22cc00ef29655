// Probes on other data sets and models: matrices of source × target, curves over shares of the target, crossings, matches.

import { address, change } from "tessera/address.js";
import { chart, heat, intervals, middleOf } from "tessera/charts.js";
import { frame, has, table } from "tessera/data.js";
import { short } from "tessera/latent.js";
import { h, link, note, picker, section, verdict } from "tessera/dom.js";
import { interval, number, score, signed } from "tessera/numbers.js";
import { columnsOf, plainTable, sortable } from "tessera/tables.js";

const spelled = value => String(value).replaceAll("_", " ");
const kindOf = row => (row.frozen ? `${row.features}, frozen: ${row.frozen}` : row.features);

function matrix(scenario, rows) {
  const shown = rows.map(row => ({ ...row, shown: score(row.macro_f1), interval: interval(row, "macro_f1") }));
  return chart(`matrix-${scenario}`, "Macro F1 on the target's test split (columns) of the probe trained on the source (rows), at the cell best on the source.", heat(
    { field: "target", type: "nominal", axis: { orient: "top", labelAngle: 0 } }, { field: "source", type: "nominal" }, "macro_f1",
    { title: "macro F1", shown: "shown", tooltip: ["source", "target", "shown", "interval", "examples"].map(field => ({ field })), middle: middleOf(rows.map(row => row.macro_f1)), step: [90, 34], format: ".3f" },
  ), shown, [{ name: "source" }, { name: "target" }, { name: "macro_f1", interval: "macro_f1" }, { name: "examples" }]);
}

function curves(scenario, rows, colours) {
  const named = rows.map(row => ({ ...row, curve: `${kindOf(row)}${row.control ? " (control)" : ""}: ${spelled(row.condition)}` }));
  return chart(`curves-${scenario}`, "Macro F1 on the target over shares of its training split, transferred and native.", {
    facet: { field: "target", type: "nominal", title: null }, columns: 3,
    spec: { width: 240, height: 180, encoding: { x: { field: "fraction", type: "quantitative", title: "share of the training split" }, color: { field: "curve", type: "nominal", title: null, scale: { range: colours } }, strokeDash: { field: "curve", type: "nominal", title: null } },
      layer: [{ mark: { type: "rule", opacity: 0.5 }, encoding: { y: { field: "macro_f1_low", type: "quantitative", title: "macro F1", scale: { zero: false } }, y2: { field: "macro_f1_high" } } },
        { mark: { type: "line", point: true }, encoding: { y: { field: "macro_f1", type: "quantitative" }, tooltip: ["source", "curve", "fraction", "macro_f1", "macro_f1_low", "macro_f1_high"].map(field => ({ field })) } }] },
  }, named, [{ name: "source" }, { name: "target" }, { name: "condition" }, { name: "features" }, { name: "fraction" }, { name: "macro_f1", interval: "macro_f1" }]);
}

async function scenarios(study, query) {
  if (!study.scenarios.length) return [];
  const all = (await table("transfer_best")).rows(), scenario = study.scenarios.includes(query.scenario) ? query.scenario : study.scenarios[0];
  const here = all.filter(row => row.scenario === scenario), kinds = study.kinds.flatMap(name => [...new Set(here.filter(row => row.features === name).map(kindOf))]), kind = kinds.includes(query.features) ? query.features : kinds[0];
  const conditions = [...new Set(here.map(row => row.condition))], condition = conditions.includes(query.condition) ? query.condition : conditions[0];
  const models = [...new Set(here.filter(row => kindOf(row) === kind).map(row => row.model ?? ""))], model = models.includes(query.model) ? query.model : models[0];
  const of = here.filter(row => kindOf(row) === kind && (row.model ?? "") === model), whole = of.filter(row => row.condition === condition);
  const most = Math.max(...whole.map(row => row.fraction ?? 0)), full = whole.filter(row => (row.fraction ?? 0) === most);
  const sources = [...new Set(of.map(row => row.source))], source = sources.includes(query.source) ? query.source : sources[0];
  const crossings = await table("crossings");
  return [
    h("div", { class: "pickers" },
      picker("scenario", study.scenarios, scenario, value => change({ scenario: value })), picker("features", kinds, kind, value => change({ features: value })),
      models.length > 1 ? picker("model", models, model, value => change({ model: value })) : null,
      picker("condition", conditions, condition, value => change({ condition: value }), spelled)),
    section(`Source × target: ${spelled(condition)}`, matrix(scenario, full)),
    sources.length ? section("How much does the target's own data add?", h("div", { class: "pickers" }, picker("source", sources, source, value => change({ source: value }))), curves(scenario, here.filter(row => row.source === source || row.source === row.target || row.condition === "native"), study.colours)) : null,
    section("Crossings: how many native examples a transferred probe is worth", plainTable(crossings.rows(row => row.scenario === scenario), columnsOf(crossings, study.meanings).filter(one => one.name !== "scenario"))),
  ];
}

// The place of evidence at which a latent of a matched SAE (model/layer/width) can be read, if any.
const readAt = (study, sae, id) => study.places.find(place => place.startsWith(`${sae}/`) && has(`latent/${place}/${id}`));

async function matches(study, query) {
  if (!study.matches.length) return [];
  const match = study.matches.includes(query.match) ? query.match : study.matches[0];
  const [pairs, about, best] = await Promise.all([frame(`match/${match}`, "pairs"), table("matches"), table("match_best")]);
  const every = best.rows(row => row.match === match && row.split === "test");
  const directions = [...new Set(every.map(row => `${row.source} → ${row.target}`))], direction = directions.includes(query.direction) ? query.direction : directions.find(one => one.startsWith(`${query.of} →`)) ?? directions[0];
  const sets = [...new Set(every.map(row => row.data))], data = sets.includes(query.data) ? query.data : sets[0];
  const carried = every.filter(row => `${row.source} → ${row.target}` === direction && row.data === data)
    .map(row => ({ ...row, label: [`${row.features}: ${spelled(row.condition)}`, ...(row.over === null ? [] : [`over ${row.over}`])].join(", ") }));
  const of = study.sides[match], end = sae => (sae === of[0] ? "latent_a" : "latent_b"); // a and b are the sides of the match, whichever is the source
  const read = (row, which) => readAt(study, of["ab".indexOf(which)], row[`latent_${which}`]);
  const wanted = query.latent, rows = pairs.rows(row => `${row.source} → ${row.target}` === direction && (wanted === undefined || String(row[end(query.of)]) === wanted))
    .map(row => ({ ...row, both: read(row, "a") && read(row, "b") ? 1 : 0 }));
  const side = which => ({ title: `latent of ${of["ab".indexOf(which)]}`, shown: row => (read(row, which) ? link(address("latent", [...read(row, which).split("/"), String(row[`latent_${which}`])]), String(row[`latent_${which}`])) : String(row[`latent_${which}`])) });
  const both = { name: "both", title: "side by side", about: "can both be read here?", shown: row => (row.both ? h("button", { onclick: () => change({ a: row.latent_a, b: row.latent_b }) }, "show") : "") };
  const columns = [...columnsOf(pairs, study.meanings).map(one => (/^latent_[ab]$/.test(one.name) ? { ...one, ...side(one.name.at(-1)) } : one)), both];
  const places = [readAt(study, of[0], query.a), readAt(study, of[1], query.b)], least = Math.min(...pairs.column("correlation").map(Math.abs));
  const beside = places.every(place => place) ? h("div", { class: "columns", id: "pair", "data-asked": `${query.a} ${query.b}` }, await Promise.all([short(places[0], Number(query.a)), short(places[1], Number(query.b))])) : null;
  const says = study.frames.claims.rows(row => row.on === `${match}: ${data}, ${direction}`), held = (await table("match_claims")).rows(row => row.match === match && row.data === data && `${row.source} → ${row.target}` === direction);
  return [section("Matched SAEs",
    h("div", { class: "pickers" }, picker("match", study.matches, match, value => change({ match: value, direction: undefined, a: undefined, b: undefined })),
      picker("direction", directions, direction, value => change({ direction: value, a: undefined, b: undefined })), picker("data set", sets, data, value => change({ data: value }))),
    h("h3", {}, "Do latents transfer?"),
    h("ul", {}, says.map(row => h("li", {}, `${row.claim}, against ${row.right}: `, verdict(row.verdict), ` ${signed(row.difference)} ${interval(row, "difference")} in ${spelled(row.metric)}`))),
    note("The verdict is of the hardest control, in the metric that is least for the match. Each by itself, 95 % intervals:"),
    plainTable(held, [{ name: "pairing" }, { name: "against" }, { name: "metric" }, { name: "difference", interval: "difference" }, { name: "draws" }, { name: "examples" }].map(one => ({ ...one, about: study.meanings[one.name] }))),
    h("h3", {}, "Probes carried across"),
    chart(`carried-${match}`, `Macro F1 on the target's test examples of ${data} of probes carried ${direction}, at the cell best on the source; source: on its own SAE, random and directions: controls, ridge: hidden states mapped.`,
      intervals(carried, "macro_f1", { title: "macro F1", extra: ["roc_auc", "draws"] }), carried, [{ name: "label", title: "probe" }, { name: "pooling" }, { name: "threshold" }, { name: "macro_f1", interval: "macro_f1" }, { name: "roc_auc", interval: "roc_auc" }, { name: "draws" }, { name: "examples" }]),
    h("h3", {}, "How well latents match"), plainTable(about.rows(row => row.match === match && `${row.source} → ${row.target}` === direction), columnsOf(about, study.meanings).filter(one => !["match", "source", "target"].includes(one.name))),
    h("h3", {}, "Latents and their partners"), note(`Those of a correlation of ${number(least)} or more; matched_latents.parquet has all. Where there is evidence of both, they can be read side by side.`, wanted === undefined ? "" : [` Of latent ${wanted} of ${query.of} alone. `, h("button", { onclick: () => change({ latent: undefined, of: undefined }) }, "all")]),
    beside,
    sortable(`match-${match}`, rows, columns.filter(one => !["match", "source", "target"].includes(one.name)), { sort: query.sort ?? "both", down: query.sort ? Boolean(query.down) : true, words: query.words }, change))];
}

export async function transfer(study, parts, query) {
  return [h("h1", {}, "Transfer"), note("Is what a probe learnt true elsewhere: in another data set, language, model or modality?"), ...(await scenarios(study, query)), ...(await matches(study, query))];
}
