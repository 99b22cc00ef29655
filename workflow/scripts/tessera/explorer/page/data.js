// The study's data: pieces that stand in this page, or in files beside it, read when first asked for.
// explorer/columns.py writes them.

const TYPES = {
  u1: Uint8Array, i1: Int8Array, u2: Uint16Array, i2: Int16Array, u4: Uint32Array, i4: Int32Array,
  f4: Float32Array, f8: Float64Array,
};
const asked = new Map(); // name → promise of the piece
const awaited = new Map(); // file → what to do once it is there
let numbers = new Map([["study", 0]]); // name → number of the piece
let files = []; // number → file of the piece, where pieces are in files

window.tesseraPiece = (file, content) => awaited.get(file)?.(content); // what a piece in a file calls

export function named(about) {
  numbers = new Map(about.pieces.map((name, number) => [name, number]));
  files = about.files;
}

export const has = name => numbers.has(name);

// The piece of a name: {about, frames}.
export function piece(name) {
  if (!asked.has(name)) asked.set(name, read(name).catch(error => { asked.delete(name); throw error; })); // to be asked again
  return asked.get(name);
}

export const frame = async (name, part) => (await piece(name)).frames[part];
export const table = name => frame(`table/${name}`, "table");

async function read(name) {
  if (!numbers.has(name)) throw new Error(`this study has no ${name}`);
  const number = numbers.get(name);
  const inside = document.getElementById(`piece${number}`);
  const text = atob(inside ? inside.textContent : await fromFile(files[number]));
  const bytes = new Uint8Array(text.length);
  for (let place = 0; place < text.length; place++) bytes[place] = text.charCodeAt(place);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return decoded(await new Response(stream).arrayBuffer());
}

function fromFile(file) {
  return new Promise((resolve, reject) => {
    awaited.set(file, resolve);
    const src = `${document.documentElement.dataset.folder}/${file}.js`; // a script is read from disk, a fetch is not
    const missing = () => reject(new Error(`${src} cannot be read: keep the folder that was written with this page beside it`));
    const read = () => reject(new Error(`${src} is damaged: write the explorer anew`)); // unless it has called
    document.head.append(Object.assign(document.createElement("script"), { src, onerror: missing, onload: read }));
  });
}

function decoded(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const { about, frames } = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const typed = place => new TYPES[place.type](buffer, 4 + length + place.at, place.size);
  for (const [name, one] of Object.entries(frames)) frames[name] = new Frame(one, typed);
  return { about, frames };
}

// A table: columns as arrays, null where there is no value. Columns are decoded when first asked for.
export class Frame {
  constructor({ rows, columns }, typed) {
    this.length = rows;
    this.names = Object.keys(columns);
    for (const name of this.names)
      Object.defineProperty(this, `_${name}`, { get: once(() => values(columns[name], typed)), enumerable: false });
  }
  column(name) { return this[`_${name}`]; }
  row(number) { return Object.fromEntries(this.names.map(name => [name, this.column(name)[number]])); }
  rows(keep = () => true) {
    const found = [], columns = this.names.map(name => [name, this.column(name)]);
    for (let number = 0; number < this.length; number++) {
      const row = {};
      for (const [name, column] of columns) row[name] = column[number];
      if (keep(row)) found.push(row);
    }
    return found;
  }
}

function once(make) {
  let made;
  return () => (made ??= make());
}

// As Array.from with a function, which takes several times as long.
function each(array, make) {
  const found = new Array(array.length);
  for (let place = 0; place < array.length; place++) found[place] = make(array[place], place);
  return found;
}

function values(column, typed) {
  const there = column.valid && typed(column.valid);
  const present = one => (there ? each(one, (value, number) => (there[number] ? value : null)) : one);
  if (column.kind === "list") {
    const items = values(column.items, typed), ends = typed(column.ends);
    return present(each(ends, (end, number) => items.slice(number ? ends[number - 1] : 0, end)));
  }
  const stored = typed(column.values);
  if (column.kind === "string") return present(each(stored, code => column.named[code]));
  if (column.kind === "boolean") return present(each(stored, value => value === 1));
  return stored instanceof Float32Array || stored instanceof Float64Array
    ? each(stored, (value, number) => (Number.isNaN(value) || (there && !there[number]) ? null : value))
    : present(stored);
}
