"""Scenarios of interventions: the place that they act at, what they look at, checked against the rest of a config."""

from tessera.base.errors import TesseraError
from tessera.study import evidence
from tessera.study.evidence import AXES, every_place
from tessera.study.grid import parse_width
from tessera.study.media import holds, reads
from tessera.study.study import Study

LATENT, CLAMP = "latent-", "clamp-"  # a direction that is one latent, added or held, and its number


def place(study: Study, scenario: str) -> dict[str, str]:
    """Model, layer, width and data set that a scenario acts at."""
    return dict(zip(AXES, study.interventions[scenario]["place"].split("/"), strict=True))


def reader(study: Study, scenario: str) -> dict[str, str] | None:
    """Model and layer whose hidden states a scenario's probes read, if any."""
    named = study.interventions[scenario].get("reader")
    return named and dict(zip(("model", "layer"), named.split("/"), strict=True))


def reads_states(study: Study, scenario: str) -> bool:
    """Is the reader a later layer of the steered model, read in the steered pass?"""
    one = reader(study, scenario)
    return bool(one) and one["model"] == place(study, scenario)["model"] and "prompts" not in spec(study, scenario)


def spec(study: Study, scenario: str) -> dict:
    return study.interventions[scenario]


def directions(scenario: dict) -> list[str]:
    """The directions of a scenario's entry, latents by number among them."""
    by_number = {LATENT: scenario["latents"], CLAMP: scenario["clamps"]}
    return [*scenario["directions"], *(f"{kind}{latent}" for kind, some in by_number.items() for latent in some)]


def neutral(study: Study, scenario: str) -> list[str]:
    """The data sets of neutral texts of a scenario."""
    here = {axis: value for axis, value in place(study, scenario).items() if axis != "layer"}
    return evidence.neutral(study, spec(study, scenario).get("neutral"), **here)


def check(study: Study) -> None:
    """Is all there that the scenarios name, and of use to them?

    Raises:
        TesseraError: names the key.
    """
    every = ["/".join(one) for one in every_place(study)]
    for name, one in study.interventions.items():
        key = f"config key interventions.{name}"
        if one["place"] not in every:
            example = f"; for example {every[0]}" if every else ""
            raise TesseraError(f"{key}.place: {one['place']!r} names no SAE and data set of a trained model{example}")
        here = place(study, name)
        model = here["model"]
        if reads(study.models[model]) == "image":
            raise TesseraError(f"{key}.place: {model!r} reads images; only models of texts can be steered")
        for part in ("latents", "clamps"):
            beyond = [latent for latent in one[part] if latent >= parse_width(here["width"])]
            if beyond:
                raise TesseraError(f"{key}.{part}: {beyond[0]} is no latent of an SAE of {parse_width(here['width'])}")
        for part in ("neutral", "others"):
            for data in one.get(part, []):
                _read(study, f"{key}.{part}", data, model)
        if not neutral(study, name):
            raise TesseraError(
                f"{key}.neutral: missing; name data sets other than {here['data']!r} that {model!r} reads"
            )
        _check_looked_at(study, key, name)


def _check_looked_at(study: Study, key: str, name: str) -> None:
    one, here = study.interventions[name], place(study, name)
    model, steers = here["model"], directions(one)
    if not steers and not one["erase"]:
        raise TesseraError(f"{key}: nothing is to be done; give directions, latents, clamps or erase")
    if steers and not {"answers", "prompts", "reader"} & one.keys():
        raise TesseraError(
            f"{key}: nothing says what steering is to change; give answers, prompts or a reader, or, to erase alone, "
            f"directions: []"
        )
    if "answers" in one:
        _check_answers(study, key, one["answers"], model)
    if "data" in one.get("prompts", {}):
        data = one["prompts"]["data"]
        if data not in study.datasets or holds(study.datasets[data]) == "image":
            allowed = ", ".join(study.data_that_hold("text"))
            raise TesseraError(f"{key}.prompts.data: {data!r} is no data set of texts; allowed: {allowed}")
    if "judge" in one and "prompts" not in one:
        raise TesseraError(f"{key}.judge: there is nothing to judge; give prompts")
    if "judge" in one and one["judge"]["question"].count("{text}") != 1:
        raise TesseraError(f"{key}.judge.question: it does not hold {{text}} once")
    blank = [text for text in one.get("prompts", {}).get("texts", []) if not text.strip()]
    if blank:
        raise TesseraError(f"{key}.prompts.texts: {blank[0]!r} is blank")
    if "judge" in one and one["judge"]["scale"][0] >= one["judge"]["scale"][1]:
        raise TesseraError(f"{key}.judge.scale: {one['judge']['scale']} is not ascending")
    if "reader" in one:
        _check_reader(study, key, name)


def _check_answers(study: Study, key: str, answers: dict, model: str) -> None:
    asked = study.datasets.get(answers["data"], {}).get("answered", {})
    if asked.get("model") != model:
        allowed = [data for data, one in study.datasets.items() if one.get("answered", {}).get("model") == model]
        raise TesseraError(
            f"{key}.answers.data: {answers['data']!r} is no data set that {model!r} answers; allowed: "
            f"{', '.join(allowed) or 'none yet'}"
        )
    choices = asked.get("choices") or asked["answers"]
    if answers["choice"] not in choices:
        raise TesseraError(f"{key}.answers.choice: {answers['choice']!r} is no answer; allowed: {', '.join(choices)}")


def _check_reader(study: Study, key: str, name: str) -> None:
    one, here = study.interventions[name], place(study, name)
    cells = [f"{cell['model']}/{cell['layer']}" for cell in study.layer_cells()]
    if one["reader"] not in cells:
        raise TesseraError(f"{key}.reader: {one['reader']!r} is no layer of this study; allowed: {', '.join(cells)}")
    found = reader(study, name)
    if reads(study.models[found["model"]]) == "image":
        raise TesseraError(f"{key}.reader: {found['model']!r} reads images")
    if found == {axis: here[axis] for axis in found}:
        raise TesseraError(f"{key}.reader: directions are made there; name another layer, or another model")
    if found["model"] != here["model"] and "prompts" not in one:
        raise TesseraError(
            f"{key}.reader: {found['model']!r} reads what is written; give prompts, or name a layer of "
            f"{here['model']!r} behind {here['layer']}"
        )
    if reads_states(study, name) and int(found["layer"]) < int(here["layer"]):
        raise TesseraError(
            f"{key}.reader: without prompts it is read in the steered pass; name a layer behind {here['layer']}"
        )
    for data in [here["data"], *one.get("others", [])]:
        _read(study, f"{key}.reader", data, found["model"])


def _read(study: Study, key: str, data: str, model: str) -> None:
    if data not in study.data_of(model):
        raise TesseraError(
            f"{key}: {model!r} does not read the data set {data!r}; allowed: {', '.join(study.data_of(model))}"
        )
