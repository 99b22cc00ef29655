"""A model in a GGUF file: unpacked first, and read from its folder by every job."""

import re

import packed
import polars as pl
import pytest
from runs import change, make_study, planned, snakemake

READERS = {"weights", "tune", "residuals", "extract", "answers"}
WEIGHTS = [f"results/weights/model={model}/weights.json" for model in ("bert", "random")]


@pytest.fixture
def folder(tmp_path):
    """A study of a GGUF file, its control, a tuned copy, and a data set that the model answers."""
    folder = make_study(tmp_path / "study")
    packed.save_gguf(folder / "small.gguf")
    pl.DataFrame({"prompt": ["a cat", "the moon"], "key": ["p", "q"]}).write_csv(folder / "asked.csv")

    def edit(config):
        config["models"]["bert"]["path"] = "small.gguf"
        config["models"]["twin"] = {"tuned": {"from": "bert", "data": "own"}, "passes": [{1: []}]}
        answered = {"model": "bert", "answers": ["a", "the"]}
        config["datasets"]["asked"] = {"path": "asked.csv", "text": "prompt", "id": "key", "answered": answered}

    change(folder, edit)
    return folder


def test_every_job_that_loads_the_model_reads_its_folder(folder):
    graph = snakemake(folder, "--rulegraph")
    names = dict(re.findall(r'(\d+)\[label = "(\w+)"', graph))
    edges = {(names[before], names[after]) for before, after in re.findall(r"(\d+) -> (\d+)", graph)}
    assert {after for before, after in edges if before == "unpack"} == READERS


def test_an_edit_of_the_file_makes_it_all_anew(folder):
    snakemake(folder, *WEIGHTS)
    assert (folder / "results/unpacked/model=bert/model.safetensors").exists()
    assert planned(folder, *WEIGHTS) == {}
    packed.save_gguf(folder / "small.gguf", "starcoder")
    assert planned(folder, *WEIGHTS) == {"unpack": 1, "weights": 2}
