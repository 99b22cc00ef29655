"""Do the latents that speak for a class in one data set fire for it in another?"""

import numpy as np
import polars as pl

from tessera.evidence.sufficiency import DIFFERENCE, difference
from tessera.probes.influence import summed
from tessera.probes.task import Task
from tessera.probes.verdicts import Effect, Scored, of_tests, unseen


def fires_abroad(task: Task, shown: pl.DataFrame, largest_EL: np.ndarray, latents: list[int]) -> pl.DataFrame:
    """How much more often latents fire on test texts of the class that they speak for than on others.

    Per text of class c and latent shown for c, whether it fires; against the same on texts of the other classes: mean
    over latents and classes of the difference of shares. No row where the data sets have no class in common.

    Args:
        task: of the target. shown: of the source, `class` and `latent`. largest_EL: `tokens.peaks` of `latents`.
    """
    test_E = task.split_E == "test"
    label_E, fires_EL = task.label_E[test_E], largest_EL[test_E] > 0
    group_E = np.unique(task.examples["group"].to_numpy()[test_E], return_inverse=True)[1]
    found = []
    for name, latent in shown.filter(pl.col("nth").is_not_null()).select("class", "latent").iter_rows():
        if name in task.classes:
            is_E = label_E == task.classes.index(name)
            if is_E.any() and not is_E.all():
                fires_E = fires_EL[:, latents.index(latent)].astype(float)
                inside, outside = fires_E[is_E].mean(), fires_E[~is_E].mean()
                weight_E = np.where(is_E, (fires_E - inside) / is_E.sum(), -(fires_E - outside) / (~is_E).sum())
                found.append((inside - outside, weight_E))
    if not found:
        return pl.DataFrame(schema=DIFFERENCE)
    influence_G = summed(np.mean([one for _, one in found], axis=0), group_E, int(group_E.max()) + 1)
    rarest = min(np.bincount(label_E)[np.unique(label_E)])
    seen = of_tests(influence_G)
    effect = Effect(float(np.mean([value for value, _ in found])), [seen, unseen(seen.variance, rarest)])
    other = Scored(np.zeros((1, 1)), np.zeros((1, 1)))
    return pl.DataFrame(
        [difference("texts of other classes", effect, other.value_DR.shape, int(test_E.sum()))], schema=DIFFERENCE
    )
