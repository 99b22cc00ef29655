"""`tessera.open`: a finished study's tables, cells and figures, and its probes on new texts."""

import shutil
import subprocess
import sys

import polars as pl
import pytest
import tessera
import tiny
import yaml
from runs import make_study
from tessera.base.errors import TesseraError
from tessera.study.config import load, restore

CELL = "bert/1/64/weather/sum/none/none/logistic"


@pytest.fixture(scope="module")
def opened(study):
    return tessera.open(study / "results")


def examples(opened, data="weather"):
    return pl.read_parquet(opened.folder / f"examples/data={data}/examples.parquet").sort("example")


def test_importing_tessera_imports_nothing_else():
    code = "import tessera, sys; print([name for name in sys.modules if name in ('polars', 'torch', 'numpy')])"
    done = subprocess.run([sys.executable, "-c", code], cwd=tessera.__path__[0] + "/..", capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_a_table_is_a_frame(opened):
    assert isinstance(opened.scores, pl.DataFrame) and len(opened.scores)
    assert isinstance(opened.predictions, pl.LazyFrame)
    assert {"scores", "claims", "cell", "figure"} <= {*dir(opened)} and "transfer" not in dir(opened)


@pytest.mark.parametrize(
    ("name", "said"), [("scroes", "there is no table 'scroes'"), ("latents", "this study has no table 'latents'")]
)
def test_a_table_that_is_not_there(opened, name, said):
    assert not hasattr(opened, name)
    with pytest.raises(TesseraError, match=f"{said}; it has scores, cells"):
        getattr(opened, name)


def test_a_folder_without_results(tmp_path):
    with pytest.raises(TesseraError, match="holds no tables"):
        tessera.open(tmp_path)


def test_the_config_that_is_kept_makes_the_same_study(tmp_path, monkeypatch):
    monkeypatch.chdir(make_study(tmp_path / "study"))
    study = load(yaml.safe_load((tmp_path / "study/study.yaml").read_text()))
    kept = restore(yaml.safe_load(yaml.safe_dump(study.config)))
    assert vars(kept) == vars(study) and kept.config == study.config


def test_a_cell_by_its_short_name(opened):
    cell = opened.cell(CELL)
    assert cell.name == f"sae/{CELL}" == opened.cell(f"sae/{CELL}").name and cell.name in opened.cell_names
    assert cell.scores["n_features"].n_unique() == 1 and {*cell.scores["split"]} == {"test", "late"}
    assert cell.classes == ["dry", "wet"] and len(cell.predictions) == cell.scores["examples"].sum()


@pytest.mark.parametrize(
    ("name", "said"),
    [("bert/1/64/weather/sum", r"6 cells, not one; for example 'sae/bert/1/64/weather/sum/"), ("moon", "no cell; for")],
)
def test_a_name_of_no_one_cell(opened, name, said):
    with pytest.raises(TesseraError, match=said):
        opened.cell(name)


def test_two_cells_compared(opened):
    cell = opened.cell(CELL)
    found = cell.compare("tfidf/weather/word")
    assert {*found["metric"]} >= {"macro_f1", "accuracy"} and found.filter(repeat=0)["left"].is_between(0, 1).all()
    other = opened.cell("tfidf/weather/word")
    differ = cell.disagreements(other)
    assert (differ["left_predicted"] != differ["right_predicted"]).all() and differ["text"].null_count() == 0
    with pytest.raises(TesseraError, match="two data sets"):
        cell.compare("tfidf/own/word")


def test_a_place_without_evidence(opened):
    for ask in (lambda cell: cell.latents, lambda cell: cell.contexts(3)):
        with pytest.raises(TesseraError, match=r"no evidence of .*; config key evidence\.places"):
            ask(opened.cell(CELL))


def test_a_figure_is_the_one_of_the_catalogue(opened):
    assert opened.figure("baselines").get_axes()
    assert opened.figure("layer_width", model="bert").get_axes()
    with pytest.raises(TesseraError, match=r"no figure of that name and place; give figure\('layer_width', model='b"):
        opened.figure("layer_width", model="moon")


@pytest.mark.parametrize(
    "name",
    [
        CELL,
        "bert/1/64/weather/max/1.0/anova-4",
        "bert/1/64/own/sum/q50/none",
        "hidden/bert/2/weather/mean",
        "hidden/random/1/own/last",
        "tfidf/weather/char",
        "length/own",
    ],
)
def test_predictions_are_those_of_the_workflow_to_the_last_bit(opened, name):
    cell = opened.cell(name)
    told, texts = cell.predictions.filter(repeat=0), examples(opened, cell.place["data"])
    texts = texts.join(told, on="example", how="semi")
    found = cell.predict(texts["text"].to_list())
    assert found["text"].to_list() == texts["text"].to_list()
    wanted = texts.select("example").join(told, on="example", how="left", maintain_order="left")
    assert found["predicted"].to_list() == wanted["predicted"].to_list()
    probability = found.select(f"probability_{label}" for label in cell.classes)
    assert [list(row) for row in probability.rows()] == wanted["probability"].to_list()


def test_a_text_is_told_the_same_alone(opened):
    cell = opened.cell(CELL)
    texts = examples(opened, cell.place["data"])["text"].to_list()[:6]
    assert cell.predict(texts).rows() == [cell.predict([text]).row(0) for text in texts]


@pytest.mark.parametrize(
    ("texts", "said"),
    [("rain", "one string; give a list"), (["rain", 3], r"texts\[1\] is 3"), (["rain", " "], r"texts\[1\] is ' '")],
)
def test_what_is_no_list_of_texts(opened, texts, said):
    with pytest.raises(TesseraError, match=said):
        opened.cell(CELL).predict(texts)


def test_no_texts_and_long_ones(opened):
    cell = opened.cell(CELL)
    assert cell.predict([]).columns == ["text", "predicted", "probability_dry", "probability_wet"]
    long, cut = cell.predict(["rain moon " * 500, "rain moon " * 100]).rows()  # both are cut to max_tokens
    assert long[2:] == cut[2:]


def test_a_copy_elsewhere_has_its_tables_and_says_what_else_it_needs(study, tmp_path):
    shutil.copytree(study / "results/tables", tmp_path / "results/tables")
    moved = tessera.open(tmp_path / "results")
    assert len(moved.cell(CELL).scores) and len(moved.cell(CELL).predictions)
    with pytest.raises(TesseraError, match=r"study\.yaml is not there: copy it too"):
        moved.cell(CELL).predict(["rain"])
    shutil.copy(study / "results/study.yaml", tmp_path / "results")
    assert moved.figure("baselines").get_axes()
    with pytest.raises(TesseraError, match=r"scores\.parquet is not there: copy that folder"):
        moved.cell(CELL).predict(["rain"])
    for part in ("probes", "weights", "summaries", "saes"):
        shutil.copytree(study / f"results/{part}", tmp_path / f"results/{part}")
    with pytest.raises(TesseraError, match=r"model bert: .*bert' is not here; say where it is: model="):
        moved.cell(CELL).predict(["rain"])
    cell = moved.cell(CELL)
    assert cell.predict(["rain"], model=study / "bert").equals(
        tessera.open(study / "results").cell(CELL).predict(["rain"])
    )


def test_a_model_of_other_weights_is_refused(opened, tmp_path):
    other = tiny.save_model("bert", tmp_path / "other", seed=1)
    with pytest.raises(TesseraError, match=r"model bert: .*is not what the study read, which was sha256:"):
        opened.cell(CELL).predict(["rain"], model=other)
