"""A probe that left its study: what the folder holds, and that it tells texts what the study told them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import tessera
import tiny
from runs import snakemake
from sae_lens import SAE
from tessera.base.errors import TesseraError
from tessera.exports.code import POOLINGS, code
from tessera.features.pooling import POOLINGS as EVERY

CELLS = ("sae/bert/1/64/weather/sum/none/none/logistic", "sae/bert/1/64/own/max/1.0/anova-4/logistic")
SCRIPTS = Path(tessera.__file__).parents[1]


@pytest.fixture(scope="module")
def exported(study, tmp_path_factory):
    """A finished study with two exported probes, and those of its best cells."""
    folder = Path(shutil.copytree(study, tmp_path_factory.mktemp("exports") / "study"))
    snakemake(folder, "export", *(str(folder_of(Path(), cell)) for cell in CELLS))
    return folder


def folder_of(exported, cell):
    return exported / "results/exports" / f"cell={cell.replace('/', ',')}"


def told(exported, cell):
    """The test texts of a cell's first repeat, and what the study told of them."""
    opened = tessera.open(exported / "results").cell(cell)
    examples = pl.read_parquet(exported / f"results/examples/data={opened.place['data']}/examples.parquet")
    predictions = opened.predictions.filter(repeat=0, split="test")
    return predictions.join(examples.select("example", "text"), on="example", how="left", maintain_order="left")


@pytest.mark.parametrize("cell", CELLS)
def test_it_tells_what_the_study_told_to_the_last_bit_in_a_fresh_process(exported, cell):
    """Where the study ran, as its model is found from there."""
    wanted = told(exported, cell).sample(fraction=0.6, shuffle=True, seed=0)  # in another order, beside other texts
    wanted.select("text").write_parquet(exported / "texts.parquet")
    code = f"""
import polars as pl, tessera
probe = tessera.load_probe({str(folder_of(exported, cell))!r})
found = probe.predict(pl.read_parquet("texts.parquet")["text"])
found.with_columns(classes=pl.lit(",".join(probe.classes))).write_parquet("found.parquet")
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=exported, capture_output=True, text=True, env={"PYTHONPATH": str(SCRIPTS)})
    assert done.returncode == 0, done.stderr
    found = pl.read_parquet(exported / "found.parquet")
    assert found["predicted"].to_list() == wanted["predicted"].to_list()
    classes = found["classes"][0].split(",")
    rows = found.select(f"probability_{name}" for name in classes).rows()
    assert [*map(list, rows)] == wanted["probability"].to_list()


@pytest.mark.parametrize("cell", CELLS)
def test_the_code_of_the_card_gives_the_same_without_tessera(exported, cell, monkeypatch):
    probe, wanted = tessera.load_probe(folder_of(exported, cell)), told(exported, cell)
    block = re.findall(r"```python\n(.*?)```", probe.card, re.DOTALL)[-1]
    assert "tessera" not in block
    monkeypatch.chdir(exported)
    names: dict = {}
    exec(block.replace('FOLDER = "."', f"FOLDER = {str(probe.folder)!r}"), names)
    for text, probability in wanted.select("text", "probability").rows():
        assert names["probabilities"](text).tolist() == pytest.approx(probability, abs=1e-3)


def test_the_card_says_what_the_study_says(exported):
    card = tessera.load_probe(folder_of(exported, CELLS[0])).card
    for words in (
        "`dry`, `wet`",
        "SAE > hidden states",
        "near-duplicates in training",
        "| late",
        "`weather` (96 texts)",
    ):
        assert words in card
    assert "| own" not in card  # another data set


def test_the_sae_is_as_saelens_saves_it(exported):
    sae = SAE.load_from_disk(folder_of(exported, CELLS[0]) / "sae", device="cpu")
    assert sae.cfg.d_sae == 64 and sae.cfg.architecture() == "jumprelu"


def test_without_a_name_the_best_cell_of_each_data_set(exported):
    opened = tessera.open(exported / "results")
    for data in ("weather", "own"):
        about = tessera.load_probe(folder_of(exported, f"best,{data}")).about
        best = opened.cells.filter(features="sae", data=data, split="test")["cv_macro_f1"].max()
        assert about["cell"]["data"] == data and about["cv_macro_f1"] == best


def test_a_probe_elsewhere_asks_for_its_model_and_refuses_another(exported, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path(shutil.copytree(folder_of(exported, CELLS[0]), tmp_path / "probe"))
    with pytest.raises(TesseraError, match=r"model bert: 'bert' is not here; say where it is: model="):
        tessera.load_probe(folder).predict(["rain"])
    other = tiny.save_model("bert", tmp_path / "other", seed=1)
    with pytest.raises(TesseraError, match=r"is not what the study read"):
        tessera.load_probe(folder, model=other).predict(["rain"])
    assert len(tessera.load_probe(folder, model=exported / "bert").predict(["rain"])) == 1


def test_another_sae_is_refused(exported, tmp_path):
    folder = Path(shutil.copytree(folder_of(exported, CELLS[0]), tmp_path / "probe"))
    tiny.save_sae(folder / "sae", "jumprelu", width=64)
    with pytest.raises(TesseraError, match=r"is not the SAE that the study encoded with"):
        tessera.load_probe(folder, model=exported / "bert").predict(["rain"])


def test_a_folder_of_something_else(tmp_path):
    with pytest.raises(TesseraError, match=r"is no folder of an exported probe"):
        tessera.load_probe(tmp_path)


def test_only_probes_on_latents_leave(exported):
    printed = snakemake(exported, "export", "--config", "cell=tfidf/weather/word", fails=True)
    assert "only probes on latents of texts can be exported" in printed


def test_every_pooling_has_its_code_and_what_takes_more_has_none():
    assert POOLINGS.keys() == EVERY.keys()
    spec = {"chat": False}
    about = {
        "hook": "resid_post",
        "model": {"identity": {"spec": spec}, "weights": {"revision": "c0ffee"}},
        "sae": {"release": ["some-release", "some/id"]},
        "cell": {"pooling": "top20", "layer": "3"},
        "blocks": "layers",
        "centre": True,
        "stored": {"pool_massive": False},
        "tau": 1.0,
    }
    found = code(about, "org/model")
    assert "acts_NW.topk(20)" in found and "SAE.from_pretrained('some-release', 'some/id')" in found
    assert "from_pretrained(MODEL, revision='c0ffee')" in found and 'value_K > about["tau"]' in found
    compile(found, "card", "exec")
    spec["chat"] = True
    assert code(about, "org/model") is None
    assert code(about | {"hook": "mlp_out"}, "org/model") is None
