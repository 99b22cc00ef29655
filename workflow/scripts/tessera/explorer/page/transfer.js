// Probes on other data sets and models: matrices of source × target, curves over shares of the target, crossings, matches.

import { address, change } from "tessera/address.js";
import { chart } from "tessera/charts.js";
import { frame, has, table } from "tessera/data.js";
import { h, link, note, picker, section } from "tessera/dom.js";
import { interval, score } from "tessera/numbers.js";
import { columnsOf, plainTable, sortable } from "tessera/tables.js";

const spelled = value => String(value).replaceAll("_", " ");

function matrix(scenario, rows) {
  const shown = rows.map(row => ({ ...row, shown: score(row.macro_f1), interval: interval(row, "macro_f1") }));
  const middle = (Math.min(...rows.map(row => row.macro_f1)) + Math.max(...rows.map(row => row.macro_f1))) / 2;
  return chart(`matrix-${scenario}`, "Macro F1 on the target's test split (columns) of the probe trained on the source (rows), at the cell best on the source.", {
    width: { step: 90 }, height: { step: 34 },
    encoding: { x: { field: "target", type: "nominal", axis: { orient: "top", labelAngle: 0 } }, y: { field: "source", type: "nominal" }, tooltip: ["source", "target", "shown", "interval", "examples"].map(field => ({ field })) },
    layer: [{ mark: "rect", encoding: { color: { field: "macro_f1", type: "quantitative", scale: { scheme: "cividis" }, title: "macro F1" } } },
      { mark: "text", encoding: { text: { field: "shown" }, color: { condition: { test: `datum.macro_f1 < ${middle}`, value: "white" }, value: "black" } } }],
  }, shown, [{ name: "source" }, { name: "target" }, { name: "macro_f1", interval: "macro_f1" }, { name: "examples" }]);
}

function curves(scenario, rows, colours) {
  const named = rows.map(row => ({ ...row, curve: `${row.features}${row.control ? " (control)" : ""}: ${spelled(row.condition)}` }));
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
  const here = all.filter(row => row.scenario === scenario), kinds = [...new Set(here.map(row => row.features))], kind = kinds.includes(query.features) ? query.features : kinds[0];
  const conditions = [...new Set(here.map(row => row.condition))], condition = conditions.includes(query.condition) ? query.condition : conditions[0];
  const models = [...new Set(here.filter(row => row.features === kind).map(row => row.model ?? ""))], model = models.includes(query.model) ? query.model : models[0];
  const of = here.filter(row => row.features === kind && (row.model ?? "") === model), whole = of.filter(row => row.condition === condition);
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

async function matches(study, query) {
  if (!study.matches.length) return [];
  const match = study.matches.includes(query.match) ? query.match : study.matches[0];
  const [pairs, about, best] = await Promise.all([frame(`match/${match}`, "pairs"), table("matches"), table("match_best")]);
  const rows = pairs.rows(row => query.latent === undefined || [row.latent_a, row.latent_b].some(one => String(one) === query.latent));
  const places = [...new Set(study.places.map(place => place.split("/").slice(0, 3).join("/")))];
  const side = (row, which) => {
    const named = row[which === "a" ? "source" : "target"], id = row[`latent_${which}`];
    const place = study.places.find(one => has(`latent/${one}/${id}`) && places.some(begin => one.startsWith(begin)) && String(named).split("/")[0] === one.split("/")[0]);
    return place ? link(address("latent", [...place.split("/"), String(id)]), String(id)) : String(id);
  };
  const columns = columnsOf(pairs, study.meanings).map(one => (one.name === "latent_a" ? { ...one, shown: row => side(row, "a") } : one.name === "latent_b" ? { ...one, shown: row => side(row, "b") } : one));
  return [section("Matched SAEs", h("div", { class: "pickers" }, picker("match", study.matches, match, value => change({ match: value }))),
    plainTable(about.rows(row => row.match === match), columnsOf(about, study.meanings)),
    h("h3", {}, "Probes carried across"), plainTable(best.rows(row => row.match === match && row.split === "test"), columnsOf(best, study.meanings).filter(one => ["source", "target", "data", "features", "condition", "pooling", "threshold", "macro_f1", "roc_auc", "draws", "examples"].includes(one.name))),
    h("h3", {}, "Latents and their partners"), note("Those of the highest correlation; matched_latents.parquet has all.", query.latent === undefined ? "" : [` Of latent ${query.latent} alone. `, h("button", { onclick: () => change({ latent: undefined }) }, "all")]),
    sortable(`match-${match}`, rows, columns, { sort: query.sort, down: Boolean(query.down), words: query.words }, change))];
}

export async function transfer(study, parts, query) {
  return [h("h1", {}, "Transfer"), note("Is what a probe learnt true elsewhere: in another data set, language, model or modality?"), ...(await scenarios(study, query)), ...(await matches(study, query))];
}
