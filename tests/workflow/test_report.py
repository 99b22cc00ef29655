"""The real workflow's report, what it prints while it runs, and what its tables carry; read as its user would."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import browser
import polars as pl
import pytest
import tiny
import yaml
from runs import snakemake
from tessera.results.provenance import read_facts

ROOT = Path(__file__).parents[2]
REPORT = ("--report", "results/report.html", "--report-after-run", "report")
FIGURES = ("baselines", "layer width", "pooling threshold", "claims", "search")
PAGES = ("study", "runtimes", "saes", "norms", "datasets", "provenance", "warnings")


def run(folder: Path, *arguments: str, fails: bool = False) -> str:
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--configfile", "study.yaml"]
    done = subprocess.run(
        [*command, "--cores", "2", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, str]:
    """A finished study with faults planted in its data, and what its run printed."""
    folder = tmp_path_factory.mktemp("report")
    tiny.save_model("bert", folder / "bert")
    tiny.save_sae(folder / "sae", "jumprelu", width=96)
    words = tiny.WORDS
    rows = [f"{('rain', 'moon')[number % 2]} {words[number % 7]} {words[number % 11]}" for number in range(80)]
    rows = [f"{row} {words[number % 13]} {number}" for number, row in enumerate(rows)]
    rows[70:73] = rows[:3]  # leakage: the training split's texts
    rows[75:] = [" ".join(words[start : start + 20]) for start in range(5)]  # longer than the model reads
    split = ["train"] * 60 + ["test"] * 20
    labels = ["wet", "dry"] * 40
    pl.DataFrame({"text": rows, "label": labels, "split": split}).write_csv(folder / "rows.csv")
    config = {
        "models": {
            "bert": {"path": str(folder / "bert"), "max_tokens": 16, "saes": "own", "passes": [{1: [96]}]},
            "random": {"control_of": "bert", "passes": [{1: []}]},
        },
        "saes": {"own": {"path": str(folder / "sae")}},
        "datasets": {"rows": {"path": str(folder / "rows.csv"), "split": "split"}},
        "grid": {"poolings": ["sum"], "thresholds": ["none", "q50", 10000]},
        "probe": {"C": [0.1, 1], "folds": 3, "resamples": 100},
        "baselines": {"hidden": ["mean"], "tfidf": ["word"]},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(config))
    return folder, run(folder, *REPORT)


@pytest.fixture(scope="module")
def study(finished) -> Path:
    return finished[0]


def table(study: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(study / f"results/tables/{name}.parquet")


def test_a_run_says_a_line_per_stage(finished):
    printed = finished[1]
    line = r"^\d\d:\d\d:\d\d (\w+): (\d+) of (\d+) done in .+; (?:\d+ of 22 jobs, about .+ left|all done)$"
    stages = {rule: (done, planned) for rule, done, planned in re.findall(line, printed, re.MULTILINE)}
    probes = dict.fromkeys(("probe_hidden", "extract", "weights"), ("2", "2"))
    once = ("examples", "prepare_sae", "pool", "probe_sae", "probe_tfidf", "probe_length", "provenance", "tables")
    once += ("claims", "draw_tables", "draw_claims")
    once += ("study", "explorer", "home", "pages", "report")
    assert stages == dict.fromkeys(once, ("1", "1")) | probes
    assert "to look at the study, open results/explorer.html in a browser" in printed
    assert "Finished jobid" not in printed and "Reason:" not in printed and "it/s]" not in printed
    log = next((finished[0] / ".snakemake/log").glob("*.log")).read_text()
    assert "Finished jobid" in log and "Reason:" in log


def test_a_study_of_forked_jobs_is_the_same_bytes(study, tmp_path):
    """Here every job has an interpreter of its own, as a user's has; other tests fork theirs (engine.py)."""
    shutil.copy(study / "study.yaml", tmp_path)
    snakemake(tmp_path)
    every = [file for file in (tmp_path / "results").rglob("*") if file.is_file() and "benchmarks" not in file.parts]
    files = [file for file in every if file.name != ".snakemake_timestamp"]
    assert len(files) > 50
    assert [file for file in files if file.read_bytes() != (study / file.relative_to(tmp_path)).read_bytes()] == []


def test_a_failed_job_names_its_log_and_the_cause(study, tmp_path):
    copy = Path(shutil.copytree(study, tmp_path / "copy"))
    shard = next(copy.glob("results/activations/model=bert/data=rows/pass=0/shard=0/latents/*/*.parquet"))
    shard.write_bytes(b"PAR1 no more")
    config = yaml.safe_load((copy / "study.yaml").read_text())
    config["grid"]["poolings"].append("max")
    (copy / "study.yaml").write_text(yaml.safe_dump(config))
    printed = run(copy, "--rerun-triggers", "params", fails=True)
    log = "logs/pool/model=bert/layer=1/width=96/data=rows.log"
    assert re.search(rf"^\d\d:\d\d:\d\d pool FAILED: .*latents/.* cannot be read .*, see {log}$", printed, re.MULTILINE)
    assert "CalledProcessError" not in printed


def test_planted_faults_are_warnings(study):
    found = {(warning, where): (count, of) for warning, where, count, of in table(study, "warnings")
             .select("warning", "where", "count", "of").iter_rows()}  # fmt: skip
    assert found["leakage", "rows, split test"] == (3, 20)
    assert found["truncated examples", "rows, read by bert"] == (5, 80)
    assert found["truncated examples", "rows, read by random"] == (5, 80)
    assert found["empty feature matrices", "rows, SAE, bert"] == (1, 3)
    assert {kind for kind, _ in found}.isdisjoint({"dead latents", "L0 off the published one", "repeated texts"})
    csv = pl.read_csv(study / "results/tables/warnings.csv")
    assert csv["warning"].to_list() == table(study, "warnings")["warning"].to_list()


def test_every_table_carries_its_origin(study):
    facts = [tuple(fact) for fact in table(study, "provenance").rows()]
    files = sorted((study / "results/tables").glob("*.parquet"))
    assert len(files) >= 10
    for file in files:
        assert [tuple(fact) for fact in read_facts(file)] == facts
        assert json.loads(pl.read_parquet_metadata(file)["tessera"]) == [list(fact) for fact in facts]
    known = {fact[:3]: fact[3] for fact in facts}

    def sha256(file: Path) -> str:
        return f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"

    encoder = "results/saes/model=bert/layer=1/width=96/encoder.safetensors"
    assert known["model", "bert", "model.safetensors"] == sha256(study / "bert/model.safetensors")
    assert known["model", "random", "weights"] == "drawn from seed 0"
    assert known["sae", "bert layer 1 width 96", "encoder.safetensors"] == sha256(study / encoder)
    assert known["data", "rows", "examples.parquet"] == sha256(study / "results/examples/data=rows/examples.parquet")
    assert known["library", "torch", "activations"].startswith("2.")
    assert known["config", "study", "as given"].startswith("sha256:")
    assert known["code", "tessera", "tables"].startswith("commit ")


def test_results_are_read_elsewhere(study, tmp_path):
    """Zipped, moved, and read without the study: no table names a folder of the machine that made it."""
    archive = shutil.make_archive(str(tmp_path / "results"), "zip", study, "results")
    shutil.unpack_archive(archive, tmp_path / "elsewhere")
    for file in sorted((tmp_path / "elsewhere/results").rglob("*.parquet")):
        if ".part" not in file.name:
            assert pl.read_parquet(file, hive_partitioning=False).width
            assert str(study).encode() not in file.read_bytes() or file.name == "examples.parquet"  # names its source
            assert str(study) not in json.dumps(read_facts(file))
    for file in (tmp_path / "elsewhere/results/tables").iterdir():
        frame = pl.read_parquet(file) if file.suffix == ".parquet" else pl.read_csv(file, infer_schema=False)
        for column in frame.select(pl.col(pl.String)):
            assert not column.str.contains(str(study), literal=True).any(), (file, column.name)
    pattern = str(tmp_path / "elsewhere/results/probes/features=sae/**/scores.parquet")
    assert len(pl.scan_parquet(pattern, hive_partitioning=True).collect()) == 3


def test_the_report_again_reruns_nothing(study):
    assert "Nothing to be done" in run(study, "report")


def results(study: Path) -> dict[str, dict]:
    """What the report's own script holds of each result."""
    page = (study / "results/report.html").read_text()
    found = re.search(r"^ *var results = (\{.*\});?$", page, re.MULTILINE)
    return json.loads(found[1])


def test_the_report_holds_every_page_and_figure(study):
    found = results(study)
    labels = {entry["labels"].get("figure") or entry["labels"].get("page") for entry in found.values()}
    assert labels == {*FIGURES, *PAGES}
    for path, entry in found.items():
        assert len(entry["caption"]) > 50, path
        if path.endswith(".png"):
            assert "Read off:" in entry["caption"]
    page = (study / "results/report.html").read_text()
    assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(?:https?:)?//', page)


def test_pages_hold_what_they_say(study):
    pages = {name: (study / f"results/report/{name}.html").read_text() for name in PAGES}
    assert "max_tokens: 16" in pages["study"] and "prepend_bos: auto" in pages["study"]
    assert "leakage" in pages["warnings"]
    for rule in ("extract", "probe_sae", "probe_hidden", "tables"):
        assert f"<td>{rule}</td>" in pages["runtimes"]
    for name in set(PAGES) - {"study", "runtimes"}:
        assert pages[name].count("<tr>") == len(table(study, name)) + 1


def test_a_reader_clicks_through_the_report(study, tmp_path):
    """Every category, every view, every caption; screenshots are left beside the study."""
    shots = Path(os.environ.get("REPORT_SCREENSHOTS", tmp_path))
    with browser.browser() as window:
        seen = []
        for category in ("Warnings", "Figures", "Sources", "Study"):
            window.open((study / "results/report.html").as_uri())
            window.wait(lambda: "Which SAE features" in window.text(), "the front page")
            assert "The primary claim, SAE > hidden states: " in window.text()
            assert window.run("return document.querySelector('img[alt^=\"the best cell\"]').naturalWidth") > 300
            assert window.run(
                "return [...document.links].filter(one => one.getAttribute('href') === 'explorer.html').length"
            )
            window.screenshot(shots / "front.png")
            window.click(category)
            for number in range(window.wait(lambda: window.icons("eye"), "a result")):
                window.press("eye", number)
                seen.append(window.wait(window.shown, "the result"))
                window.screenshot(shots / f"{category}-{number}.png")
            for number in range(window.icons("information-circle")):
                window.press("information-circle", number)
                window.wait(lambda: re.search("Read off:|Where this study comes from", window.text()), "its caption")
                window.screenshot(shots / f"{category}-{number}-caption.png")
                window.click(category)
                window.wait(lambda: window.icons("information-circle"), "the list of results")
        assert seen.count("IMG") == len(FIGURES) and seen.count("IFRAME") == len(PAGES)
        assert window.errors() == []
