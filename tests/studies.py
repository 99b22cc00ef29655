"""Studies made by hand, of the parts that a test needs."""

from tessera.study.study import Study

SECTIONS = ("models", "datasets", "grid", "saes", "transfers", "matches", "baselines", "probe", "probes")
SECTIONS += ("regimes", "claims", "interventions")


def study_of(**parts) -> Study:
    """A study of these parts; every other section is empty."""
    empty = {section: {} for section in SECTIONS}
    empty |= {"evidence": {"places": [], "in_model": [], "maps": [], "ids": {}}, "explorer": {"blur": False}}
    return Study(**{**empty, "shard_size": 10_000, "seed": 0, "repeats": 1, **parts})
