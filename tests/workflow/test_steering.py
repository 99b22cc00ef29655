"""Interventions through the real workflow: a tiny model steered and erased, read by another model and by a judge."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tiny
import yaml
from evident import rows
from runs import change, planned, snakemake
from tessera.results.catalogue import TABLES
from tessera.results.intervention_entries import TABLES as OURS

STEERED = ("difference", "random", "latent-3", "clamp-7")


class Judge(BaseHTTPRequestHandler):
    """Scores a text by its length."""

    asked = 0

    def do_POST(self):
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][0]["content"]
        type(self).asked += 1
        content = json.dumps({"choices": [{"message": {"content": f"Score: {len(question) % 11}"}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """A causal model steered along three directions, and an encoder without a head, read at a later layer."""
    folder = tmp_path_factory.mktemp("steering") / "study"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Judge)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    tiny.save_model("llama", folder / "big", causal=True)
    tiny.save_model("bert", folder / "small")
    tiny.save_sae(folder / "sae", "jumprelu", width=96)
    rows(0).write_csv(folder / "here.csv")
    rows(1).write_csv(folder / "there.csv")
    prompts = rows(2).select(prompt="text").with_columns(good=pl.lit("the hill"), bad=pl.lit("a river"))
    prompts.write_csv(folder / "prompts.csv")
    model = {"max_tokens": 16, "activation_dtype": "float32", "saes": "own"}
    short = {"alphas": [0.5, 1.0], "draws": 2, "neutral": ["there"], "others": ["there"]}
    config = {
        "models": {
            "big": {"path": "big", **model, "passes": [{1: [96]}]},
            "small": {"path": "small", **model, "data": ["here", "there"], "passes": [{1: [96], 3: []}]},
        },
        "saes": {"own": {"path": "sae"}},
        "datasets": {
            "here": {"path": "here.csv"},
            "there": {"path": "there.csv"},
            "acts": {"path": "prompts.csv", "text": "prompt", "answered": {"model": "big", "choices": ["good", "bad"]}},
        },
        "interventions": {
            "wet": {
                **short,
                "place": "big/1/96/here",
                "class": "wet",
                "directions": ["difference", "random"],
                "latents": [3],
                "clamps": [7],
                "answers": {"data": "acts", "choice": "good"},
                "prompts": {"texts": ["the cat", "a river", "old birds sing", "rain falls on"], "tokens": 4},
                "reader": "small/3",
                "judge": {
                    "url": f"http://127.0.0.1:{server.server_port}/v1",
                    "model": "judge",
                    "question": "How wet? {text}",
                },
                "erase": ["leace", "random"],
            },
            "early": {
                **short,
                "place": "small/1/96/here",
                "class": "wet",
                "directions": ["difference", "random"],
                "reader": "small/3",
                "erase": ["probe"],
            },
        },
        "grid": {"poolings": ["sum"], "thresholds": ["none"]},
        "baselines": {"hidden": ["mean"], "tfidf": [], "length": False},
        "probe": {"C": [0.1, 1], "folds": 2, "resamples": 100},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(config))
    snakemake(folder)
    yield folder
    server.shutdown()


def table(study: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(study / f"results/tables/{name}.parquet")


def test_every_table_is_there_and_has_rows(study):
    for entry in OURS:
        found = table(study, entry.name)
        TABLES[entry.name].check(found.columns)
        assert len(found), entry.name
    for figure in ("scenario=wet/steering", "scenario=early/steering", "scenario=wet/erasure"):
        assert (study / f"results/figures/{figure}.png").stat().st_size > 10_000


def test_every_direction_has_what_was_asked_of_it(study):
    found = table(study, "interventions")
    wet = found.filter(scenario="wet")
    assert {*wet["direction"]} == {*STEERED} and {*wet["alpha"]} == {0.5, 1.0}
    measures = {"answers", "reader", "tfidf", "judge", "perplexity", "kl", "repetition", "selectivity"}
    assert {*wet["measure"]} - {"side_effects"} == measures
    assert {*found.filter(scenario="early")["measure"]} == {"states"}  # an encoder predicts no tokens
    best = wet.filter("best", controls=False, half="report").group_by("direction", "measure", "of").len()
    assert set(best["len"]) == {1}
    assert (wet["unit"] > 0).all() and wet.filter(pl.col("direction") != "clamp-7")["unit"].n_unique() == 1


def test_changes_are_those_of_what_the_model_answered(study):
    told = pl.read_parquet(study / "results/steered/scenario=wet/direction=difference/answers.parquet")
    variants = pl.read_parquet(study / "results/steered/scenario=wet/direction=difference/variants.parquet")
    odds = told.with_columns(odds=pl.col("log_probability").list.get(0) - pl.col("log_probability").list.get(1)).join(
        variants, on="variant"
    )
    plain = odds.filter(variant=0).select("id", plain="odds")
    after = odds.filter(draw=0, alpha=1.0).join(plain, on="id")
    rows_ = table(study, "interventions").filter(
        scenario="wet", direction="difference", controls=False, measure="answers", alpha=1.0
    )
    mean = (rows_["change"] * rows_["prompts"]).sum() / rows_["prompts"].sum()
    assert rows_["prompts"].sum() == len(after)
    assert mean == pytest.approx((after["odds"] - after["plain"]).mean(), abs=1e-9)


def test_no_prompt_is_one_that_directions_were_made_from(study):
    log = (study / "logs/steer/scenario=wet/direction=difference.log").read_text()
    assert "24 prompts, 0 left out: directions are made from them" in log
    asked = pl.read_parquet(study / "results/steered/scenario=wet/direction=difference/answers.parquet")["id"]
    examples = pl.read_parquet(study / "results/examples/data=acts/examples.parquet")
    assert {*asked} == {*examples.filter(split="test")["id"].cast(pl.String)}


def test_what_is_written_stands_beside_what_its_readers_say(study):
    texts = table(study, "written_texts")
    assert len(texts) == sum(4 * 2 * variants for variants in (1 + 3 * 2, 1 + 2 * 2, 1 + 3 * 2, 1 + 3 * 2))
    assert texts["judge"].is_between(0, 1).all() and texts["reader"].drop_nulls().is_between(0, 1).all()
    assert texts.filter(alpha=0)["draw"].is_null().all()
    plain = texts.filter(alpha=0).group_by("prompt", "sample").agg(pl.col("text").n_unique())
    assert plain["text"].to_list() == [1] * 8  # the plain model writes the same in every job


def test_the_judge_was_asked_each_text_once(study):
    """But for those that two jobs asked at the same time: what the plain model wrote."""
    texts = table(study, "written_texts")["text"].unique()
    assert 0 <= Judge.asked - len([text for text in texts if text.strip()]) <= 2 * 8


def test_erasing_has_the_plain_model_beside_it(study):
    found = table(study, "erasure")
    assert {*found.filter(scenario="early")["measure"]} == {"macro_f1", "roc_auc"}  # an encoder answers nothing
    found = found.filter(scenario="wet")
    assert {*found["eraser"]} == {"leace", "random"}
    probed = found.filter(measure="roc_auc", eraser="leace")
    assert {*probed["read"]} == {"here", "there"} and probed["at_layer"].min() == 1
    first = probed.filter(read="here", at_layer=1).row(0, named=True)
    assert first["before"] > 0.9 and abs(first["after"] - 0.5) < 0.25
    assert {*found.filter(pl.col("read").is_null())["measure"]} == {"perplexity", "kl", "answers", "decided", "turned"}


def test_claims_have_what_interventions_rest_on(study):
    claims = table(study, "claims")
    named = [*claims.filter(pl.col("on").str.starts_with("wet"))["claim"].unique()]
    assert (
        "steering by the difference of means > chance" in named and "erased to chance by LEACE, at its layer" in named
    )
    assert not [name for name in named if name.startswith("random")]
    low, high = (claims[f"difference_{end}"] for end in ("low", "high"))
    assert (claims["difference"] >= low - 1e-9).all() and (claims["difference"] <= high + 1e-9).all()


def test_a_latent_more_runs_its_own_jobs_alone(study):
    change(study, lambda config: config["interventions"]["wet"].update(latents=[3, 5]))
    jobs = planned(study)
    change(study, lambda config: config["interventions"]["wet"].update(latents=[3]))
    own = {"find_directions": 1, "steer": 1, "read_written": 1, "judge_written": 1, "measure_steering": 1}
    assert own.items() <= jobs.items()
    assert not {"extract", "erase", "probe_sae", "measure_erasure", "find_eraser"} & {*jobs}


def test_a_strength_more_steers_anew_and_finds_no_direction_again(study):
    change(study, lambda config: config["interventions"]["early"].update(alphas=[0.5, 1.0, 2.0]))
    jobs = planned(study)
    change(study, lambda config: config["interventions"]["early"].update(alphas=[0.5, 1.0]))
    assert jobs["steer"] == 2 and not {"find_directions", "erase", "extract"} & {*jobs}
    assert planned(study) == {}


def test_mean_states_of_erased_tokens_are_erased_mean_states(study):
    """The affine map of LEACE commutes with the mean over tokens: what a probe is fitted on has no label."""
    eraser = pl.read_parquet(study / "results/erasers/scenario=wet/eraser=leace/erasers.parquet").row(0, named=True)
    states = {}
    for name in ("leace", "nothing"):
        file = study / f"results/erased/scenario=wet/eraser={name}/data=here/hidden/set=0/layer=1.parquet"
        found = pl.read_parquet(file, hive_partitioning=False).sort("example")
        states[name] = found["sum"].to_numpy() / found["tokens"].to_numpy()[:, None]
    left_DN, right_ND, centre_D = (np.array(eraser[part]) for part in ("left", "right", "centre"))
    expected = states["nothing"] - ((states["nothing"] - centre_D) @ right_ND.T) @ left_DN.T
    np.testing.assert_allclose(states["leace"], expected, atol=1e-4)
    labels = pl.read_parquet(study / "results/examples/data=here/examples.parquet").sort("example")
    train = (labels["split"] == "train").to_numpy()
    wet = (labels["label"] == "wet").to_numpy()
    gap = states["leace"][train & wet].mean(axis=0) - states["leace"][train & ~wet].mean(axis=0)
    assert np.abs(gap).max() < 1e-4 < np.abs(states["nothing"][train & wet].mean(axis=0)).max()
