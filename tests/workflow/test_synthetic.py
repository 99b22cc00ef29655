"""The real workflow on a small planted world: is it found what was planted, and nothing where nothing was trained?"""

from pathlib import Path

import polars as pl
import pytest
import tiny
import torch
import yaml
from runs import planned, snakemake
from sae_lens import SAE, JumpReLUSAE, JumpReLUSAEConfig
from sae_lens.synthetic import mean_correlation_coefficient
from safetensors.torch import load_file, save_file
from tessera.models.planting import World, plant

WORLD = World(directions=24, dimensions=20, words=1024, firing=(0.04, 0.06), length=8, texts=400)
TRUTH = "planted/truth.safetensors"
TARGETS = [f"results/figures/{name}.png" for name in ("recovery", "true_latents")]


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """A folder with a world, its study's config, and two SAEs: the directions themselves, and random ones."""
    folder = tmp_path_factory.mktemp("synthetic")
    plant(folder / "planted", WORLD)
    perfect = JumpReLUSAE(JumpReLUSAEConfig(d_in=WORLD.dimensions, d_sae=WORLD.directions))
    directions_FD = load_file(folder / TRUTH)["directions"]
    with torch.no_grad():
        perfect.W_dec.copy_(directions_FD)
        perfect.W_enc.copy_(directions_FD.T)
        perfect.threshold.fill_(0.6)
    perfect.save_model(folder / "perfect/24")
    tiny.save_sae(folder / "random/24", "jumprelu", width=WORLD.directions, d_in=WORLD.dimensions)
    config = yaml.safe_load((Path(__file__).parents[2] / "config/synthetic.yaml").read_text())
    config["models"]["planted"]["passes"] = [{0: [48, "24_perfect", "24_random"]}]
    config["saes"] = {name: {"path": f"{name}/{{width}}"} for name in ("perfect", "random")} | {
        "sparse": {"train": {"texts": ["one", "twin"], "k": 2, "tokens": 2400, "batch_tokens": 256}}
    }
    config["datasets"] = {data: config["datasets"][data] for data in ("one", "twin")}
    config["grid"]["poolings"] = ["max"]
    config["evidence"]["places"] = ["planted/0/48/one", "planted/0/24_perfect"]
    (folder / "study.yaml").write_text(yaml.safe_dump(config))
    snakemake(folder, "--", *TARGETS)
    return folder


def table(study: Path, name: str, **place: str) -> list[dict]:
    return pl.read_parquet(study / f"results/tables/{name}.parquet").filter(**place).to_dicts()


def test_an_sae_of_the_directions_has_them_all_and_a_random_one_what_chance_gives(study):
    (perfect,), (random,) = (table(study, "recovery", width=f"24_{name}") for name in ("perfect", "random"))
    assert perfect["mcc"] == pytest.approx(1) and perfect["recovered"] == 1
    assert random["mcc"] == pytest.approx(random["null_mcc"], abs=0.05) and random["recovered"] < 0.1


def test_a_trained_sae_is_clearly_above_chance(study):
    (trained,) = table(study, "recovery", width="48")
    assert trained["mcc"] > trained["null_high"] + 0.2 and trained["recovered"] > 0.4


def test_mcc_is_that_of_what_saelens_saved(study):
    saved = SAE.load_from_disk(study / "results/saes/model=planted/layer=0/width=48/saelens")
    theirs = mean_correlation_coefficient(saved.W_dec.detach(), load_file(study / TRUTH)["directions"])
    assert table(study, "recovery", width="48")[0]["mcc"] == pytest.approx(theirs, abs=1e-6)


def test_the_first_latent_of_a_label_is_that_of_its_direction(study):
    for one in table(study, "true_latents", data="one"):
        assert (one["class"], one["direction"], one["rank"], one["precision"]) == ("with", 0, 1, 1)
    (perfect,) = table(study, "true_latents", data="twin")  # the latent of its twin, which fires with it, is not first
    assert (perfect["direction"], perfect["latent"], perfect["rank"]) == (10, 10, 1)


def test_other_knowledge_runs_no_other_job_again(study):
    save_file(load_file(study / TRUTH), study / TRUTH)  # without what makes which label
    assert planned(study, "--", *TARGETS) == {"recovery": 1, "draw_recovery": 1}
