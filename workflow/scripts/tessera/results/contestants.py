"""Who is compared with whom: the contestants of a study, and the roles of those that predict a behaviour."""

from dataclasses import dataclass

import polars as pl

from tessera.features.registry import KINDS

ANY = "*"  # model
ALL, THESE = "all together", "on these data sets"  # data sets to come, of which these are a sample; these alone


# Every kind of features, of trained models; then those of models of re-drawn weights.
CONTESTANTS = {
    kind.title: (pl.col("features") == kind.name) & (~pl.col("control") if kind.of_control else True)
    for kind in KINDS.values()
} | {
    kind.of_control: (pl.col("features") == kind.name) & pl.col("control") for kind in KINDS.values() if kind.of_control
}


@dataclass
class Role:
    """A contestant that predicts what a model did: which cells are its own, and what it is there for.

    role: source, target (the model's own features: an upper bound) or control (re-drawn weights, the example alone).
    """

    role: str
    title: str
    model: str | None
    controls: str | None  # the model it is a control of; ANY for the example alone
    cells: pl.Expr

    @property
    def name(self) -> str:
        return f"{self.title} of {self.model}" if self.model else self.title


def roles(scores: pl.DataFrame, target: str | None, controls: dict[str, str]) -> list[Role]:
    """Whoever predicts the behaviour of the model `target`."""
    found = []
    for model in scores["model"].drop_nulls().unique(maintain_order=True):
        role = "control" if model in controls else "target" if model == target else "source"
        for kind in (kind for kind in KINDS.values() if "model" in kind.place):
            cells = (pl.col("features") == kind.name) & (pl.col("model") == model)
            found.append(Role(role, kind.title, model, controls.get(model), cells))
    alone = [kind for kind in KINDS.values() if "model" not in kind.place]
    return found + [Role("control", kind.title, None, ANY, CONTESTANTS[kind.title]) for kind in alone]
