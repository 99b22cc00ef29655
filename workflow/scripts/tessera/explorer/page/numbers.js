// Numbers as they are written, and the statistics of a comparison (probes/verdicts.py defines them).

const minus = text => text.replace("-", "−");
export const score = value => (value === null || value === undefined ? "" : minus(value.toFixed(3).replace(/^(-?)0\./, "$1.")));
export const number = value =>
  value === null || value === undefined ? ""
  : typeof value !== "number" ? String(value)
  : Number.isInteger(value) ? minus(String(value))
  : minus(Number(value.toPrecision(4)).toString());
export const signed = value => (value === null || value === undefined ? "" : (value < 0 ? "" : "+") + score(value));
export const interval = (row, name) =>
  row[`${name}_low`] === null || row[`${name}_low`] === undefined ? "" : `[${score(row[`${name}_low`])}, ${score(row[`${name}_high`])}]`;
export const share = value => (value === null ? "" : `${(100 * value).toFixed(value && value < 0.01 ? 2 : 0)} %`);

const sum = values => values.reduce((total, value) => total + value, 0);
export const mean = values => sum(values) / values.length;
const variance = values => {
  const centre = mean(values);
  return values.length > 1 ? sum(values.map(value => (value - centre) ** 2)) / (values.length - 1) : 0;
};

// How many standard errors a 95 % interval reaches to either side: `table` has [degrees of freedom, that of Student's t].
function reach(freedom, table) {
  const after = table.findIndex(([one]) => one >= freedom);
  if (after < 0) return table.at(-1)[1];
  if (after === 0) return table[0][1];
  const [[low, at_low], [high, at_high]] = [table[after - 1], table[after]];
  return at_low + ((1 / low - 1 / freedom) / (1 / low - 1 / high)) * (at_high - at_low);
}

function ofTests(influence) {
  const squares = influence.filter(value => value !== 0).map(value => value ** 2);
  if (!squares.length) return { variance: 0, freedom: 1 };
  const groups = Math.max(2, influence.length);
  return {
    variance: (sum(squares) * groups) / (groups - 1),
    freedom: sum(squares) ** 2 / sum(squares.map(value => value ** 2)),
  };
}

function ofTraining(differences, influences, overlap) {
  const repeats = differences.length;
  if (repeats < 2) return { variance: 0, freedom: 1 };
  const own = sum(influences.map(one => sum(one.map(value => value ** 2))));
  const together = sum(influences[0].map((_, group) => sum(influences.map(one => one[group])) ** 2));
  const beyond = Math.max(0, variance(differences) - (own - together / repeats) / (repeats - 1));
  return { variance: beyond * (1 / repeats + overlap), freedom: repeats - 1 };
}

const ofDraws = differences => ({ variance: variance(differences) / differences.length, freedom: Math.max(1, differences.length - 1) });

// The difference of two contestants with its 95 % interval.
// left, right: {values: [draw][repeat], influences: [repeat][group]} of the same repeats and groups; paired: of the same draws.
export function contrast(left, right, { paired, overlap, reaches }) {
  const repeats = left.values[0].map((_, repeat) =>
    mean(left.values.map(draw => draw[repeat])) - mean(right.values.map(draw => draw[repeat])));
  const influences = left.influences.map((one, repeat) => one.map((value, group) => value - right.influences[repeat][group]));
  const [of_left, of_right] = [left, right].map(side => side.values.map(mean));
  const draws = paired ? [of_left.map((value, draw) => value - of_right[draw])] : [of_left, of_right];
  const together = influences[0].map((_, group) => mean(influences.map(one => one[group])));
  const parts = [ofTests(together), ofTraining(repeats, influences, overlap), ...draws.map(ofDraws)];
  const total = sum(parts.map(part => part.variance)), difference = mean(repeats);
  if (!total) return { difference, low: difference, high: difference, verdict: "undecided", repeats };
  const shares = sum(parts.filter(part => part.variance > 0).map(part => part.variance ** 2 / part.freedom));
  const half = Math.sqrt(total) * reach(total ** 2 / shares, reaches);
  const [low, high] = [Math.max(-1, difference - half), Math.min(1, difference + half)];
  return { difference, low, high, verdict: low > 0 ? "left is better" : high < 0 ? "right is better" : "undecided", repeats };
}

// Two-sided p of McNemar's exact test: how even is the split of those that one side alone gets right?
export function mcnemar(left, right) {
  const some = left + right, few = Math.min(left, right);
  let logarithm = -some * Math.log(2), tail = 0;
  for (let count = 0; count <= few; count++) {
    tail += Math.exp(logarithm);
    logarithm += Math.log(some - count) - Math.log(count + 1);
  }
  return Math.min(1, 2 * tail);
}
