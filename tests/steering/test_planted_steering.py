"""A model whose unembedding reads one direction: what steering along it does, and what erasing it leaves."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from planted import ANSWERS, LAYER, PLANTED, examples, model_of, place_of
from tessera.interventions.erasing import erase, interventions_of
from tessera.interventions.latents import Latents
from tessera.interventions.shard import later
from tessera.interventions.steering import steer, steered
from tessera.models.forward import CONTENT
from tessera.results.claims import judge, of_evidence
from tessera.steering.directions import directions, tells
from tessera.steering.effects import Scenario, claims, responses
from tessera.steering.erasers import NOTHING, erasers
from tessera.steering.measures import ERASERS, TITLES
from tessera.steering.reading import left, measure, source_of

PLACE = (LAYER, "resid_post")
OPTIONS = {"max_tokens": 16, "pool_massive": True}
ALPHAS = [0.2, 0.5, 1.0]
NAMED = (*TITLES, f"latent-{PLANTED}", "latent-5", f"clamp-{PLANTED}")


def asked(frame: pl.DataFrame) -> pl.DataFrame:
    """Every test text as a prompt; right is the word that the model reads off the sign."""
    test = frame.filter(split="test")
    right = (test["label"] == "dry").cast(pl.Int64)
    pair = pl.Series([list(ANSWERS)] * len(test))
    return test.select("id", "text").with_columns(choices=pair, names=pair, right=right)


def steering(folder: Path, model, place, frame: pl.DataFrame, names=NAMED, draws=5, alphas=ALPHAS, prompts=80):
    """The values of every direction, and whether it tells its class, as a study would find them."""
    source = source_of(place, folder / "decoder", "interventions.s", "wet", 1)
    neutral, values, told = frame.filter(split="train")["text"].to_list()[:8], {}, {}
    for name in names:
        found = directions(name, source, draws)
        for row in tells(source, found).to_dicts():
            told[name] = row
        sae = partial(Latents, model, folder / "encoder", folder / "decoder", PLACE)
        one = steered(model, PLACE, found, alphas, neutral, sae, where=CONTENT, **OPTIONS)
        out = folder / f"direction={name}"
        nothing = {"prompts": None, "tokens": 0, "samples": 0, "seed": 0, "read": None}
        steer(one, neutral, out, answered=asked(frame)[:prompts], **nothing)
        files = {"shards": [], "layer": None, "written": [], "judged": None}
        answered = {"choice": ANSWERS[0], "answered": folder / "data=d/examples.parquet"}
        values[name], _ = measure(out, {"d": place.task}, "interventions.s", "wet", **answered, **files)
    return values, told


def scenario_of(found) -> Scenario:
    values, told = found
    scenario = Scenario.of(values, perplexity=1e6, seed=0)
    scenario.tells = told
    return scenario


def verdicts(found) -> dict[str, str]:
    """Claim of chance → verdict."""
    rests = claims(scenario_of(found)).filter(pl.col("claim").str.ends_with("> chance"))
    return dict(judge([], joined=of_evidence(rests.with_columns(on=pl.lit("here")))).select("claim", "verdict").rows())


@pytest.fixture(scope="module", params=[True, False], ids=["read", "carried on"])
def studied(request, tmp_path_factory):
    """Is the direction read; the folder of a study; its model and place."""
    folder = tmp_path_factory.mktemp("planted")
    model = model_of(folder, request.param)
    return request.param, folder, model, place_of(folder, model, examples())


@pytest.fixture(scope="module")
def found(studied):
    """What steering did there."""
    _, folder, model, place = studied
    return steering(folder, model, place, examples())


def changes(values: pl.DataFrame, measure: str, controls: bool = False) -> list[float]:
    """Mean change at each α, ascending."""
    rows = values.filter(controls=controls, measure=measure)
    return rows.group_by("alpha").agg(pl.col("value").mean()).sort("alpha")["value"].to_list()


def test_steering_along_what_is_read_moves_the_answer_and_nothing_else_does(studied, found):
    is_read, values = studied[0], found[0]
    for name in ("probe", "correlation", "difference", "hidden", f"latent-{PLANTED}", f"clamp-{PLANTED}"):
        moved = changes(values[name], "answers")
        if is_read:
            assert (0.03 if name.startswith("clamp") else 0.1) < moved[0] < moved[1] < moved[2], name
            for other in (values["random"], values[name]):
                assert abs(changes(other, "answers", controls=True)[2]) < 0.5 * moved[2], name
        elif name != "hidden":  # whose weights lie outside of what states span too; nothing behind reads the others
            assert moved == pytest.approx([0, 0, 0], abs=1e-5)
            assert changes(values[name], "kl") == pytest.approx([0, 0, 0], abs=1e-5)
    assert changes(values["latent-5"], "answers") == pytest.approx([0, 0, 0], abs=1e-4)  # an SAE's other latent


def test_claims_hold_of_what_is_read_alone(studied, found):
    is_read, told = studied[0], verdicts(found)
    assert len(told) == len(NAMED) - 1
    assert told["steering by the probe's latents > chance"] != "fails"  # of five shuffles one finds the same latent
    for name in ("correlated latents", "the difference of means", f"latent {PLANTED}"):
        assert told[f"steering by {name} > chance"] == ("holds" if is_read else "undecided"), name
    assert told["steering by latent 5 > chance"] != "holds"


def test_half_of_the_prompts_chooses_the_strength_and_the_other_reports(studied, found):
    is_read = studied[0]
    rows = responses(scenario_of(found)).filter(direction="probe", controls=False, measure="answers")
    assert rows.group_by("half").agg(pl.col("prompts").first())["prompts"].to_list() == [40, 40]
    if is_read:
        assert rows.filter("best")["alpha"].to_list() == [1.0, 1.0]


def test_erasing_leaves_a_fresh_probe_at_chance_and_the_answer_without_the_label(studied):
    is_read, folder, model, place = studied
    frame, layers = examples(), later(LAYER, 4)
    source = source_of(place, folder / "decoder", "interventions.s", "wet", 1)
    sae = partial(Latents, model, folder / "encoder", folder / "decoder", PLACE)
    for name in (NOTHING, *ERASERS):
        erased = interventions_of(erasers(name, source, 2), model, sae)
        texts, prompts = frame["text"].to_list()[:8], asked(frame)
        erase(model, PLACE, erased, {"d": frame}, layers, texts, prompts, folder / f"erased={name}", **OPTIONS)
    found, tasks = {}, {"d": place.task}
    for name in ERASERS:
        random = None if name == "random" else folder / "erased=random"
        folders = folder / f"erased={name}", folder / f"erased={NOTHING}", random
        answered = {"answered": folder / "data=d/examples.parquet", "choice": ANSWERS[0]}
        found[name], rests = left(tasks, name, *folders, **answered)
        if name == "leace":
            verdicts = judge([], joined=of_evidence(rests.with_columns(on=pl.lit("here"))))
    plain = apart(folder / f"erased={NOTHING}")
    for name in ("leace", "probe", "difference"):
        rows = found[name].filter(measure="roc_auc").sort("at_layer")
        assert rows["before"].min() > 0.99 and abs(rows["after"][0] - 0.5) < 0.15, name
        assert abs(apart(folder / f"erased={name}")) < (0.1 * plain if is_read else 1e-5), name
    assert found["random"].filter(measure="roc_auc")["after"].min() > 0.95
    told = dict(verdicts.select("claim", "verdict").rows())
    by = "erased by LEACE more than by random, at"
    for claim in ("erased to chance by LEACE, at its layer", f"{by} its layer", f"{by} the last layer"):
        assert told[claim] == "holds"
    assert told["erased to chance by LEACE, at the last layer"] != "fails"


def apart(folder: Path) -> float:
    """How far the log-odds of texts of the two labels differ."""
    answers = pl.read_parquet(folder / "answers.parquet").filter(variant=0)
    odds = answers["log_probability"].list.get(0) - answers["log_probability"].list.get(1)
    return odds.filter(answers["right"] == 0).mean() - odds.filter(answers["right"] == 1).mean()


def test_directions_from_shuffled_labels_hold_no_claim(tmp_path):
    """In 20 repeats, of a model that reads one direction: labels that mean nothing may find it by luck."""
    model, frame, held, moved = model_of(tmp_path, True), examples(), [], 0
    for repeat in range(20):
        folder = tmp_path / f"repeat={repeat}"
        shutil.copytree(tmp_path / "sae", folder / "sae")
        labels = np.random.default_rng(repeat).permutation(frame["label"].to_numpy())
        shuffled = frame.with_columns(label=pl.Series(labels))
        place = place_of(folder, model, shuffled)
        found = steering(folder, model, place, shuffled, ("probe", "difference", "random"), 4, [1.0], prompts=24)
        told = verdicts(found)
        assert len(told) == 2
        held += [claim for claim, verdict in told.items() if verdict == "holds"]
        moved += changes(found[0]["probe"], "answers")[0] > 1
    assert held == [] and moved > 0
