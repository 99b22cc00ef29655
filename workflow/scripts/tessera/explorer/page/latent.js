// The latents of a place of evidence, and one of them: what it fires on, writes, adds, and what the model is without it.

import { address, change } from "tessera/address.js";
import { chart, intervals } from "tessera/charts.js";
import { has, piece } from "tessera/data.js";
import { h, link, note, picker, section, verdict } from "tessera/dom.js";
import { interval, number, score, share, signed } from "tessera/numbers.js";
import { plainTable, sortable } from "tessera/tables.js";
import { shownExample } from "tessera/text.js";

const STRATA = { 1: "highest quarter", 2: "third quarter", 3: "second quarter", 4: "lowest quarter" };
const ALL = "all";

export function placePicker(study, place, view) {
  return picker("place", study.places, place, value => (location.hash = address(view, value.split("/"))));
}

// Latents as they are shown, each once for a class: one that is asked for may be among the best as well.
const once = shown => shown.filter((row, spot) => shown.findIndex(one => one.class === row.class && one.latent === row.latent) === spot);

const nameOf = row => row.explanation ?? row.fires_on ?? "";

export async function latents(study, parts, query) {
  if (!study.places.length) throw new Error("this study has no evidence (config key evidence.places)");
  const place = study.places.includes(parts.join("/")) ? parts.join("/") : study.places[0];
  const { frames } = await piece(`place/${place}`);
  const shown = once(frames.shown.rows()), names = new Map(shown.map(row => [row.latent, nameOf(row)]));
  const classes = [...new Set(frames.latents.column("class"))], chosen = classes.includes(query.class) ? query.class : ALL;
  const rows = frames.latents.rows(row => chosen === ALL || row.class === chosen).map(row => ({ ...row, name: names.get(row.latent) ?? "" }));
  const to = row => address("latent", [...place.split("/"), String(row.latent)]);
  const columns = [
    { name: "latent", shown: row => (has(`latent/${place}/${row.latent}`) ? link(to(row), String(row.latent)) : String(row.latent)) },
    { name: "name", title: "fires on", shown: row => h("span", { class: "one" }, row.name) },
    ...["class", "contribution_gap", "contribution", "firing_texts", "firing_texts_others", "roc_auc", "weight", "rank_contribution_gap", "rank_roc_auc"]
      .map(name => ({ name, about: study.meanings[name], interval: name === "roc_auc" ? name : null })),
  ];
  const bars = shown.filter(row => chosen === ALL || row.class === chosen).map(row => ({ ...row, label: `${row.class} · ${row.latent}`, address: to(row) }));
  return [
    h("h1", {}, `Latents of ${place}`),
    h("div", { class: "pickers" }, placePicker(study, place, "latents"), picker("class", [ALL, ...classes], chosen, value => change({ class: value === ALL ? undefined : value }))),
    section("Those that tell the classes best", note("In the order of training texts; gap and separation are of test texts. Of two classes, what adds to one takes from the other. Click a bar to read the latent."),
      chart("contributions", "Contribution gap: what a latent adds to the decision on texts of the class, less what it adds on all others.", {
        width: 420, height: { step: 22 },
        mark: { type: "bar", cursor: "pointer" },
        encoding: { y: { field: "label", type: "nominal", sort: null, title: "class · latent", axis: { labelLimit: 300 } }, x: { field: "contribution_gap", type: "quantitative", title: "contribution gap" }, tooltip: ["label", "contribution_gap", "firing_texts", "firing_texts_others"].map(field => ({ field })) },
      }, bars, [{ name: "latent", shown: row => link(to(row), String(row.latent)) }, { name: "class" }, { name: "fires_on", title: "fires on", shown: row => h("span", { class: "one" }, nameOf(row)) }, { name: "contribution_gap" }, { name: "separation", interval: "separation", about: study.meanings.separation }, { name: "neutral_rate", about: study.meanings.neutral_rate }], { open: true })),
    ...sufficiencyOf(study, place, frames.sufficiency), ...stabilityOf(study, frames.stability),
    section("All that are listed", note(`Of each class the ${study.likely} that tell it best; latents.parquet has all.`),
      sortable(`latents-${place.replaceAll("/", "-")}`, rows, columns, { sort: query.sort ?? "rank_contribution_gap", down: Boolean(query.down), words: query.words }, change)),
  ];
}

function sufficiencyOf(study, place, sufficiency) {
  if (!sufficiency?.length) return [];
  const rows = sufficiency.rows(row => row.k !== null), all = sufficiency.rows(row => row.k === null)[0];
  const by = { field: "ranking", type: "nominal", title: "ranked by", scale: { range: study.colours } };
  const every = [...new Set(rows.map(row => row.k))].sort((one, other) => one - other);
  return [section("How few suffice?", claimsOn(study, place), chart("sufficiency", `Macro F1 on the test split of the probe on k latents alone, and without them; dashed: on all${all ? ` (${score(all.macro_f1)})` : ""}. 95 % intervals.`, {
    facet: { field: "measure", type: "nominal", title: null, sort: null }, columns: 3,
    spec: {
      width: 300, height: 220,
      encoding: {
        x: { field: "k", type: "quantitative", scale: { type: "log", base: 2 }, title: "k latents", axis: { values: every } },
      },
      layer: [
        ...(all ? [{ mark: { type: "rule", strokeDash: [4, 4] }, encoding: { x: { value: 0 }, x2: { value: "width" }, y: { datum: all.macro_f1 }, color: { value: "gray" } } }] : []),
        { mark: { type: "rule", opacity: 0.5 }, encoding: { color: by, y: { field: "macro_f1_low", type: "quantitative", title: "macro F1", scale: { zero: false } }, y2: { field: "macro_f1_high" } } },
        { mark: { type: "line", point: { filled: true, size: 45 } }, encoding: { color: by, shape: { ...by, scale: {} }, y: { field: "macro_f1", type: "quantitative" }, tooltip: ["measure", "ranking", "k", "macro_f1", "macro_f1_low", "macro_f1_high"].map(field => ({ field })) } },
      ],
    },
  }, rows, [{ name: "measure" }, { name: "ranking" }, { name: "k" }, { name: "macro_f1", interval: "macro_f1" }]))];
}

// What the claims of the study say of a place.
function claimsOn(study, place) {
  const on = `${place.split("/").slice(0, 3).join("/")}: ${place.split("/").at(-1)}`, rows = study.frames.claims.rows(row => row.on === on);
  return rows.length ? h("ul", {}, rows.map(row => h("li", {}, `${row.claim} (${row.left} against ${row.right}, ${row.metric.replaceAll("_", " ")}): `, verdict(row.verdict), ` ${signed(row.difference)} ${interval(row, "difference")}`))) : null;
}

function stabilityOf(study, stability) {
  if (!stability.length) return [];
  return [section("Would other texts, splits or seeds name the same?", plainTable(stability.rows(), stability.names.filter(name => stability.column(name).some(value => value !== null)).map(name => ({ name, about: study.meanings[name] }))))];
}

function histogramOf(histogram) {
  if (!histogram?.length) return [];
  const rows = histogram.rows().map(row => ({ ...row, at: `${number(row.low)} to ${number(row.high)}` }));
  return [section("How strongly it fires", note("On all texts, those of the training split among them."), chart("activations", "Tokens that fire it by activation, per class (the axis of tokens is logarithmic).", {
    width: 210, height: 110, mark: { type: "bar" },
    encoding: { facet: { field: "class", type: "nominal", title: null, columns: 4 }, x: { field: "low", type: "quantitative", bin: { binned: true }, title: "activation" }, x2: { field: "high" }, y: { field: "tokens", type: "quantitative", scale: { type: "symlog" }, title: "tokens" }, tooltip: ["class", "at", "tokens"].map(field => ({ field })) },
  }, rows, [{ name: "class" }, { name: "low" }, { name: "high" }, { name: "tokens" }]))];
}

// The texts of a latent: a function that shows one, and their rows.
function contextsIn(frames, place, whole) {
  const data = place.split("/").at(-1), rows = frames.contexts.rows();
  const images = new Map(frames.images ? frames.images.rows().map(row => [row.example, row.image]) : []);
  const largest = Math.max(0, ...rows.flatMap(row => (row.activation ?? []).map(Math.abs)));
  const one = row => h("div", { class: row.stratum === null ? "context silent" : "context" },
    h("small", {}, `${row.stratum === null ? `silent, similarity ${score(row.similarity)}` : `up to ${number(Math.max(...row.activation))}`} · ${row.label} · ${row.split} · `,
      row.split === "train" ? String(row.id) : link(address("example", [data, String(row.example)], { place }), String(row.id))),
    shownExample({ text: row.text, image: images.get(row.example) }, row, row.activation, largest, whole));
  return { one, rows };
}

function contextsOf(frames, place, query) {
  const { one, rows } = contextsIn(frames, place, query.whole === "1");
  const labels = [...new Set(rows.map(row => row.label))], label = labels.includes(query.label) ? query.label : ALL;
  const strata = [1, 2, 3, 4, null].map(stratum => [stratum, rows.filter(row => row.stratum === stratum && (label === ALL || row.label === label))]).filter(([, some]) => some.length);
  return section("Where it fires", note("Texts from the whole range of its activations: the stronger, the darker; at the end, texts that are alike and on which it is silent. Near-duplicates are shown once."),
    h("div", { class: "pickers" }, picker("label", [ALL, ...labels], label, value => change({ label: value === ALL ? undefined : value })),
      h("button", { id: "whole", "aria-pressed": String(query.whole === "1"), onclick: () => change({ whole: query.whole === "1" ? undefined : "1" }) }, "whole texts")),
    strata.map(([stratum, some]) => [h("h3", {}, stratum === null ? "like them, and silent" : `${STRATA[stratum]} of its range`), some.map(one)]));
}

// A latent in short, to stand beside another: its name and the texts that fire it most.
export async function short(place, id, most = 6) {
  const [{ frames }, at] = await Promise.all([piece(`latent/${place}/${id}`), piece(`place/${place}`)]);
  const { one, rows } = contextsIn(frames, place, false), first = at.frames.shown.rows(row => row.latent === id)[0];
  return h("div", {}, h("h3", {}, link(address("latent", [...place.split("/"), String(id)]), `${place}: latent ${id}`)), h("p", { class: "tokens", dir: "auto" }, nameOf(first)),
    rows.filter(row => row.stratum !== null).slice(0, most).map(one));
}

function ablationsOf(study, ablations, query) {
  if (!ablations?.length) return [];
  const every = ablations.rows(), values = name => [...new Set(every.map(row => row[name] ?? ALL))];
  const chosen = { metric: "macro_f1", states: "whole", of: ALL };
  for (const name of Object.keys(chosen)) if (values(name).includes(query[name])) chosen[name] = query[name];
  const rows = every.filter(row => Object.entries(chosen).every(([name, value]) => (row[name] ?? ALL) === value));
  const named = rows.map(row => ({ ...row, label: [row.kind, ...(row.class === null ? [] : [row.class]), `layer ${row.at_layer}`].join(" · ") }));
  return [section("The model without latents of this place", note("What a probe of a later layer loses where they are taken out of the residual stream: the k that tell most (probe), those of each class, beside controls. computed: beside the directions taken out, where no mere copy of them is."),
    h("div", { class: "pickers" }, Object.keys(chosen).map(name => picker(name === "of" ? "of class" : name, values(name), chosen[name], value => change({ [name]: value }), one => one.replaceAll("_", " ")))),
    chart("ablations", "Drop of the score where latents are taken out: right of the dashed line is a loss. 95 % intervals.", intervals(named, "drop", { title: `drop of ${chosen.metric.replaceAll("_", " ")}`, zero: true, extra: ["before", "after"] }), named,
      [...["kind", "class", "latents", "at_layer", "before", "after"].map(name => ({ name, about: study.meanings[name] })), { name: "drop", interval: "drop" }]))];
}

export async function latent(study, parts, query) {
  const place = parts.slice(0, -1).join("/"), id = Number(parts.at(-1));
  if (!has(`latent/${place}/${id}`)) throw new Error(`latent ${id} of ${place} is not among those shown (config key evidence.ids asks for it)`);
  const [{ frames }, at] = await Promise.all([piece(`latent/${place}/${id}`), piece(`place/${place}`)]);
  const shown = once(at.frames.shown.rows(row => row.latent === id)), rates = at.frames.latents.rows(row => row.latent === id);
  const first = shown[0] ?? {};
  const others = [...new Set(at.frames.shown.column("latent"))], turn = others.indexOf(id);
  const beside = step => others[(turn + step + others.length) % others.length];
  const to = one => address("latent", [...place.split("/"), String(one)]);
  const sae = place.split("/").slice(0, 3).join("/"), match = study.matches.find(one => study.sides[one].includes(sae));
  const matched = match ? link(address("transfer", [], { match, of: sae, latent: String(id) }), "its partners in a matched SAE") : null;
  return [
    h("h1", {}, `Latent ${id}`, nameOf(first) ? [": ", h("span", { class: "tokens", dir: "auto" }, nameOf(first))] : null),
    h("p", {}, link(address("latents", place.split("/")), place), " · ", others.length > 1 ? [link(to(beside(-1)), "previous"), " · ", link(to(beside(1)), "next")] : null, matched ? [" · ", matched] : null),
    h("dl", {},
      [["fires on", first.fires_on], ["explanation", first.explanation], ["makes likelier", first.promoted], ["makes less likely", first.suppressed]]
        .filter(([, said]) => said).map(([name, said]) => [h("dt", {}, name), h("dd", { class: "tokens" }, said)]),
      h("dt", {}, "on neutral texts"), h("dd", {}, first.neutral_rate === null || first.neutral_rate === undefined ? "not measured" : `fires on ${share(first.neutral_rate)} of tokens${first.unspecific ? ": unspecific" : ""}`),
      shown.map(row => [h("dt", {}, `tells ${row.class}`), h("dd", {}, `separation ${signed(row.separation)} ${interval(row, "separation")} on ${row.separation_texts} held-out texts (interval corrected for all latents shown)`)]),
      first.neuronpedia ? [h("dt", {}, "elsewhere"), h("dd", {}, h("a", { href: first.neuronpedia, rel: "noreferrer" }, "its page at Neuronpedia"))] : []),
    section("Per class", note("On test texts."), plainTable(rates, ["class", "firing_texts", "firing_texts_others", "firing_tokens", "mean_activation", "largest_activation", "roc_auc", "weight", "contribution", "contribution_gap", "rank_contribution_gap"]
        .map(name => ({ name, about: study.meanings[name], interval: name === "roc_auc" ? name : null })))),
    ...histogramOf(frames.histogram),
    contextsOf(frames, place, query),
    ...ablationsOf(study, at.frames.ablations, query),
  ];
}
