// Texts and images with the tokens that a latent fires on: the stronger, the darker.

import { h } from "tessera/dom.js";
import { number } from "tessera/numbers.js";

const AROUND = 160; // characters on either side of the strongest token of a long text

const shade = (share, against) => `background: rgba(var(--${against ? "against" : "mark"}), ${(0.15 + 0.75 * share).toFixed(2)})`;

function mark(text, value, largest) {
  const share = largest > 0 ? Math.min(1, Math.abs(value) / largest) : 0;
  return h("mark", { class: value < 0 ? "against" : null, style: shade(share, value < 0), title: number(value) }, text);
}

// The tokens of `row` (lists start, end, piece, row, column, and what `values` has of each) in its text.
// Places are characters as Python counts them, of which one can be two of JavaScript's.
export function marked(text, row, values, largest, whole = false) {
  const said = (...children) => h("div", { class: "said", dir: "auto" }, ...children);
  const characters = Array.from(text);
  if (!values?.length || row.start === null || row.start[0] === null) {
    const short = whole || characters.length <= 2 * AROUND ? text : `${characters.slice(0, 2 * AROUND).join("")} …`;
    return said(short, (row.piece ?? []).map((piece, place) => [" ", mark(piece ?? "", values[place], largest)]));
  }
  const strongest = new Map(); // several tokens may be parts of one character
  values.forEach((value, place) => {
    const key = `${row.start[place]} ${row.end[place]}`;
    if (row.end[place] > row.start[place] && Math.abs(value) >= Math.abs(strongest.get(key)?.[2] ?? 0))
      strongest.set(key, [row.start[place], row.end[place], value]);
  });
  const spans = [...strongest.values()].sort((one, other) => one[0] - other[0] || one[1] - other[1]);
  const [top, bottom] = spans.reduce((best, span) => (Math.abs(span[2]) > Math.abs(best[2]) ? span : best), [0, 0, 0]);
  const first = whole ? 0 : Math.max(0, top - AROUND), last = whole ? characters.length : Math.min(characters.length, bottom + AROUND);
  const parts = [first ? "… " : ""];
  let place = first;
  for (const [start, end, value] of spans) {
    if (start < place || end > last) continue;
    parts.push(characters.slice(place, start).join(""), mark(characters.slice(start, end).join(""), value, largest));
    place = end;
  }
  return said(parts, characters.slice(place, last).join(""), last < characters.length ? " …" : "");
}

// An image with its patches (lists row and column of a square grid of `tokens`) framed and shaded.
export function patched(image, row, values, largest) {
  const side = Math.max(1, Math.round(Math.sqrt(row.tokens ?? 1)), ...(row.row ?? []).map(one => one + 1), ...(row.column ?? []).map(one => one + 1));
  const size = 100 / side;
  const patches = (values ?? []).map((value, place) => h("span", {
    title: number(value),
    style: `left: ${row.column[place] * size}%; top: ${row.row[place] * size}%; width: ${size}%; height: ${size}%; ${shade(0.7 * Math.min(1, Math.abs(value) / (largest || 1)), value < 0).replace(/[\d.]+\)$/, alpha => `${(parseFloat(alpha) * 0.6).toFixed(2)})`)}`,
  }));
  return h("span", { class: "picture" }, h("img", { src: image, alt: "the image of this example" }), row.row ? patches : []);
}

// A text or an image, whichever an example holds.
export const shownExample = (example, row, values, largest, whole) =>
  example.image ? patched(example.image, row, values, largest) : marked(example.text ?? "", row, values, largest, whole);
