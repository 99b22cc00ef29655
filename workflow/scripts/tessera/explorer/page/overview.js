// What was asked, what the primary claim came to, what to doubt, and the contestants on each data set.

import { address } from "tessera/address.js";
import { chart, intervals } from "tessera/charts.js";
import { h, link, note, section, verdict } from "tessera/dom.js";
import { interval, number, score, signed } from "tessera/numbers.js";
import { plainTable } from "tessera/tables.js";

const MEANS = {
  holds: "the whole interval lies above zero",
  fails: "the whole interval lies below zero",
  undecided: "the interval holds zero: these data do not tell",
};
const speaks = { "all together": "for data sets to come, of which these are a sample", "on these data sets": "on these data sets alone" };

function claimCard(row) {
  return h("div", { class: "card", id: "primary" },
    h("p", {}, h("strong", {}, row.claim), " ", verdict(row.verdict)),
    h("p", {}, `Difference in ${row.metric.replaceAll("_", " ")}: `, h("strong", {}, signed(row.difference)), ` ${interval(row, "difference")}, ${speaks[row.on] ?? row.on}.`),
    note(row.left ? `${row.left} against ${row.right}. ` : "", `${row.verdict}: ${MEANS[row.verdict]}. `,
      row.difference_low === null ? "" : `Differences of less than about ${score((row.difference_high - row.difference_low) / 2)} these data leave undecided. `,
      row.agree === null || row.repeats < 2 ? "" : `${Math.round(100 * row.agree)} % of the repeats alone come to the same verdict. `,
      row.larger_search_only ? "Only because one side searched more cells. " : ""));
}

function contestants(study) {
  const best = study.frames.best.rows();
  const places = study.datasets.flatMap(data => [...new Set(best.filter(row => row.data === data).map(row => row.split))].map(split => [data, split]));
  return places.map(([data, split]) => {
    const rows = best.filter(row => row.data === data && row.split === split).map(row => ({ ...row, label: row.contestant, address: address("cell", row.name.split("/"), { split: split === "test" ? undefined : split }) }));
    const columns = [
      { name: "contestant" },
      { name: "macro_f1", interval: "macro_f1", title: "macro F1" },
      { name: "name", title: "its best cell", shown: row => link(row.address, row.name) },
      { name: "cells_searched", about: study.meanings.cells_searched },
      { name: "cv_macro_f1", about: study.meanings.cv_macro_f1 },
    ];
    return h("div", {}, h("h3", {}, split === "test" ? data : `${data}, split ${split}`),
      chart(`contestants-${data}-${split}`, `Macro F1 on ${rows[0].examples} test examples of ${data}, with 95 % intervals.`,
        intervals(rows, "macro_f1", { title: "macro F1", extra: ["name", "cells_searched"] }), rows, columns));
  });
}

export async function overview(study) {
  const claims = study.frames.claims.rows(), warnings = study.frames.warnings.rows();
  const primary = claims.find(row => row.role === "primary");
  const columns = [
    { name: "claim" }, { name: "on" }, { name: "verdict", shown: row => verdict(row.verdict) },
    { name: "difference", interval: "difference", about: study.meanings.difference },
    { name: "metric" }, { name: "level", about: study.meanings.level }, ...(claims.some(row => row.repeats > 1) ? [{ name: "agree", about: study.meanings.agree }] : []),
  ];
  return [
    h("h1", {}, study.question),
    h("p", {}, study.counts),
    primary ? claimCard(primary) : note("No claim is primary here: the study has not both sides of it."),
    section("What to doubt, first", warnings.length
      ? h("ul", { id: "doubts" }, warnings.map(row => h("li", {}, h("strong", {}, row.warning), ` (${row.where}): ${number(row.count)} of ${number(row.of)}. ${row.advice}. `, row.such_as ? h("small", {}, `Such as ${row.such_as}.`) : "")))
      : note("Nothing was counted that should be doubted.")),
    section("Who classifies best?", note("The best cell of each contestant, chosen by cross-validation inside the training split and scored once on the test split. Click a mark to open the cell."), h("div", { class: "columns" }, contestants(study))),
    section("Every claim", note("All claims but the primary one share one family of errors: each interval has the level that stands beside it (Holm), so it is wider than one alone would be; [−1, 1] says that too little differs to tell, [0, 0] that both sides gave the same answers. ", link(address("tables", ["claims"]), "The whole table"), " has searches, draws and levels."), plainTable(claims, columns)),
    study.places.length ? section("Which latents carry it?", note("Evidence was made at these places."),
      h("ul", {}, study.places.map(place => h("li", {}, link(address("latents", place.split("/")), place))))) : null,
    section("Where it comes from", h("p", {}, study.origin, " ", link(address("tables", ["provenance"]), "Provenance"), " has every hash and version; ",
      h("a", { href: "report.html" }, "report.html"), " (made by ", h("code", {}, "make report"), ") has the figures for print, the config and what each stage cost.")),
  ];
}
