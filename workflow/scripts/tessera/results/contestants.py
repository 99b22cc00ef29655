"""Who is compared with whom: the contestants of a study, and the roles of those that predict a behaviour."""

from dataclasses import dataclass

import polars as pl

from tessera.features.kind import Kind
from tessera.features.registry import KINDS
from tessera.probes.registry import PROBES

ANY = "*"  # model
ALL, THESE = "all together", "on these data sets"  # data sets to come, of which these are a sample; these alone


def _probes(kind: Kind) -> list[str]:
    """The kinds of probes that a kind of features may have, its own first."""
    return [kind.probe, *(name for name, one in PROBES.items() if kind.name in one.kinds)]


def _cells(kind: Kind, probe: str) -> pl.Expr:
    return (pl.col("features") == kind.name) & (pl.col("probe") == probe)


def _named(title: str, kind: Kind, probe: str) -> str:
    """Of features with a probe that is not the one that every study has on them: both."""
    return title if probe == kind.probe else f"{title}, {PROBES[probe].title}"


# Every kind of features with every kind of probe, of trained models; then those of models of re-drawn weights.
CONTESTANTS = {
    _named(kind.title, kind, probe): _cells(kind, probe) & (~pl.col("control") if kind.of_control else True)
    for kind in KINDS.values()
    for probe in _probes(kind)
} | {
    _named(kind.of_control, kind, probe): _cells(kind, probe) & pl.col("control")
    for kind in KINDS.values()
    if kind.of_control
    for probe in _probes(kind)
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
            for probe in _probes(kind):
                cells = _cells(kind, probe) & (pl.col("model") == model)
                found.append(Role(role, _named(kind.title, kind, probe), model, controls.get(model), cells))
    without = [kind for kind in KINDS.values() if "model" not in kind.place]
    alone = [_named(kind.title, kind, probe) for kind in without for probe in _probes(kind)]
    return found + [Role("control", title, None, ANY, CONTESTANTS[title]) for title in alone]
