"""Who is compared with whom: the contestants of a study, and the roles of those that predict a behaviour."""

from dataclasses import dataclass

import polars as pl

from tessera.features.kind import Kind
from tessera.features.registry import KINDS
from tessera.probes.registry import LOGISTIC, PROBES

ANY = "*"  # model
ALL, THESE = "all together", "on these data sets"  # data sets to come, of which these are a sample; these alone
# What of an SAE stayed random (freeze in the config) → the name of such an SAE, given that of a trained one.
FROZEN = {"all": "frozen {}", "decoder": "{}, frozen decoder", "encoder": "{}, frozen encoder"}
TRAINED = ~pl.col("control") & pl.col("frozen").is_null()  # cells of a trained model, and of no frozen SAE


@dataclass(frozen=True)
class Sort:
    """A kind of features, frozen or not, with a kind of probe: cells that contend as one, of one sort of models."""

    kind: Kind
    frozen: str | None
    probe: str

    @property
    def cells(self) -> pl.Expr:
        here = (pl.col("features") == self.kind.name) & (pl.col("probe") == self.probe)
        return here & pl.col("frozen").eq_missing(self.frozen)

    def named(self, title: str) -> str:
        """With what is frozen, and with another probe than logistic regression."""
        title = FROZEN[self.frozen].format(title) if self.frozen else title
        return title if self.probe == LOGISTIC else f"{title}, {PROBES[self.probe].title}"


SORTS = [
    Sort(kind, frozen, probe)
    for frozen in (None, *FROZEN)
    for kind in KINDS.values()
    if frozen is None or kind.latents
    for probe in (kind.probe, *(name for name, one in PROBES.items() if kind.name in one.kinds))
]
_NAMED = [
    (one.named(title), one, control)
    for control in (False, True)
    for one in SORTS
    if (title := one.kind.of_control if control else one.kind.title)
]
# Those of trained models, then those of models of re-drawn weights; which of them are controls.
CONTESTANTS = {name: one.cells & (pl.col("control") == control) for name, one, control in _NAMED}
CONTROLS = {name for name, one, control in _NAMED if control or one.frozen}
WITHOUT_SAE = TRAINED & ~pl.col("features").is_in([kind.name for kind in KINDS.values() if kind.reads_sae])


def of_further_probes() -> list[tuple[str, str]]:
    """The SAE with each further kind of probe, and whom it is held against.

    Those are features without latents, each with its own kind of probe and with the same one.
    """
    trained = [(name, one) for name, one, control in _NAMED if not (control or one.frozen)]
    return [
        (left, right)
        for left, sae in trained
        if sae.kind.latents and sae.probe != sae.kind.probe
        for right, other in trained
        if not other.kind.reads_sae and other.probe in (other.kind.probe, sae.probe)
    ]


def present(contestants: pl.Series) -> list[str]:
    """Those of a column that names contestants, in the order of all."""
    return [name for name in CONTESTANTS if name in contestants]


@dataclass
class Role:
    """A contestant that predicts what a model did: which cells are its own, and what it is there for.

    role: source, target (the model's own features: an upper bound) or control (re-drawn weights, frozen SAEs, the
    example alone).
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
        for one in (one for one in SORTS if "model" in one.kind.place):
            role = "control" if model in controls or one.frozen else "target" if model == target else "source"
            controlled = controls.get(model, model if one.frozen else None)
            cells = one.cells & (pl.col("model") == model)
            found.append(Role(role, one.named(one.kind.title), model, controlled, cells))
    alone = [one.named(one.kind.title) for one in SORTS if "model" not in one.kind.place]
    return found + [Role("control", title, None, ANY, CONTESTANTS[title]) for title in alone]
