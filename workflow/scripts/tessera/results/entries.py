"""What an entry of the catalogue is, and where in a study tables and figures are."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tessera.base.errors import TesseraError
from tessera.features.registry import KINDS, places
from tessera.probes.registry import PROBES
from tessera.study.evidence import AXES, named
from tessera.study.interventions import directions
from tessera.study.study import Study

Place = dict[str, str]  # axis → value of the folder that a figure lies in


@dataclass(frozen=True)
class Figure:
    """A figure drawn from the rows of one table at one place.

    draw: module of report/ and function in it, named so that nobody needs matplotlib to know of it. places: where a
    study has it. caption: the file of workflow/report/ that says what to read off it; without it, of the figure's name.
    """

    draw: str
    places: Callable[[Study], list[Place]]
    caption: str | None = None

    @property
    def name(self) -> str:
        return self.draw.partition(".")[2]


@dataclass(frozen=True)
class Table:
    """A table of results.

    row: what a row is. rule: what writes it. columns: their names, explained in columns.py; varying: a pattern of
    further ones. about: what a reader should know of it. category: that of its page in the report; without one it is in
    the explorer alone. there: has a study this table? shown: has it figures there?
    """

    name: str
    rule: str
    row: str
    columns: tuple[str, ...]
    varying: str = "(?!)"
    csv: bool = True
    about: str = ""
    category: str | None = None
    figures: tuple[Figure, ...] = ()
    there: Callable[[Study], bool] = lambda study: True
    shown: Callable[[Study], bool] = lambda study: True

    def check(self, columns: list[str]) -> None:
        """Has a frame the columns that stand here, in this order?

        Raises:
            TesseraError: names those that differ.
        """
        found = [column for column in columns if not re.fullmatch(self.varying, column)]
        if found != list(self.columns):
            other = sorted({*found} ^ {*self.columns})
            raise TesseraError(f"table {self.name}: its columns are not those of the catalogue: {other or found}")

    def places(self, study: Study) -> Iterator[tuple[Figure, Place]]:
        """Its figures in a study, and where they lie."""
        if self.there(study) and self.shown(study):
            for figure in self.figures:
                for place in figure.places(study):
                    yield figure, place


def once(study: Study) -> list[Place]:
    return [{}]


def per_model(study: Study) -> list[Place]:
    return [{"model": model} for model in study.models if model not in study.controls]


def per_model_with_saes(study: Study) -> list[Place]:
    with_saes = {cell["model"] for cell in study.sae_cells()}
    return [place for place in per_model(study) if place["model"] in with_saes]


def per_model_with_selections(study: Study) -> list[Place]:
    return per_model_with_saes(study) if len(study.grid["selections"]) > 1 else []


def per_scenario(study: Study) -> list[Place]:
    return [{"scenario": scenario} for scenario in study.transfers]


def per_scenario_with_pairs(study: Study) -> list[Place]:
    """Scenarios with a target other than a source, and an SAE of a trained model."""
    found = []
    for scenario, spec in study.transfers.items():
        pairs = any(source != target for source in spec["sources"] for target in spec["targets"])
        needed = {*spec["sources"], *spec["targets"], *spec["translated"].values()}
        if pairs and any(needed <= {*study.data_of(place["model"])} for place in per_model_with_saes(study)):
            found.append({"scenario": scenario})
    return found


def per_match(study: Study) -> list[Place]:
    return [{"match": match} for match in study.matches]


def per_place(study: Study, key: str = "places") -> list[Place]:
    return [dict(zip(AXES, place, strict=True)) for place in named(study, study.evidence[key])]


def per_ablation(study: Study) -> list[Place]:
    return per_place(study, "in_model")


def of_trees(study: Study) -> list[Place]:
    """Every job that fits trees: features, kind of probe, place and data set; of what is drawn again the first."""
    return [
        {"features": name, "probe": probe, **place, "data": data}
        for probe, names in study.probes.items()
        if PROBES[probe].trees
        for name in names
        if KINDS[name].asked(study)
        for place, data in places(study, name)
        if "model" not in place or _trained(study, place)
    ]


def _trained(study: Study, place: Place) -> bool:
    """Is a place of a trained model, and of no frozen SAE, drawn first?"""
    model, width = place["model"], place.get("width")
    frozen = width is not None and study.frozen(model, width)
    return model not in study.controls and not frozen and not study.drawn(model, width)[2]


def per_data_with_trees(study: Study) -> list[Place]:
    found = {one["data"] for one in of_trees(study)}
    return [{"data": data} for data in study.datasets if data in found]


def with_trees(study: Study) -> bool:
    return bool(of_trees(study))


def per_map(study: Study) -> list[Place]:
    return per_place(study, "maps")


def with_maps(study: Study) -> bool:
    return bool(per_map(study))


def with_evidence(study: Study) -> bool:
    return bool(per_place(study))


def with_truth(study: Study) -> bool:
    return bool(study.truths)


def with_true_latents(study: Study) -> bool:
    return any(place["model"] in study.truths for place in per_place(study))


def with_ablations(study: Study) -> bool:
    return bool(per_ablation(study))


def with_regimes(study: Study) -> bool:
    return any(study.regimes.values())


def with_transfers(study: Study) -> bool:
    return bool(study.transfers)


def with_matches(study: Study) -> bool:
    return bool(study.matches)


def with_behaviour(study: Study) -> bool:
    return bool(study.behaviours)


def per_intervention(study: Study) -> list[Place]:
    """Scenarios that steer."""
    return [{"scenario": name} for name, one in study.interventions.items() if directions(one)]


def per_eraser(study: Study) -> list[Place]:
    """Scenarios that erase."""
    return [{"scenario": name} for name, one in study.interventions.items() if one["erase"]]


def with_steering(study: Study) -> bool:
    return bool(per_intervention(study))


def with_erasers(study: Study) -> bool:
    return bool(per_eraser(study))


def with_interventions(study: Study) -> bool:
    return bool(study.interventions)


def names(columns: str) -> tuple[str, ...]:
    return tuple(columns.split())


def intervals(*metrics: str) -> tuple[str, ...]:
    return tuple(f"{metric}{end}" for metric in metrics for end in ("", "_low", "_high"))
