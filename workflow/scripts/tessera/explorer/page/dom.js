// Elements. What a study says reaches the page as text, never as markup.

// h("a", {href: "#grid"}, "grid"): attributes that begin with "on" are listeners; children are elements, text or lists.
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter(child => child !== null && child !== undefined && child !== false));
  return element;
}

export const link = (address, ...children) => h("a", { href: address }, ...children);

// A select of values, which calls `chosen` with the one chosen.
export function picker(name, values, value, chosen, shown = one => one) {
  const options = values.map(one => h("option", { value: one, selected: String(one) === String(value) }, String(shown(one))));
  return h("label", {}, `${name} `, h("select", { id: `picker ${name}`, onchange: event => chosen(event.target.value) }, options));
}

export const section = (title, ...children) => h("section", {}, h("h2", {}, title), ...children);
export const verdict = name => h("span", { class: `verdict ${name}` }, name);
export const note = (...children) => h("p", { class: "note" }, ...children);

// Save text as a file, without asking any server.
export function save(name, content, type) {
  const address = URL.createObjectURL(new Blob([content], { type }));
  h("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
