// Test examples: a list to choose from, and one of them with the decision as a sum of contributions.

import { address, change } from "tessera/address.js";
import { has, piece } from "tessera/data.js";
import { h, link, note, picker, section } from "tessera/dom.js";
import { number, score, share } from "tessera/numbers.js";
import { fits, tests } from "tessera/said.js";
import { plainTable, sortable } from "tessera/tables.js";
import { shownExample } from "tessera/text.js";

const REST = "all other latents", INTERCEPT = "intercept";

// What a cell said of each test example: example → [{predicted, confidence}], one for each repeat and draw that tests it.
async function answersOf(name, tested, only) {
  const found = new Map(), example = tested.all.column("example");
  for (const fit of await fits(name)) {
    const { places } = tested.parts.find(part => part.repeat === fit.repeat && part.split === fit.split);
    places.forEach((place, number) => {
      const one = example[place];
      if (only !== undefined && one !== only) return;
      if (!found.has(one)) found.set(one, []);
      found.get(one).push({ predicted: tested.classes[fit.predicted[number]], confidence: fit.confidence[number] });
    });
  }
  return found;
}

export async function examples(study, parts, query) {
  const names = study.datasets, data = names.includes(parts[0]) ? parts[0] : names[0];
  const tested = await tests(data), name = query.cell && has(`cell/${query.cell}`) ? query.cell : study.frames.best.rows(row => row.data === data && row.split === "test")[0].name;
  const answers = await answersOf(name, tested);
  const only = ["wrong", "right"].includes(query.only) ? query.only : "all";
  const rows = tested.examples.rows().map(row => {
    const told = answers.get(row.example) ?? [], right = told.filter(one => one.predicted === row.label).length;
    return { ...row, right: told.length ? right / told.length : null, predicted: [...new Set(told.map(one => one.predicted))].join(" or "), confidence: told.length ? told.reduce((sum, one) => sum + one.confidence, 0) / told.length : null };
  }).filter(row => only === "all" || (row.right !== null && (only === "wrong" ? row.right < 1 : row.right === 1)));
  const columns = [
    { name: "id", shown: row => link(address("example", [data, String(row.example)], { cell: query.cell, only: query.only }), String(row.id)) },
    ...(tested.holds === "text" ? [{ name: "start", title: "text", shown: row => h("span", { class: "one", dir: "auto" }, row.start) }] : []),
    { name: "label" }, { name: "split" }, { name: "predicted" },
    { name: "right", title: "right in repeats", shown: row => (row.right === null ? "" : share(row.right)) }, { name: "confidence" },
  ];
  return [
    h("h1", {}, `Test examples of ${data}`),
    h("p", {}, "As ", link(address("cell", name.split("/")), name), " answers them."),
    h("div", { class: "pickers" }, picker("data set", names, data, value => (location.hash = address("examples", [value]))), picker("show", ["all", "wrong", "right"], only, value => change({ only: value === "all" ? undefined : value }))),
    sortable(`examples-${data}`, rows, columns, { sort: query.sort, down: Boolean(query.down), words: query.words }, change),
  ];
}

// several: are there more classes than two, of which one is the other negated?
async function decisionOf(place, example, shown, best, { block: size, classes }, query) {
  const several = classes.length > 2;
  const at = (await piece(`place/${place}`)).frames, spot = Array.from(at.decided.column("example")).indexOf(example);
  if (spot < 0) return null;
  const { frames } = await piece(`decisions/${place}/${Math.floor(spot / size)}`);
  const told = frames.decisions.rows(row => row.example === example), latents = frames.latents.rows(row => row.example === example);
  const first = told.find(row => row.class === row.predicted), other = several && told.find(row => row.class !== row.predicted);
  const of = ["pooling", "threshold", "selection"].map(name => at.latents.column(name)[0]), cell = ["sae", place, ...of, "logistic"].join("/");
  const named = new Map(at.shown.rows().map(row => [row.latent, row.explanation ?? row.fires_on ?? ""]));
  const chosen = latents.find(row => String(row.latent) === query.latent) ?? latents[0];
  const rows = [...latents.map(row => ({ ...row, what: row.latent, name: named.get(row.latent) ?? "", current: row === chosen })),
    { what: REST, contribution: first.others, label_contribution: other?.others }, { what: INTERCEPT, contribution: first.intercept, label_contribution: other?.intercept }];
  const largest = Math.max(...rows.map(row => Math.abs(row.contribution)));
  const bar = value => h("span", { class: value < 0 ? "bar against" : "bar", style: `width: ${(8 * Math.abs(value)) / (largest || 1)}em` });
  const link_to = row => (has(`latent/${place}/${row.latent}`) ? link(address("latent", [...place.split("/"), String(row.latent)]), String(row.latent)) : String(row.latent));
  const columns = [
    { name: "what", title: "latent", shown: row => (row.latent === undefined ? row.what : link_to(row)) },
    { name: "name", title: "fires on", shown: row => h("span", { class: "one" }, row.name ?? "") },
    { name: "value", about: "what the probe sees of it" },
    { name: "contribution", title: `adds to ${first.class}`, about: "weight × value" },
    { name: "bar", title: " ", shown: row => bar(row.contribution) },
    ...(other ? [{ name: "label_contribution", title: `adds to ${other.class}` }] : []),
    { name: "tokens", title: "where", shown: row => (row.latent === undefined ? "" : h("button", { "aria-pressed": String(row.current), onclick: () => change({ latent: String(row.latent) }) }, "show")) },
  ];
  return section(`Why ${first.predicted}?`,
    note("The probe of ", link(address("cell", cell.split("/")), cell), " (the best cell of this place, first repeat)", cell === best ? "" : [", which is not the best SAE cell on this data set, ", link(address("cell", best.split("/")), best), ","], ` decides by the sum of what latents add to the decision for ${first.class}: `, h("strong", {}, number(first.decision)),
      several ? ", the largest of all classes." : ", above zero.",
      other ? ` For ${other.class}, its label, they add up to ${number(other.decision)}.` : ""),
    chosen ? [h("h3", {}, `Latent ${chosen.latent} on it`), shownExample(shown, chosen, chosen.activation, Math.max(...(chosen.activation ?? [0]).map(Math.abs)), true)] : null,
    plainTable(rows, columns));
}

export async function example(study, parts, query) {
  const [data, text] = parts, wanted = Number(text), tested = await tests(data);
  const every = Array.from(tested.examples.column("example")), spot = every.indexOf(wanted);
  const places = study.places.filter(place => place.split("/").at(-1) === data);
  const place = places.includes(query.place) ? query.place : places[0];
  if (!Number.isInteger(wanted) || wanted < 0 || wanted >= tested.size) throw new Error(`${data} has no example ${text}: they are numbered from 0 to ${tested.size - 1}`);
  if (spot < 0) {
    return [h("h1", {}, `Example number ${text} of ${data}`), note("It is in the training split: the probe learnt its label, so what it says of it is no test. The contexts of latents show its text."), place ? link(address("latents", place.split("/")), "The latents there") : null];
  }
  const about = tested.examples.row(spot), block = (await piece(`texts/${data}/${Math.floor(spot / tested.block)}`)).frames.examples;
  const shown = block.rows(row => row.example === wanted)[0];
  const best = study.frames.best.rows(row => row.data === data && row.split === "test");
  const names = [...new Set([...(query.cell && has(`cell/${query.cell}`) ? [query.cell] : []), ...best.map(row => row.name)])];
  const said = (await Promise.all(names.map(async name => {
    const told = (await answersOf(name, tested, wanted)).get(wanted) ?? [];
    const counts = new Map();
    told.forEach(one => counts.set(one.predicted, [...(counts.get(one.predicted) ?? []), one.confidence]));
    const contestant = best.find(row => row.name === name)?.contestant ?? "the cell you came from";
    return [...counts].map(([predicted, sure]) => ({ contestant, name, predicted, right: predicted === about.label, answers: `${sure.length} of ${told.length}`, confidence: sure.reduce((sum, one) => sum + one, 0) / sure.length }));
  }))).flat();
  const to = step => address("example", [data, String(every[(spot + step + every.length) % every.length])], { cell: query.cell, only: query.only, place: query.place });
  return [
    h("h1", {}, `Example ${about.id} of ${data}`),
    h("p", {}, link(address("examples", [data], { cell: query.cell, only: query.only }), "all test examples"), " · ", link(to(-1), "previous"), " · ", link(to(1), "next")),
    h("p", {}, "Labelled ", h("strong", {}, about.label), `, split ${about.split}.`),
    shownExample(shown, { start: null, row: null, tokens: 1 }, [], 1, true),
    places.length > 1 ? h("div", { class: "pickers" }, picker("latents of", places, place, value => change({ place: value, latent: undefined }))) : null,
    place ? await decisionOf(place, wanted, shown, best.find(row => row.features === "sae" && !row.control && !row.frozen)?.name, tested, query) ?? note(`No decision on it at ${place}: the first repeat does not test it.`) : note("No evidence was made of this data set (config key evidence.places)."),
    section("What each contestant says", note("The best cell of each, in every repeat that tests this example."),
      plainTable(said, [{ name: "contestant" }, { name: "name", title: "cell", shown: row => link(address("cell", row.name.split("/")), row.name) }, { name: "predicted" }, { name: "right", shown: row => (row.right ? "right" : "wrong") }, { name: "answers", title: "in repeats" }, { name: "confidence", shown: row => score(row.confidence) }])),
  ];
}
