// The address is the state: #view/part/part?key=value, so that any view can be sent, and back and forward work.

// Of an address that was cut or mistyped, what stands there.
function decoded(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}
const words = text => text.split("/").filter(one => one).map(decoded);

export function current() {
  const [path, query = ""] = location.hash.slice(1).split("?");
  const [view = "overview", ...parts] = words(path);
  return { view, parts, query: Object.fromEntries(new URLSearchParams(query)) };
}

export function address(view, parts = [], query = {}) {
  const path = [view, ...parts].map(encodeURIComponent).join("/");
  const given = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== undefined && value !== ""));
  return `#${path}${given.size ? `?${given}` : ""}`;
}

// Go where the query of this address has these values; undefined takes one out.
export function change(query) {
  const { view, parts, query: before } = current();
  location.hash = address(view, parts, { ...before, ...query });
}
