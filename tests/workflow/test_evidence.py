"""Evidence through the real workflow: from a tiny causal model and its SAE to latents, contexts, ablations, claims."""

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from runs import change, planned
from sae_lens import SAE
from tessera.base.errors import TesseraError
from tessera.results.catalogue import TABLES
from tessera.results.evidence_entries import TABLES as OURS
from tessera.study.config import load
from transformers import AutoModelForCausalLM, AutoTokenizer

PLACE = "model=big/layer=1/width=96"


@pytest.fixture
def study(evident) -> Path:
    return evident


def table(study: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(study / f"results/tables/{name}.parquet")


def test_every_table_of_evidence_is_there_and_has_rows(study):
    for entry in (one for one in OURS if one.rule == "evidence_tables"):
        found = table(study, entry.name)
        TABLES[entry.name].check(found.columns)
        assert len(found), entry.name


def test_claims_have_the_evidence(study):
    claims = table(study, "claims")
    for claim, number in (
        ("4 latents suffice", 2),
        ("4 latents necessary in the model", 2),
        ("latents fire for their class in the target", 1),
    ):
        assert len(claims.filter(claim=claim)) == number, claim


def raw_activations(study: Path, texts: list[str]) -> list[tuple[np.ndarray, list[tuple[int, int]]]]:
    """Activations [T, W] and character spans of the content tokens, by plain transformers and SAELens."""
    model = AutoModelForCausalLM.from_pretrained(study / "big").eval()
    tokenizer, sae = AutoTokenizer.from_pretrained(study / "big"), SAE.load_from_disk(study / "sae")
    found = []
    for text in texts:
        encoded = tokenizer(text, return_offsets_mapping=True, truncation=True, max_length=16)
        with torch.no_grad():
            ids = torch.tensor([encoded["input_ids"]])
            state_TD = model(ids, output_hidden_states=True).hidden_states[2][0]
            acts_TW = sae.encode(state_TD).numpy()
        found.append((acts_TW[1:], encoded["offset_mapping"][1:]))  # without BOS
    return found


def test_contexts_are_those_of_the_raw_model(study):
    contexts = table(study, "contexts").filter(pl.col("stratum").is_not_null(), data="here").sample(12, seed=0)
    raw = raw_activations(study, contexts["text"].to_list())
    for row, (acts_TW, spans) in zip(contexts.iter_rows(named=True), raw, strict=True):
        fires = np.flatnonzero(acts_TW[:, row["latent"]])
        assert [*zip(row["start"], row["end"], strict=True)] == [tuple(spans[token]) for token in fires]
        assert row["activation"] == pytest.approx(acts_TW[fires, row["latent"]].tolist(), abs=1e-4)


def test_contributions_are_those_of_the_raw_model(study):
    examples = pl.read_parquet(study / "results/examples/data=here/examples.parquet")
    test = examples.filter(split="test")
    pooled_EW = np.stack([acts_TW.sum(axis=0) for acts_TW, _ in raw_activations(study, test["text"].to_list())])
    place = {"features": "sae", "data": "here"}
    weights = table(study, "coefficients").filter(pl.col("latent").is_not_null(), **place)
    latents = table(study, "latents").filter(pl.col("class") == "wet", data="here")
    both = latents.join(weights.select("latent", "scale", w="weight"), on="latent", how="inner")
    assert len(both) > 30
    expected = both["w"].to_numpy() * pooled_EW.mean(axis=0)[both["latent"].to_numpy()] / both["scale"].to_numpy()
    assert both["contribution"].to_numpy() == pytest.approx(expected, abs=1e-4)


def test_decisions_are_those_of_the_predictions_as_sums_of_what_fires(study):
    decided, listed = (table(study, name).filter(data="here") for name in ("decisions", "decision_latents"))
    told = table(study, "predictions").filter(features="sae", data="here", repeat=0)
    both = decided.join(told.select("example", "probability", told="predicted"), on="example")
    assert both["predicted"].equals(both["told"]) and {*both["example"]} == {*told["example"]}
    odds = both["probability"].list.to_array(2).to_numpy()
    wet_E = np.log(odds[:, 1] / odds[:, 0]) * np.where(both["class"] == "wet", 1, -1)
    assert both["decision"].to_numpy() == pytest.approx(wet_E, abs=1e-4)
    sums = listed.group_by("example").agg(pl.col("contribution").sum())
    whole = decided.filter(pl.col("class") == pl.col("predicted")).join(sums, on="example", how="left").fill_null(0)
    total = whole["intercept"] + whole["contribution"] + whole["others"]
    assert total.to_numpy() == pytest.approx(whole["decision"].to_numpy(), abs=1e-9)


def test_the_tokens_of_a_decision_are_those_of_the_raw_model(study):
    texts = pl.read_parquet(study / "results/examples/data=here/examples.parquet").select("example", "text")
    listed = table(study, "decision_latents").filter(data="here").sample(12, seed=0).join(texts, on="example")
    raw = raw_activations(study, listed["text"].to_list())
    for row, (acts_TW, spans) in zip(listed.iter_rows(named=True), raw, strict=True):
        fires = np.flatnonzero(acts_TW[:, row["latent"]])
        assert [*zip(row["start"], row["end"], strict=True)] == [tuple(spans[token]) for token in fires]
        assert row["activation"] == pytest.approx(acts_TW[fires, row["latent"]].tolist(), abs=1e-4)


def test_histograms_hold_every_token_that_fires_a_shown_latent(study):
    counted = table(study, "latent_histograms").filter(data="here").group_by("latent").agg(pl.col("tokens").sum())
    shards = study.glob("results/activations/model=big/data=here/pass=0/shard=*/latents/layer=1/width=96.parquet")
    rows = pl.concat([pl.read_parquet(file, hive_partitioning=False) for file in shards])
    fired = rows.select(latent=pl.col("latent").explode().cast(pl.Int64)).group_by("latent").len("tokens")
    shown = table(study, "shown_latents").filter(data="here").select("latent").unique()
    expected = fired.join(shown, on="latent", how="semi")
    assert sorted(counted.rows()) == sorted(expected.rows()) and len(counted)


def test_shown_latents_have_names_tokens_and_pages(study):
    shown = table(study, "shown_latents").filter(data="here")
    for row in shown.iter_rows(named=True):
        assert row["explanation"] == f"about {row['latent']}" and row["neuronpedia"].endswith(
            f"/big/1-own/{row['latent']}"
        )
        assert len(row["promoted"].split()) == 10
    assert set(shown.filter(pl.col("nth").is_null())["latent"]) == {3}


def test_taking_out_nothing_is_the_plain_pass_bit_for_bit(study):
    for shard in (0, 1):
        plain = study / f"results/activations/model=big/data=here/pass=0/shard={shard}/hidden/layer=1.parquet"
        nothing = study / f"results/ablations/{PLACE}/data=here/shard={shard}/hidden/set=0/layer=1.parquet"
        both = [pl.read_parquet(file, hive_partitioning=False).sort("example") for file in (plain, nothing)]
        assert both[0].equals(both[1])


def test_every_set_has_its_drop_at_every_later_layer_for_every_class(study):
    drops = table(study, "ablations").filter(data="here")
    assert set(drops["at_layer"]) == {1, 2, 3} and set(drops["kind"]) == {
        "probe",
        "class",
        "random",
        "difference",
        "all",
    }
    assert set(drops["of"]) == {None, "wet", "dry"}
    assert set(drops["metric"]) == {"macro_f1", "roc_auc"}
    own = drops.filter(at_layer=1, states="computed")["drop"]
    assert own.abs().max() == pytest.approx(0, abs=1e-9)  # there nothing is computed yet
    assert table(study, "harm").filter(data="here", kind="all")["kl"][0] > 0


def test_answers_change_where_the_model_answered(study):
    answers = table(study, "ablated_answers")
    assert set(answers["data"]) == {"acts"} and set(answers["choice"]) == {"good", "bad"}
    assert answers.filter(kind="all")["change"].abs().min() > 0


def test_what_is_shown_may_change_without_a_pass_of_the_model(study):
    change(study, lambda config: config["evidence"].update(latents=3))
    jobs = planned(study)
    change(study, lambda config: config["evidence"].update(latents=2))
    assert jobs["weigh_latents"] == 2 and not {"extract", "ablate", "choose_sets", "probe_sae"} & set(jobs)


@pytest.mark.parametrize(
    ("section", "reason"),
    [
        (
            {"places": ["nobody/1"]},
            "evidence.places: 'nobody/1' names no SAE of a trained model; for example big/1/96",
        ),
        ({"places": ["big/1/96/here"], "in_model": ["big"]}, "evidence.in_model: 'big/1/96/acts' is not in"),
        ({"places": ["big"], "neutral": ["nowhere"]}, "evidence.neutral: 'nowhere' is not there; allowed: "),
    ],
)
def test_wrong_places_end_in_one_line(study, section, reason):
    config = yaml.safe_load((study / "study.yaml").read_text()) | {"evidence": section}
    config["models"]["big"]["path"] = str(study / "big")
    config["saes"]["own"]["path"] = str(study / "sae")
    with pytest.raises(TesseraError, match=re.escape(f"config key {reason}")):
        load(config)
