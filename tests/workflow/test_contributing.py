"""What CONTRIBUTING.md says is so: each worked diff applies to the tree, and what it adds works there."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tessera import __version__

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "workflow/scripts/tessera"
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
SECTIONS = (part.partition("\n") for part in TEXT.split("\n## ")[1:])
DIFFS = {name: text.split("```diff\n")[1].partition("```")[0] for name, _, text in SECTIONS if "```diff\n" in text}

# A study of two data sets, to be planned and not to be run.
STUDY = {
    "models": {"m": {"path": "model", "saes": "s", "passes": [{0: [64]}]}},
    "saes": {"s": {"train": {"texts": ["d"]}}},
    "datasets": {"d": {"path": "d.csv"}, "e": {"path": "e.csv"}},
    "transfers": {"t": {"sources": ["d"], "targets": ["d", "e"]}},
    "grid": {"poolings": ["sum"], "thresholds": ["none"]},
    "probe": {"C": [1.0], "folds": 2, "resamples": 100},
}
PLANNED = """
import yaml
from tessera.features.pooling import check_poolings
from tessera.plan import cells, results, transfers
from tessera.study.config import load
config = yaml.safe_load(open("study.yaml"))
"""
# For each diff, what is tried in the copy that it was applied to, in a process of its own.
PROOFS = {
    "A pooling": PLANNED
    + """
import numpy as np
from tessera.features.pooling import pool
from tessera.features.pooling import pooling_order
study = load(config | {"grid": {"poolings": ["top5", "share"], "thresholds": ["none"]}})
check_poolings(study)
assert any("pooling=share" in file for file in cells.every_cell(study, "scores"))
example_N, offsets_N, latents = np.array([0, 0, 3]), np.array([0, 2, 3, 4]), np.array([0, 2, 2, 1])
_, pooled = pool(example_N, offsets_N, latents, np.ones(4, np.float32), ["share"])
assert pooled["share"].toarray().tolist() == [[0.5, 0, 1], [0, 1, 0]]
assert sorted(["top5", "share", "sum"], key=pooling_order) == ["sum", "share", "top5"]
""",
    "A kind of features": PLANNED
    + """
import polars as pl
from tessera.base.files import write_parquet
from tessera.probes.task import probe_cells
from tessera.results.contestants import CONTESTANTS
from tessera.transfer.scenario import transfer_cells
study = load(config)
assert "shape" in cells.asked(study) and "shape" in transfers.transferred(study)
assert "results/probes/features=shape/data=d/probe=logistic/scores.parquet" in cells.every_cell(study, "scores")
assert "results/transfer/features=shape/scenario=t/source=d/scores.parquet" in transfers.every_cell(study, "scores")
assert "text shape" in CONTESTANTS
rows = range(40)
text = [("LOUD %d", "quiet %d")[row % 2] % row for row in rows]
label = [("a", "b")[row % 2] for row in rows]
about = {"id": [str(row) for row in rows], "split": ["train", "train", "test", "test"] * 10}
frame = pl.DataFrame({"example": rows, "text": text, "label": label, "group": rows, **about})
files = ["data=d/examples.parquet", "data=e/examples.parquet"]
for file in files:
    write_parquet(file, frame.cast({"example": pl.UInt32, "group": pl.UInt32}))
settings = study.settings
((place, cell),) = probe_cells("shape", files[0], [], {}, {}, settings)
assert place == {} and cell.scores["macro_f1"].to_list() == [1.0]
spec = transfers.spec(study, "t", "d")
((place, found),) = transfer_cells("shape", files, [], {}, {}, spec, settings)
assert place == {} and found["scores"].select("target", "macro_f1").rows() == [("d", 1.0), ("e", 1.0)]
""",
    "A kind of probe": PLANNED
    + """
import numpy as np
import polars as pl
from tessera.features.registry import kind
from tessera.probes.registry import probe_kind
from tessera.probes.task import Task
from tessera.results.contestants import CONTESTANTS
study = load(config | {"probes": {"neighbours": ["hidden"]}})
assert ("hidden", "neighbours") in cells.fits(study) and "hidden states, nearest neighbours" in CONTESTANTS
assert any(file.endswith("/probe=neighbours/scores.parquet") for file in cells.every_cell(study, "scores"))
rows = range(120)
about = {"id": [str(row) for row in rows], "split": ["train", "train", "test", "test"] * 30}
frame = pl.DataFrame({"example": rows, "label": [("a", "b")[row % 2] for row in rows], "group": rows, **about})
states_ED = np.array([[row % 2, row % 3] for row in rows], dtype=np.float32)
task = Task(frame, **study.settings)
(cell,) = task.fit(kind("hidden"), states_ED, "mean", None, ["none"], probe_kind("neighbours"))
assert cell.scores["macro_f1"].to_list() == [1.0] and cell.scores["setting"].to_list() == ["neighbours 3"]
assert cell.coefficients is None
""",
    "A table and its figure": PLANNED
    + """
import polars as pl
from tessera.explorer.pieces import tables_of
from tessera.report.drawing import draw
from tessera.results.catalogue import TABLES
from tessera.results.tables import confusions
from tessera.results.writing import Writer
from tessera.study.grid import CELL
study = load(config)
outputs = results.outputs(study, "tables")
assert results.parquet("confusions") in results.every_table(study)
assert [file for file in results.every_figure(study) if "confusions" in file and file.endswith("png")]
place = {axis: ["tfidf" if axis == "features" else "d" if axis == "data" else None] for axis in CELL}
names = {"contestant": ["TF-IDF"], "split": ["test"]}
best = pl.DataFrame(place | names, schema_overrides=dict.fromkeys(CELL, pl.String))
fit = {"draw": [0] * 3, "repeat": [0] * 3, "split": ["test"] * 3}
told = pl.DataFrame(fit | {"label": ["a", "a", "b"], "predicted": ["a", "b", "b"]})
table = confusions(best, best.select(CELL).join(told, how="cross").lazy())
Writer(outputs, []).write(confusions=table)
table = pl.read_parquet(outputs["confusions"])
assert table.rows() == [("d", "TF-IDF", *row, 1) for row in (("a", "a"), ("a", "b"), ("b", "b"))]
(figure,) = TABLES["confusions"].figures
(axis,) = draw(figure.draw, table, {}).axes
assert [text.get_text() for text in axis.get_yticklabels()] == ["TF-IDF, d: a taken for b"]
((_, about, frames),) = tables_of({"confusions": outputs["confusions"]})
assert "take for what" in about["about"] and frames["table"].equals(table)
""",
    "A stage": PLANNED
    + """
import runpy, sys
import polars as pl
import pyarrow as pa
from types import SimpleNamespace
from tessera.base.files import write_parquet
from tessera.study import paths
study = load(config)
place = {"model": "m", "layer": "0", "width": "64"}
files = cells.every_firing(study)
assert files == [paths.FIRING.format(data=data, **place) for data in "de"]
tokens = pa.table({"latent": pa.array([[3, 5], [], [5]], pa.list_(pa.uint32()))})
write_parquet("shard/" + paths.LATENTS.format(**place), tokens)
job = SimpleNamespace(wildcards=place, input=["shard"], output=["found.parquet"], log=["job.log"], rule="firing")
runpy.run_path("workflow/scripts/firing.py", {"snakemake": job})
assert pl.read_parquet("found.parquet").rows() == [(3, 1), (5, 2)]
from snakemake.cli import main
main(["--dry-run", "--quiet", "rules", "--configfile", "study.yaml", "--", *files])
""",
}


def test_every_addition_is_worked_and_tried():
    assert [name.partition(":")[0] for name in DIFFS] == list(PROOFS)
    assert TEXT.count("```diff") == len(DIFFS)


@pytest.fixture
def tree(tmp_path):
    """A copy of the tree, with the study that is planned in it."""
    for folder in ("workflow", "config", "profiles", "docs"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copy(ROOT / "Snakefile", tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text('{"num_hidden_layers": 1}')
    for data in "de":
        rows = "".join(f"{data} {row},{'ab'[row % 2]}\n" for row in range(40))
        (tmp_path / f"{data}.csv").write_text(f"text,label\n{rows}")
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY))
    return tmp_path


@pytest.mark.parametrize("name", DIFFS)
def test_a_worked_diff_applies_and_what_it_adds_works(tree, name):
    addition, places = re.fullmatch(r"(.+): (\d+) places", name).groups()
    (tree / "the.diff").write_text(DIFFS[name])
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tree.parent)}  # a repository around it is not meant
    git = ["git", "apply", "the.diff"]
    applied = subprocess.run(git, cwd=tree, capture_output=True, text=True, env=environment)
    assert applied.returncode == 0, f"CONTRIBUTING.md, {name}: the diff no longer applies: {applied.stderr}"
    printed = """
from pathlib import Path
from tessera.results import catalogue
print("pages to be printed:", int(catalogue.docs() != Path("docs/tables.md").read_text()))
"""
    environment |= {"PYTHONPATH": str(tree / "workflow/scripts"), "HF_HUB_OFFLINE": "1", "MPLBACKEND": "agg"}
    command = [sys.executable, "-c", printed + PROOFS[addition]]
    tried = subprocess.run(command, cwd=tree, capture_output=True, text=True, env=environment)
    assert tried.returncode == 0, f"CONTRIBUTING.md, {name}: what it adds does not work: {tried.stdout}{tried.stderr}"
    pages = int(re.search(r"pages to be printed: (\d)", tried.stdout)[1])
    assert len(re.findall(r"^\+\+\+ ", DIFFS[name], re.MULTILINE)) + pages == int(places)
    if addition == "A stage":
        assert re.search(r"^firing +2$", tried.stdout + tried.stderr, re.MULTILINE)


def test_packages_are_named_in_order_and_in_their_own_words():
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", TEXT, re.MULTILINE)
    said = {file.parent.name: ast.get_docstring(ast.parse(file.read_text())) for file in LIBRARY.glob("*/__init__.py")}
    assert dict(rows) == said


def test_changelog_and_citation_name_the_version():
    assert re.search(r"^## \[?(\d[^\] ]*)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1] == __version__
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == __version__ and citation["license"] in (ROOT / "LICENSE").read_text()
