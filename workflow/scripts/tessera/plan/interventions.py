"""What the rules of interventions ask: scenarios, their directions and erasers, what each of their jobs reads."""

from tessera.plan import data, evidence, models
from tessera.plan.cells import shards_of
from tessera.steering.measures import NOTHING, RANDOM
from tessera.study import paths
from tessera.study.interventions import directions, neutral, place, reader, reads_states, spec
from tessera.study.study import Study


def every(study: Study, pattern: str) -> list[str]:
    """A file or folder of every scenario, and direction or eraser."""
    steers = "{direction}" in pattern
    return [
        pattern.format(scenario=scenario, **{"direction" if steers else "eraser": name})
        for scenario, one in study.interventions.items()
        for name in (directions(one) if steers else one["erase"])
    ]


def model(study: Study, scenario: str) -> str:
    return place(study, scenario)["model"]


def key(study: Study, scenario: str) -> str:
    return f"interventions.{scenario}"


def asked(study: Study, scenario: str, names: list[str]) -> dict:
    """Keys of a scenario, those that are there."""
    return {name: value for name, value in spec(study, scenario).items() if name in names}


def judge(study: Study, scenario: str) -> dict:
    """The judge of a scenario."""
    return spec(study, scenario)["judge"]


# What directions and erasers are made from.


def examples(study: Study, scenario: str) -> str:
    return paths.EXAMPLES.format(data=place(study, scenario)["data"])


def features(study: Study, scenario: str) -> list[str]:
    return evidence.features(study, **place(study, scenario))


def cells(study: Study, scenario: str) -> list[str]:
    return evidence.cells(study, **place(study, scenario))


def shards(study: Study, scenario: str) -> list[str]:
    return shards_of(study, **place(study, scenario))


def encoder(study: Study, scenario: str) -> str:
    return paths.ENCODER.format(**place(study, scenario))


def decoder(study: Study, scenario: str) -> str:
    return paths.DECODER.format(**place(study, scenario))


# What is steered.


def identity(study: Study, scenario: str) -> dict:
    return models.identity(study, model(study, scenario))


def stored(study: Study, scenario: str) -> dict:
    return models.stored(study, model(study, scenario))


def weights(study: Study, scenario: str) -> str:
    return models.weights(study, model(study, scenario))


def folder(study: Study, scenario: str) -> str | list:
    return models.folder(study, model(study, scenario))


def neutral_texts(study: Study, scenario: str) -> list[str]:
    return data.examples(study, neutral(study, scenario))


def answered(study: Study, scenario: str) -> str | None:
    """The data set whose prompts are answered."""
    return spec(study, scenario).get("answers", {}).get("data")


def answered_examples(study: Study, scenario: str) -> str | list:
    name = answered(study, scenario)
    return paths.EXAMPLES.format(data=name) if name else []


def answered_prompts(study: Study, scenario: str) -> dict | None:
    name = answered(study, scenario)
    return study.datasets[name] if name else None


def continued(study: Study, scenario: str) -> str | list:
    """The examples whose test split is continued, where the config does not list the prompts."""
    name = spec(study, scenario).get("prompts", {}).get("data")
    return paths.EXAMPLES.format(data=name) if name else []


def read_layer(study: Study, scenario: str) -> int | None:
    """The later layer that is read in the steered pass, if any."""
    return reading_layer(study, scenario) if reads_states(study, scenario) else None


# What reads what was written.


def reads_written(study: Study, scenario: str) -> bool:
    return "prompts" in spec(study, scenario) and reader(study, scenario) is not None


def reader_identity(study: Study, scenario: str) -> dict:
    return models.identity(study, reader(study, scenario)["model"])


def reader_stored(study: Study, scenario: str) -> dict:
    return models.stored(study, reader(study, scenario)["model"])


def reader_weights(study: Study, scenario: str) -> str:
    return models.weights(study, reader(study, scenario)["model"])


def reader_folder(study: Study, scenario: str) -> str | list:
    return models.folder(study, reader(study, scenario)["model"])


def reading_layer(study: Study, scenario: str) -> int | None:
    """The layer whose states a probe reads, if any."""
    one = reader(study, scenario)
    return one and int(one["layer"])


def reader_saes(study: Study, scenario: str) -> list[str]:
    """The SAEs of the reader's layer, whose hook its hidden states are read at."""
    one = reader(study, scenario)
    return [paths.ENCODER.format(**cell) for cell in study.sae_cells() if one.items() <= cell.items()]


def written(study: Study, scenario: str, direction: str) -> list[str]:
    """The reader's states of what was written, and its texts, where there is a reader of it."""
    here = {"scenario": scenario, "direction": direction}
    found = [paths.WRITTEN_TEXTS.format(**here), paths.WRITTEN.format(**here)]
    return found if reads_written(study, scenario) else []


def judged(study: Study, scenario: str, direction: str) -> str | list:
    here = {"scenario": scenario, "direction": direction}
    return paths.JUDGED.format(**here) if "judge" in spec(study, scenario) else []


def labelled(study: Study, scenario: str) -> list[str]:
    """The data set whose label is acted on, and those of other labels."""
    return [place(study, scenario)["data"], *spec(study, scenario).get("others", [])]


def labelled_examples(study: Study, scenario: str) -> list[str]:
    return data.examples(study, labelled(study, scenario))


def reader_shards(study: Study, scenario: str) -> list[str]:
    """The reader's activations of these data sets."""
    if not reads_written(study, scenario):
        return []
    one, names = reader(study, scenario), labelled(study, scenario)
    return [file for name in names for file in shards_of(study, name, **one)]


def plain(study: Study, scenario: str) -> str:
    """What the model does with nothing erased."""
    return paths.ERASED.format(scenario=scenario, eraser=NOTHING)


def random(study: Study, scenario: str, eraser: str) -> str | list:
    """What it does with random subspaces erased, for the other erasers."""
    there = RANDOM in spec(study, scenario)["erase"] and eraser != RANDOM
    return paths.ERASED.format(scenario=scenario, eraser=RANDOM) if there else []


def found(study: Study, part: str) -> list[str]:
    """A part of every direction of every scenario."""
    return every(study, paths.DIRECTIONS.replace("{part}", part))


def measured(study: Study, part: str) -> list[str]:
    """A part of what was measured of every direction of every scenario."""
    return every(study, paths.STEERING.replace("{part}", part))


def left(study: Study, part: str) -> list[str]:
    """The same of every eraser."""
    return every(study, paths.ERASURE.replace("{part}", part))


def about(study: Study) -> dict[str, dict]:
    """Scenario → what tables say of it."""
    return {
        scenario: {
            **place(study, scenario),
            "class": one["class"],
            "acted_on": one["tokens"],
            "perplexity": one["perplexity"],
        }
        for scenario, one in study.interventions.items()
    }
