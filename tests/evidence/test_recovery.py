"""Recovery of known directions: MCC is SAELens' own, a perfect SAE has them all, a random one what chance gives."""

import json

import numpy as np
import polars as pl
import pytest
import torch
from sae_lens.synthetic import mean_correlation_coefficient
from safetensors.numpy import save_file
from tessera.base.errors import TesseraError
from tessera.evidence.recovery import match, mcc, read_truth, recover, recovery, true_latents

PLACE = "model=m/layer=0/width=40"


def rows(number, seed, dimensions=16):
    return np.random.default_rng(seed).standard_normal((number, dimensions))


@pytest.mark.parametrize("latents", [5, 24, 60])
def test_mcc_is_that_of_saelens(latents):
    ours = mcc(rows(latents, 0), rows(24, 1))
    theirs = mean_correlation_coefficient(torch.from_numpy(rows(latents, 0)), torch.from_numpy(rows(24, 1)))
    assert ours == pytest.approx(theirs, abs=1e-6)


def test_latents_in_another_order_of_another_sign_and_size_are_the_directions():
    directions_FD = rows(24, 0)
    generator = np.random.default_rng(1)
    order = generator.permutation(24)
    latents_WD = directions_FD[order] * generator.choice([-3, 0.1, 2], (24, 1))
    latent_F, cosine_F = match(np.vstack([rows(9, 2), latents_WD]), directions_FD)
    assert order[latent_F - 9].tolist() == [*range(24)] and cosine_F == pytest.approx(np.ones(24))
    found = recovery(latents_WD, directions_FD, seed=0)
    assert (found["mcc"], found["recovered"]) == (pytest.approx(1), 1)
    assert found["null_mcc"] < found["null_high"] < 0.7


def test_of_fewer_latents_than_directions_the_others_are_not_recovered():
    directions_FD = rows(24, 0)
    latent_F, cosine_F = match(directions_FD[:6], directions_FD)
    assert latent_F.tolist() == [*range(6)] + [-1] * 18 and cosine_F[6:].tolist() == [0] * 18
    found = recovery(directions_FD[:6], directions_FD, seed=0)
    assert found["mcc"] == pytest.approx(1) and found["recovered"] == 6 / 24


@pytest.mark.parametrize("latents", [12, 24, 60])
def test_random_latents_come_to_their_null(latents):
    directions_FD = rows(24, 0)
    spread = [recovery(rows(latents, seed), directions_FD, seed=0) for seed in range(100, 140)]
    above = np.array([one["mcc"] - one["null_mcc"] for one in spread])
    assert abs(above.mean()) < 4 * above.std() / np.sqrt(len(above)) + 0.01
    assert np.mean([one["mcc"] > one["null_high"] for one in spread]) < 0.2  # of 21 the largest, one time in 21


def test_a_latent_that_writes_nothing_is_no_direction():
    assert mcc(np.zeros((24, 16)), rows(24, 0)) == 0


def weighed():
    """Latents 0 to 9: for `yes` speak 3, 1, 7 and 5, in this order; 2 and 4 speak against it."""
    weight = {3: 2.0, 1: 1.0, 7: 0.5, 5: 0.1, 2: -3.0, 4: -1.0}
    gap = {3: 0.9, 2: 0.8, 1: 0.7, 7: 0.2, 4: 0.1, 5: 0.05}
    found = [
        {"class": "yes", "latent": one, "weight": weight.get(one, 0.0), "gap": gap.get(one, 0)} for one in range(10)
    ]
    frame = pl.DataFrame(found).with_columns(
        rank_contribution_gap=pl.col("gap").rank("ordinal", descending=True).cast(pl.Int64)
    )
    return pl.concat([frame, frame.with_columns(pl.lit("no").alias("class"), weight=-pl.col("weight"))])


def test_a_true_latent_has_its_rank_among_those_that_speak_for_the_class():
    latent_F, cosine_F = np.array([3, 7, 2, -1]), np.array([0.99, 0.95, 0.97, 0])
    found = pl.DataFrame(true_latents({"yes": [0, 1], "no": [2, 3]}, latent_F, cosine_F, weighed()))
    assert found.select("class", "direction", "latent", "rank", "precision", "null_precision").rows() == [
        ("yes", 0, 3, 1, 0.5, 0.2),
        ("yes", 1, 7, 3, 0.5, 0.2),
        ("no", 2, 2, 1, 0.5, 0.2),
        ("no", 3, None, None, 0.5, 0.2),
    ]


def save_truth(file, directions_FD, **metadata):
    save_file({"directions": directions_FD.astype(np.float32)}, file, metadata)
    return str(file)


def test_a_table_has_a_row_per_sae_and_one_per_direction_of_a_class(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    directions_FD = rows(24, 0)
    truth = save_truth(tmp_path / "truth.safetensors", directions_FD, made_by=json.dumps({"d": {"yes": [4]}}))
    decoder = tmp_path / f"saes/{PLACE}/decoder.safetensors"
    places = [tmp_path / f"evidence/{PLACE}/data={data}/latents.parquet" for data in "de"]
    for file in (decoder, *places):
        file.parent.mkdir(parents=True)
    save_file({"W_dec": np.vstack([directions_FD, rows(16, 1)]).astype(np.float32)}, decoder)
    for file in places:
        weighed().write_parquet(file)
    tables = recover({"m": truth}, [str(decoder)], [*map(str, places)], seed=0)
    (sae,) = tables["recovery"].to_dicts()
    assert (sae["model"], sae["layer"], sae["width"], sae["latents"], sae["directions"]) == ("m", 0, "40", 40, 24)
    assert sae["mcc"] == pytest.approx(1)
    (latent,) = tables["true_latents"].to_dicts()  # of `e` nothing is known
    assert (latent["data"], latent["latent"], latent["rank"]) == ("d", 4, None)
    assert not len(recover({"m": truth}, [str(decoder)], [], seed=0)["true_latents"])


@pytest.mark.parametrize(
    ("directions", "made_by", "reason"),
    [
        (rows(24, 0)[0], "{}", r"shape \(16,\)"),
        (rows(24, 0), '{"d": {"yes": [24]}}', r"made_by names \[24\]"),
        (rows(24, 0), '{"d": [3]}', "no attribute"),
        (rows(24, 0), "{", "Expecting"),
    ],
)
def test_a_file_of_another_form_ends_in_one_line(tmp_path, directions, made_by, reason):
    path = save_truth(tmp_path / "truth.safetensors", directions, made_by=made_by)
    with pytest.raises(TesseraError, match=f"truth.safetensors holds no known directions .*{reason}"):
        read_truth(path)


def test_other_files_end_in_one_line(tmp_path):
    (tmp_path / "text").write_text("no tensor at all")
    save_file({"other": rows(2, 0)}, tmp_path / "other")
    for name in ("text", "other", "nowhere"):
        with pytest.raises(TesseraError, match="holds no known directions"):
            read_truth(str(tmp_path / name))


def test_directions_of_another_size_end_in_one_line(tmp_path):
    decoder = tmp_path / f"{PLACE}/decoder.safetensors"
    decoder.parent.mkdir(parents=True)
    save_file({"W_dec": rows(40, 0).astype(np.float32)}, decoder)
    truth = save_truth(tmp_path / "truth.safetensors", rows(24, 0, dimensions=8))
    with pytest.raises(TesseraError, match=r"models\.m\.truth: its directions have 8 dimensions, the latents of .* 16"):
        recover({"m": truth}, [str(decoder)], [], seed=0)
