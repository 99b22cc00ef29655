"""Places of evidence, as a config names them: model/layer/width/data set, or the beginning of it."""

from tessera.base.errors import TesseraError
from tessera.study.draws import split
from tessera.study.grid import parse_width
from tessera.study.media import reads
from tessera.study.study import Study

AXES = ("model", "layer", "width", "data")  # of a place


def every_place(study: Study) -> list[tuple[str, str, str, str]]:
    """Model, layer, width and data set of every SAE of a trained model; of SAEs drawn several times the first."""
    return [
        (cell["model"], cell["layer"], cell["width"], data)
        for cell in study.sae_cells()
        if cell["model"] not in study.controls and not split(cell["width"])[1]
        for data in study.data_of(cell["model"])
    ]


def named(study: Study, names: list[str]) -> list[tuple[str, str, str, str]]:
    """The places that begin as one of `names` does, value by value."""
    wanted = [tuple(name.split("/")) for name in names]
    return [place for place in every_place(study) if any(place[: len(name)] == name for name in wanted)]


def neutral(study: Study, named: list[str] | None, model: str, width: str, data: str) -> list[str]:
    """The data sets of neutral texts at a place: those named, else the others that its SAE was trained on here."""
    texts = study.saes[study.sae_entry(*study.sae_owner(model, width))].get("train", {}).get("texts", [])
    several = texts if named is None else named
    return [one for one in several if one != data and one in study.data_of(model)]


def check(study: Study) -> None:
    """Does every name of the section evidence name a place, and every place have what is asked of it?

    Raises:
        TesseraError: names the key.
    """
    section, every = study.evidence, ["/".join(place) for place in every_place(study)]
    for key in ("places", "in_model", "maps", "ids"):
        for name in section[key]:
            if not named(study, [name]):
                example = f"; for example {every[0]}" if every else ""
                raise TesseraError(f"config key evidence.{key}: {name!r} names no SAE of a trained model{example}")
    places = set(named(study, section["places"]))
    for key in ("in_model", "maps", "ids"):
        for name in section[key]:
            outside = [place for place in named(study, [name]) if place not in places]
            if outside:
                raise TesseraError(f"config key evidence.{key}: {'/'.join(outside[0])!r} is not in evidence.places")
    for place in named(study, section["in_model"]):
        if reads(study.models[place[0]]) == "image":
            raise TesseraError(
                f"config key evidence.in_model: {place[0]!r} reads images; latents can be taken out of models of texts"
            )
    for name, ids in section["ids"].items():
        for model, layer, width, _ in named(study, [name]):
            beyond = [latent for latent in ids if latent >= parse_width(width)]
            if beyond:
                raise TesseraError(
                    f"config key evidence.ids.{name}: {beyond[0]} is no latent of {model}/{layer}/{width}, which has "
                    f"{parse_width(width)}"
                )
    neutral = section.get("neutral", [])
    for data in neutral:
        if data not in study.datasets:
            allowed = ", ".join(study.datasets)
            raise TesseraError(f"config key evidence.neutral: {data!r} is not there; allowed: {allowed}")
    for model in dict.fromkeys(place[0] for place in places):
        if neutral and not {*neutral} & {*study.data_of(model)}:
            raise TesseraError(f"config key evidence.neutral: the model {model!r} reads none of {', '.join(neutral)}")
