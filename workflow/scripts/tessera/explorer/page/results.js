// Every table of the study, to sort, filter, copy and save.

import { address, change } from "tessera/address.js";
import { piece } from "tessera/data.js";
import { h, link, note } from "tessera/dom.js";
import { columnsOf, plainTable, sortable } from "tessera/tables.js";

export async function tables(study, parts, query) {
  const [name] = parts;
  if (!name) {
    const columns = [{ name: "name", title: "table", shown: row => link(address("tables", [row.name]), row.name) }, { name: "row", title: "a row per", shown: row => row.row, kind: "wide" }, { name: "rows" }];
    return [h("h1", {}, "Tables"), note("As they lie in results/tables, where parquet files hold full precision and what has no page here."), plainTable(study.tables, columns)];
  }
  const { about, frames } = await piece(`table/${name}`);
  const rest = about.rows > frames.table.length ? note(`Shown are the first ${frames.table.length} of ${about.rows} rows; results/tables/${name}.csv has all.`) : null;
  return [
    h("h1", {}, name.replaceAll("_", " ")),
    h("p", {}, link(address("tables"), "all tables")),
    h("p", {}, about.about || `A row per ${about.row}.`), rest,
    sortable(name, frames.table.rows(), columnsOf(frames.table, study.meanings), { sort: query.sort, down: Boolean(query.down), words: query.words }, change),
  ];
}
