"""The real workflow on a tiny study of texts and images side by side."""

import shutil
from pathlib import Path

import pictures
import polars as pl
import pytest
import tiny
import yaml
from runs import change, planned, snakemake, texts

SIZES = {**pictures.SIZES, "num_hidden_layers": 2}
NEW = {"model_type": "vit", **SIZES, "image_size": 8, "patch_size": 4}


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """A folder with a text model, a vision-language model, two data sets and a config; run once."""
    folder = tmp_path_factory.mktemp("visual")
    tiny.save_model("bert", folder / "bert")
    pictures.save_language("paligemma", folder / "pali")
    texts("w", 60, 0).write_csv(folder / "weather.csv")
    images, label = pictures.two_classes(80)
    (folder / "files").mkdir()
    for number, image in enumerate(images):
        (folder / f"files/{number}.png").write_bytes(image)
    names = [f"files/{number}.png" for number in range(len(images))]
    pl.DataFrame({"file": names, "bright": label}).write_csv(folder / "halves.csv")
    recipe = {"k": 4, "tokens": 1024, "steps": 8, "batch_tokens": 64}
    config = {
        "models": {
            "bert": {"path": "bert", "max_tokens": 16, "passes": [{1: []}]},
            "vit": {
                "reads": "image",
                "tuned": {"config": NEW, "data": "halves", "steps": 8, "batch": 16, "learning_rate": 0.003},
                "saes": "trained",
                "passes": [{1: [64]}],
            },
            "drawn": {"control_of": "vit", "passes": [{1: []}]},
            "pali": {"path": "pali", "reads": "image", "prompt": "the river", "passes": [{2: []}]},
        },
        "saes": {"trained": {"train": {"texts": ["halves"], **recipe}}},
        "datasets": {
            "weather": {"path": "weather.csv", "text": "sentence", "label": "class", "id": "key"},
            "halves": {"path": "halves.csv", "image": "file", "label": "bright"},
        },
        "grid": {"poolings": ["max"], "thresholds": ["none", 1]},
        "baselines": {"hidden": ["mean"], "tfidf": ["word"], "pixels": ["gray8"]},
        "probe": {"C": [0.1, 1], "folds": 3, "resamples": 100},
        "evidence": {"places": ["vit"], "k": 2, "draws": 2},
        "transfers": {"itself": {"sources": ["halves"], "fractions": [0.5, 1]}},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(config))
    snakemake(folder)
    return folder


def read(study, table):
    return pl.read_parquet(study / f"results/tables/{table}.parquet")


def test_latents_of_images_have_patches_as_contexts(study):
    contexts = read(study, "contexts").filter(pl.col("stratum").is_not_null())
    for marked in (contexts, read(study, "decision_latents")):
        assert len(marked) and marked["start"].list.drop_nulls().list.len().max() == 0
        for name in ("row", "column"):
            assert set(marked[name].explode()) <= {0, 1}  # 8 × 8 pixels in patches of 4 × 4
    assert set(read(study, "shown_latents")["promoted"]) == {None}
    assert not (study / "results/tables/ablations.parquet").exists()


def test_a_model_is_run_on_what_it_reads(study):
    rows = read(study, "scores").group_by("data", "features", "model").len().sort("data", "features", "model").rows()
    assert rows == [
        ("halves", "hidden", "drawn", 1),
        ("halves", "hidden", "pali", 1),
        ("halves", "hidden", "vit", 1),
        ("halves", "pixels", None, 1),
        ("halves", "sae", "vit", 2),
        ("weather", "hidden", "bert", 1),
        ("weather", "length", None, 1),
        ("weather", "tfidf", None, 1),
    ]
    best = read(study, "best").filter(data="halves")["contestant"].to_list()
    assert best == ["SAE", "hidden states", "pixels", "random hidden"]
    assert "SAE > pixels" in read(study, "claims").filter(on="halves")["claim"].to_list()
    assert (study / "results/figures/baselines.png").stat().st_size > 1000


def test_pixels_tell_which_half_is_bright(study):
    """Planted: the pixels tell it as often as it is true; the drawn model has seen no label."""
    scores = read(study, "scores").filter(data="halves")
    assert scores.filter(features="pixels")["macro_f1"][0] > 0.75


def test_images_transfer_as_texts_do(study):
    scores = read(study, "scores").filter(data="halves")
    native = read(study, "transfer").filter(fraction=1.0)
    assert sorted(native["features"].unique()) == ["hidden", "pixels", "sae"]
    for features in ("sae", "pixels"):
        expected = scores.filter(features=features)["macro_f1"].sort().to_list()
        assert native.filter(features=features)["macro_f1"].sort().to_list() == expected


def test_a_second_run_does_nothing(study):
    assert "Nothing to be done" in snakemake(study)


@pytest.fixture
def copy(study, tmp_path) -> Path:
    return Path(shutil.copytree(study, tmp_path / "copy"))


def test_no_test_image_is_trained_on(copy):
    """Other test images change neither the trained model nor what its SAE is trained on; other training images do."""
    cache = next((copy / "results/residuals/model=vit/pass=0").iterdir()).relative_to(copy)
    made = ["results/models/model=vit", str(cache)]
    files = [copy / made[0] / "model.safetensors", copy / made[1] / "layer=1.npy"]

    def again(split):
        examples = pl.read_parquet(copy / "results/examples/data=halves/examples.parquet").filter(split=split)
        for number in examples["id"][:3]:
            (copy / f"files/{number}.png").write_bytes(pictures.encode(pictures.picture(int(number), (8, 8))))
        for folder in ("examples", "models", "residuals"):
            shutil.rmtree(copy / "results" / folder)
        snakemake(copy, "--", *made)
        return [file.read_bytes() for file in files]

    before = [file.read_bytes() for file in files]
    assert again("test") == before
    assert not any(old == new for old, new in zip(before, again("train"), strict=True))


def test_another_text_set_touches_no_image(copy):
    change(copy, lambda config: config["datasets"].update(more={**config["datasets"]["weather"]}))
    jobs = planned(copy)
    assert {rule: jobs[rule] for rule in ("examples", "extract", "probe_hidden", "probe_tfidf")} == dict.fromkeys(
        ("examples", "extract", "probe_hidden", "probe_tfidf"), 1
    )
    assert not {"tune", "train_sae", "probe_pixels"} & jobs.keys()


def test_a_broken_image_is_named_in_one_line(copy):
    (copy / "files/7.png").write_bytes(b"no image")
    shutil.rmtree(copy / "results/examples")
    printed = snakemake(copy, "--", "results/examples/data=halves/examples.parquet", fails=True)
    assert "examples: error: config key datasets.halves.image: row 7 has an image that cannot be read" in printed
    (copy / "files/7.png").unlink()
    printed = snakemake(copy, fails=True)
    assert "error: config key datasets.halves.image: row 7 has an image file that is not there" in printed
    assert "Traceback" not in printed


def test_images_without_a_model_of_images_end_in_one_line(copy):
    def edit(config):
        config["models"] = {"bert": config["models"]["bert"]}
        del config["transfers"]

    change(copy, edit)
    printed = snakemake(copy, fails=True)
    assert "error: config key datasets.halves: it holds images, and no model reads any" in printed
