// The frame: views by their names, the switches, and what a change of address does.

import { current, address } from "tessera/address.js";
import { named, piece } from "tessera/data.js";
import { h, link } from "tessera/dom.js";
import { overview } from "tessera/overview.js";
import { grid } from "tessera/grid.js";
import { cell } from "tessera/cell.js";
import { latent, latents } from "tessera/latent.js";
import { example, examples } from "tessera/example.js";
import { compare } from "tessera/compare.js";
import { transfer } from "tessera/transfer.js";
import { tables } from "tessera/results.js";

const VIEWS = { overview, grid, cell, latent, latents, example, examples, compare, transfer, tables };
const SHOWN = { overview: "overview", grid: "grid", latents: "latents", examples: "examples", compare: "compare", transfer: "transfer", tables: "tables" };
const BELOW = { cell: "grid", latent: "latents", example: "examples" }; // what a view without a place in the row of views belongs to
const main = document.getElementById("main");
let turn = 0;

async function render(study) {
  const mine = ++turn, { view, parts, query } = current();
  const here = BELOW[view] ?? view;
  document.querySelector("nav").replaceChildren(...Object.entries(SHOWN)
    .filter(([name]) => study.views.includes(name))
    .map(([name, title]) => h("a", { href: address(name), "aria-current": here === name ? "page" : null }, title)));
  try {
    if (!VIEWS[view]) throw new Error(`there is no view ${view}`);
    const made = await VIEWS[view](study, parts, query);
    if (mine !== turn) return; // another address since
    main.replaceChildren(...[made].flat(Infinity).filter(one => one));
  } catch (error) {
    if (mine !== turn) return;
    main.replaceChildren(h("p", { class: "error" }, `This cannot be shown: ${error.message}. `, link("#overview", "Back to the overview")));
  }
  document.title = `${main.querySelector("h1")?.textContent ?? "Tessera"} · Tessera`;
  document.documentElement.dataset.ready = `${turn}`;
}

// A switch that is kept for the next visit, where the browser keeps anything for a page from disk.
function kept(name, first) {
  try { return localStorage.getItem(`tessera ${name}`) ?? first; } catch { return first; }
}
function keep(name, value) {
  try { localStorage.setItem(`tessera ${name}`, value); } catch { /* a page from disk may not */ }
}

function switches(study) {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  root.dataset.theme = kept("theme", system);
  const theme = h("button", { onclick: () => {
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
    keep("theme", root.dataset.theme);
    say();
    render(study); // figures are drawn in the colours of the page
  } });
  const say = () => (theme.textContent = root.dataset.theme === "dark" ? "light colours" : "dark colours");
  say();
  const blurred = current().query.blur ? current().query.blur === "1" : kept("blur", study.blur ? "on" : "off") === "on";
  document.body.classList.toggle("blurred", blurred);
  const blur = h("button", { "aria-pressed": String(blurred), onclick: () => {
    const on = document.body.classList.toggle("blurred");
    blur.setAttribute("aria-pressed", String(on));
    keep("blur", on ? "on" : "off");
  } }, "blur texts and images");
  document.querySelector(".switches").replaceChildren(blur, " ", theme);
}

async function start() {
  const { about, frames } = await piece("study");
  named(about);
  const study = { ...about, frames };
  switches(study);
  await render(study);
  let seen, before = JSON.stringify([current().view, current().parts]);
  addEventListener("hashchange", async () => {
    const focused = document.activeElement?.id, here = JSON.stringify([current().view, current().parts]);
    await render(study);
    if (here === before) { // a picker or a head was used
      document.getElementById(focused)?.focus({ preventScroll: true });
      const asked = main.querySelector("[data-asked]");
      if (asked && asked.dataset.asked !== seen) asked.scrollIntoView();
      return void (seen = asked?.dataset.asked);
    }
    before = here;
    main.focus({ preventScroll: true });
    scrollTo(0, 0);
  });
}

start().catch(error => main.replaceChildren(h("p", { class: "error" }, `The study cannot be read: ${error.message}`)));
