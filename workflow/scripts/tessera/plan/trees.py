"""What the rules of trees ask: which data sets have some, and what explaining those of one reads."""

from tessera.features.registry import kind
from tessera.plan.cells import at, inputs
from tessera.results.entries import Place, of_trees, per_data_with_trees
from tessera.study import paths
from tessera.study.study import Study


def every(study: Study) -> list[str]:
    """What tells most to the trees of every data set that has some."""
    return [paths.SHAP.format(**place) for place in per_data_with_trees(study)]


def scores(study: Study, data: str) -> list[str]:
    """The scores of every cell of trees on a data set."""
    jobs = [(one["features"], one["probe"], _place(one)) for one in _on(study, data)]
    return [file for name, how, place in jobs for file in at(study, name, how, ("scores",), data=data, **place)]


def features(study: Study, data: str) -> dict[str, list[str]]:
    """The files that the features at each place are read from, by `paths.source`."""
    jobs = [(one["features"], _place(one)) for one in _on(study, data)]
    return {paths.source(name, place.values()): inputs(study, name, data, **place) for name, place in jobs}


def _on(study: Study, data: str) -> list[Place]:
    return [one for one in of_trees(study) if one["data"] == data]


def _place(one: Place) -> dict[str, str]:
    return {axis: one[axis] for axis in kind(one["features"]).place}
