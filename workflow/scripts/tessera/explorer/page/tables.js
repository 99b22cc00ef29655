// Tables: to sort, filter and copy; heads say what a column means.

import { h, save } from "tessera/dom.js";
import { number, score } from "tessera/numbers.js";

const quoted = value => {
  const text = value === null || value === undefined ? "" : Array.isArray(value) ? value.join(" ") : String(value);
  const safe = /^[=+@\t\r]/.test(text) ? `'${text}` : text; // no spreadsheet takes it for a formula
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
};

// Rows as csv, an interval as two columns behind its value.
export function csv(rows, columns) {
  const names = columns.flatMap(one => (one.interval ? [one.name, `${one.interval}_low`, `${one.interval}_high`] : [one.name]));
  return [names, ...rows.map(row => names.map(name => row[name]))].map(line => line.map(quoted).join(",")).join("\n") + "\n";
}

// Columns of a frame: x with x_low and x_high is one column, those without any value are left out.
export function columnsOf(frame, meanings) {
  const names = frame.names.filter(name => frame.column(name).some?.(value => value !== null) ?? frame.length);
  const ends = new Set(names.filter(name => names.includes(`${name}_low`)).flatMap(name => [`${name}_low`, `${name}_high`]));
  return names.filter(name => !ends.has(name)).map(name => ({
    name, about: meanings[name], interval: names.includes(`${name}_low`) ? name : null,
  }));
}

function cell(row, column) {
  const value = row[column.name];
  if (column.shown) return h("td", { class: column.kind }, column.shown(row));
  if (typeof value === "number") {
    const [low, high] = column.interval ? [row[`${column.interval}_low`], row[`${column.interval}_high`]] : [null, null];
    const written = column.interval && Math.max(Math.abs(value), Math.abs(high ?? 0)) <= 1 ? score : number;
    return h("td", { class: "number" }, written(value), low === null ? null : h("small", {}, ` [${written(low)}, ${written(high)}]`));
  }
  const text = value === null || value === undefined ? "" : typeof value === "boolean" ? (value ? "yes" : "no") : String(value);
  return h("td", { class: text.length > 60 ? "wide" : null, dir: "auto" }, text);
}

// What heads say to a mouse, for the keyboard.
function glossary(columns) {
  const known = columns.filter(one => one.about);
  return known.length ? h("details", {}, h("summary", {}, "what the columns mean"), h("dl", {}, known.map(one => [h("dt", {}, titled(one)), h("dd", {}, one.about)]))) : null;
}

const heads = (columns, head) => h("thead", {}, h("tr", {}, columns.map(head)));
const titled = column => (column.title ?? column.name).replaceAll("_", " ");

// A table as it stands. Columns: name, and title, about, shown (row → what its cell says) where there is one.
export function plainTable(rows, columns) {
  const head = column => h("th", { scope: "col", title: column.about }, titled(column));
  const body = rows.map(row => h("tr", { "aria-current": row.current ? "true" : null }, columns.map(column => cell(row, column))));
  return h("div", {}, h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "table" }, h("table", {}, heads(columns, head), h("tbody", {}, body))), glossary(columns));
}

const STEP = 200; // rows shown at once

// A table to sort by its heads, filter by words, save and copy. `state` is {sort, down, words}, `told` hears of a change.
export function sortable(name, rows, columns, state = {}, told = () => {}) {
  let { sort, down = false, words = "", shown = STEP } = state;
  const place = h("div", {}), count = h("span", { role: "status" });
  const compare = (one, other) => {
    const [a, b] = [one[sort], other[sort]];
    if (a === null || b === null) return (a === null) - (b === null);
    return (down ? -1 : 1) * (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
  };
  let texts; // made when a word is first asked for: of many rows it takes longer than the table
  const holds = wanted => {
    texts ??= rows.map(row => columns.map(column => row[column.name] ?? "").join(" ").toLowerCase());
    return (_, place) => wanted.every(word => texts[place].includes(word));
  };
  const chosen = () => {
    const wanted = words.toLowerCase().split(" ").filter(word => word);
    const found = wanted.length ? rows.filter(holds(wanted)) : rows;
    return sort ? [...found].sort(compare) : found;
  };
  const draw = () => {
    const found = chosen();
    const head = column => h("th", { scope: "col", title: column.about, "aria-sort": sort === column.name ? (down ? "descending" : "ascending") : null },
      h("button", { id: `sort ${name} ${column.name}`, onclick: () => { down = sort === column.name && !down; sort = column.name; draw(); told({ sort, down: down ? 1 : undefined }); } },
        `${titled(column)}${sort === column.name ? (down ? " ↓" : " ↑") : ""}`));
    const body = found.slice(0, shown).map(row => h("tr", {}, columns.map(column => cell(row, column))));
    const more = found.length > shown ? h("button", { onclick: () => { shown += STEP * 5; draw(); } }, `show more of ${found.length} rows`) : null;
    count.textContent = ` ${found.length} of ${rows.length} rows`;
    place.replaceChildren(h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": name }, h("table", {}, heads(columns, head), h("tbody", {}, body))), ...(more ? [more] : []));
  };
  draw();
  const filter = h("input", { type: "search", value: words, placeholder: "words that a row holds", oninput: event => { words = event.target.value; draw(); },
    onchange: () => told({ words }) });
  const copied = event => navigator.clipboard?.writeText(csv(chosen(), columns)).then(() => (event.target.textContent = "copied"), () => (event.target.textContent = "the browser does not allow it; save instead"));
  return h("div", {},
    h("div", { class: "tools" }, h("label", {}, "filter ", filter), count,
      h("button", { onclick: copied }, "copy as csv"), h("button", { onclick: () => save(`${name}.csv`, csv(chosen(), columns), "text/csv") }, "save as csv")),
    place);
}
