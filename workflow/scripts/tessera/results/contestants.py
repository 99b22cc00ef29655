"""Who is compared with whom: contestants, and the roles of those that predict a behaviour."""

from dataclasses import dataclass

import polars as pl

CONTESTANTS = {
    "SAE": (pl.col("features") == "sae") & ~pl.col("control"),
    "hidden states": (pl.col("features") == "hidden") & ~pl.col("control"),
    "TF-IDF": pl.col("features") == "tfidf",
    "text length": pl.col("features") == "length",
    "pixels": pl.col("features") == "pixels",
    "random SAE": (pl.col("features") == "sae") & pl.col("control"),
    "random hidden": (pl.col("features") == "hidden") & pl.col("control"),
}
ANY = "*"  # model
ALL = "all together"  # data sets of a claim


@dataclass
class Role:
    """A contestant that predicts what a model did: which cells are its own, and what it is there for.

    role: source, target (the model's own features: an upper bound) or control (re-drawn weights, the text alone).
    """

    role: str
    kind: str
    model: str | None
    controls: str | None  # the model it is a control of; ANY for the text alone
    cells: pl.Expr

    @property
    def name(self) -> str:
        return f"{self.kind} of {self.model}" if self.model else self.kind


def roles(scores: pl.DataFrame, target: str | None, controls: dict[str, str]) -> list[Role]:
    """Whoever predicts the behaviour of the model `target`."""
    found = []
    for model in scores["model"].drop_nulls().unique(maintain_order=True):
        role = "control" if model in controls else "target" if model == target else "source"
        for features, kind in (("sae", "SAE"), ("hidden", "hidden states")):
            cells = (pl.col("features") == features) & (pl.col("model") == model)
            found.append(Role(role, kind, model, controls.get(model), cells))
    return found + [Role("control", kind, None, ANY, CONTESTANTS[kind]) for kind in ("TF-IDF", "text length", "pixels")]
