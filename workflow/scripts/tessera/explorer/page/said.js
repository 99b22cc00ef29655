// What cells said of test examples: their fits laid beside labels and groups.

import { frame, piece } from "tessera/data.js";

// The test examples of a data set: rows by repeat and split, in the order in which fits list them.
export async function tests(data) {
  const { about, frames } = await piece(`data/${data}`);
  const { tests: all } = frames, groups = new Map(), parts = new Map();
  const [repeat, split, group] = ["repeat", "split", "group"].map(name => all.column(name));
  for (let place = 0; place < all.length; place++) {
    const key = `${repeat[place]} ${split[place]}`;
    if (!parts.has(key)) parts.set(key, { repeat: repeat[place], split: split[place], places: [] });
    parts.get(key).places.push(place);
    if (!groups.has(group[place])) groups.set(group[place], groups.size);
  }
  const code = new Map(about.classes.map((name, number) => [name, number]));
  return {
    ...about, all, parts: [...parts.values()], examples: frames.examples,
    label: all.column("label").map(name => code.get(name)), group: Array.from(group, one => groups.get(one)), groups: groups.size,
  };
}

// The fits of a cell: draw, repeat, split, macro_f1, and per test example predicted (a class's number), confidence, influence.
export async function fits(name) {
  return (await frame(`cell/${name}`, "fits")).rows();
}

// A cell on one split as `numbers.contrast` takes it.
export function scored(allFits, tested, split) {
  const here = allFits.filter(fit => fit.split === split);
  const repeats = [...new Set(here.map(fit => fit.repeat))], draws = [...new Set(here.map(fit => fit.draw))];
  const at = (draw, repeat) => here.find(fit => fit.draw === draw && fit.repeat === repeat);
  const influences = repeats.map(repeat => {
    const found = new Array(tested.groups).fill(0), places = tested.parts.find(part => part.repeat === repeat && part.split === split).places;
    for (const draw of draws)
      at(draw, repeat).influence.forEach((value, number) => (found[tested.group[places[number]]] += value / draws.length));
    return found;
  });
  const used = new Set(tested.parts.filter(part => part.split === split).flatMap(part => part.places.map(place => tested.group[place])));
  return { repeats, draws, values: draws.map(draw => repeats.map(repeat => at(draw, repeat).macro_f1)), influences: influences.map(one => [...used].map(group => one[group])) };
}
