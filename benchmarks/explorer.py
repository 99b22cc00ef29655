"""The explorer of a large study: seconds and memory of writing it, bytes, and how fast a browser shows its views.

python benchmarks/explorer.py [--examples 5000 100000]

The tables are made up from the columns of the catalogue: one data set of two classes, texts of 60 words, three repeats
each of which tests a fifth of them, 59 cells of two models and of the text alone; at one place an SAE of 16,384
latents, of which 40 are shown with 30 contexts each, and the decisions on the test split of the first repeat with 12
latents each. Views are timed from the change of address, on a page just opened, until the last figure is drawn.
"""

import argparse
import statistics
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path

import library  # noqa: F401 (makes it importable)
import numpy as np
import polars as pl
from harness import measure, resident, table

DATA, CLASSES, REPEATS, TESTS = "reviews", ("no", "yes"), 3, 5
MODELS, LAYERS = ("small", "large"), (6, 12)
POOLINGS, THRESHOLDS = ("sum", "mean", "max", "last"), ("none", "0.5", "1.0")
PLACE = {"model": "small", "layer": 6, "width": "16k", "data": DATA}
WIDTH, SHOWN, CONTEXTS, DECIDING, BINS, WORDS = 16384, 20, 30, 12, 40, 60
ROUNDS = 5
CONSTANT = {
    "split": "test", "control": False, "draw": 0, "draws": 1, "repeats": REPEATS, "converged": True, "C": 1.0,
    "C_at_edge": False, "n_features": WIDTH, "cells_searched": 12, "metric": "macro_f1", "verdict": "holds",
    "selection": "none", "role": "primary", "on": "on these data sets", "larger_search_only": False,
} | PLACE  # fmt: skip
DRAWN = """
    const [hash] = arguments, root = document.documentElement;
    const opens = hash === null, start = opens ? 0 : performance.now(), before = opens ? undefined : root.dataset.ready;
    if (!opens) location.hash = hash;
    const figures = () => [...document.querySelectorAll(".chart")], said = () => document.querySelector(".error");
    return new Promise(resolve => {
        const look = () => {
            const waits = root.dataset.ready === before || figures().some(one => !one.firstChild);
            if (waits) return requestAnimationFrame(look);
            setTimeout(() => resolve([performance.now() - start, said()?.textContent])); // once it is painted
        };
        look();
    });"""


def study_of_one():
    """The study, as far as the explorer asks for it."""
    from tessera.study.study import Study

    passes = [{str(layer): [PLACE["width"]] for layer in LAYERS}]
    empty = {section: {} for section in ("saes", "transfers", "matches", "baselines", "probe", "probes", "claims")}
    return Study(
        models={model: {"passes": passes} for model in MODELS},
        datasets={DATA: {}},
        grid={},
        evidence={"places": ["/".join(map(str, PLACE.values()))], "in_model": [], "ids": {}},
        explorer={"blur": False},
        repeats=REPEATS,
        shard_size=10_000,
        seed=0,
        **empty,
    )


def cells() -> pl.DataFrame:
    """Every cell of the grid."""
    sae = product(["sae"], MODELS, LAYERS, ["16k"], POOLINGS, THRESHOLDS, ["none"])
    hidden = product(["hidden"], MODELS, LAYERS, [None], POOLINGS[:2], [None], [None])
    texts = [(kind, None, None, None, how, None, None) for kind, how in (("tfidf", "word"), ("tfidf", "char"))]
    rows = [*sae, *hidden, *texts, ("length", None, None, None, "log", None, None)]
    names = ("features", "model", "layer", "width", "pooling", "threshold", "selection")
    return pl.DataFrame(rows, schema=names, orient="row").with_columns(probe=pl.lit("logistic"), data=pl.lit(DATA))


def lists(values, lengths) -> pl.Series:
    """Lists of these lengths, of values one after the other."""
    import pyarrow as pa

    ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pl.Series(pa.ListArray.from_arrays(ends, values))


class Tables:
    """Writes the tables of a study; columns that a frame lacks are constant, or random numbers."""

    def __init__(self, root: Path, examples: int):
        self.root, self.number, self.rng = root, examples, np.random.default_rng(0)
        self.tests_R = [np.sort(self.rng.permutation(examples)[: examples // TESTS]) for _ in range(REPEATS)]
        self.label_E = self.rng.integers(0, 2, examples)
        self.cells = cells()

    def write(self, name: str, frame: pl.DataFrame) -> None:
        from tessera.base.files import write_parquet
        from tessera.results.catalogue import TABLES

        missing = [column for column in TABLES[name].columns if column not in frame.columns]
        constant = CONSTANT | {"examples": self.number // TESTS}
        random = [pl.Series(column, self.rng.random(len(frame))) for column in missing if column not in constant]
        frame = frame.with_columns(*random, **{one: pl.lit(constant[one]) for one in missing if one in constant})
        write_parquet(self.root / f"tables/{name}.parquet", frame.select(TABLES[name].columns))

    def examples(self) -> pl.Series:
        """Write the examples; their texts."""
        from tessera.base.files import write_parquet

        syllables = np.array(["ba", "de", "ki", "lo", "mu", "na", "pe", "ri", "so", "tu", "va", "ze"])
        words = np.array(["".join(parts) for parts in product(syllables, repeat=3)])
        drawn = (self.rng.random((self.number, WORDS)) ** 3 * len(words)).astype(int)  # few words are many of a text
        frame = self.labelled(np.arange(self.number))
        frame = frame.with_columns(text=pl.Series([" ".join(words[one]) for one in drawn]), near="group")
        first = pl.col("example").is_in(self.tests_R[0].tolist())
        frame = frame.with_columns(split=pl.when(first).then(pl.lit("test")).otherwise(pl.lit("train")))
        order = ["example", "id", "text", "label", "split", "group", "near"]
        write_parquet(self.root / f"examples/data={DATA}/examples.parquet", frame.select(order))
        return frame["text"]

    def labelled(self, example_E: np.ndarray) -> pl.DataFrame:
        number = pl.Series("example", example_E, pl.UInt32)
        label = pl.Series(np.array(CLASSES)[self.label_E[example_E]])
        return pl.DataFrame({"example": number, "id": number.cast(pl.String), "group": number, "label": label})

    def grid(self) -> None:
        """Tables of scores, and of what each cell said of each test example."""
        fits, classes = pl.DataFrame({"repeat": range(REPEATS)}), pl.DataFrame({"class": CLASSES})
        self.write("cells", self.cells)
        self.write("scores", self.cells.join(fits, how="cross"))
        self.write("classes", self.cells.join(fits, how="cross").join(classes, how="cross"))
        best = self.cells.group_by("features", maintain_order=True).first()
        self.write("best", best.with_columns(contestant="features"))
        hard_E, said = self.rng.normal(size=self.number), []
        for row in range(len(self.cells)):
            for repeat, example_E in enumerate(self.tests_R):
                sure_E = 1 / (1 + np.exp(-1.2 - hard_E[example_E] - self.rng.normal(size=len(example_E))))
                yes_E = np.where(self.label_E[example_E], sure_E, 1 - sure_E)
                probability = lists(np.stack([1 - yes_E, yes_E], axis=1).ravel(), np.full(len(yes_E), 2))
                predicted = pl.Series(np.array(CLASSES)[(yes_E > 0.5).astype(int)])
                part = self.labelled(example_E).with_columns(predicted=predicted, probability=probability)
                said.append(self.cells[row].join(part.with_columns(repeat=pl.lit(repeat)), how="cross"))
        self.write("predictions", pl.concat(said))
        latents = pl.DataFrame({"latent": pl.Series(range(WIDTH), dtype=pl.Int32), "class": CLASSES[1]})
        of_sae = self.cells.filter(features="sae").join(fits, how="cross")
        self.write("coefficients", of_sae.join(latents, how="cross"))

    def tokens(self, rows: int) -> dict[str, pl.Series]:
        """Where a latent fires on each of so many texts: on one to five words, of six letters each."""
        length_N = self.rng.integers(1, 6, rows)
        start = 7 * self.rng.integers(0, WORDS, length_N.sum()).astype(np.uint32)
        none = lists(np.zeros(len(start), np.uint32), length_N).list.eval(pl.element().replace({0: None}))
        activation = lists(self.rng.gamma(2, 2, len(start)).astype(np.float32), length_N)
        found = {"start": lists(start, length_N), "end": lists(start + 6, length_N), "activation": activation}
        return found | {"piece": none.cast(pl.List(pl.String)), "row": none, "column": none}

    def evidence(self, text_E: pl.Series) -> None:
        """Tables of evidence at one place."""
        latents = pl.DataFrame({"latent": range(WIDTH)}).join(pl.DataFrame({"class": CLASSES}), how="cross")
        measures = ("roc_auc", "contribution", "absolute_contribution", "contribution_gap")
        told = latents.with_columns(**{f"rank_{measure}": pl.col("latent") + 1 for measure in measures})
        self.write("latents", told.with_columns(pooling=pl.lit("max"), threshold=pl.lit("none")))
        shown = pl.DataFrame({"class": np.repeat(CLASSES, SHOWN), "latent": range(2 * SHOWN)})
        said = {name: pl.lit("words that it is about") for name in ("fires_on", "promoted", "suppressed")}
        said |= {name: pl.lit(None, pl.String) for name in ("explanation", "neuronpedia")}
        nth = pl.col("latent") % SHOWN + 1
        self.write("shown_latents", shown.with_columns(**said, nth=nth, separation_texts=100, unspecific=False))
        contexts = shown.select("latent").join(pl.DataFrame({"number": range(CONTEXTS)}), how="cross")
        texts = self.labelled(self.rng.integers(0, self.number, len(contexts))).drop("group")
        rows = contexts.with_columns(*texts, **self.tokens(len(contexts)), stratum=1 + pl.col("number") % 4)
        self.write("contexts", rows.with_columns(text=text_E.gather(texts["example"]), tokens=WORDS))
        bins = pl.DataFrame(
            {"low": np.arange(BINS) / BINS, "high": np.arange(1, BINS + 1) / BINS, "tokens": range(BINS)}
        )
        every = shown.select("latent").join(pl.DataFrame({"class": CLASSES}), how="cross").join(bins, how="cross")
        self.write("latent_histograms", every)
        decided = self.labelled(self.tests_R[0]).drop("group")
        self.write("decisions", decided.with_columns(predicted="label", **{"class": pl.col("label")}))
        listed = decided.select("example").join(pl.DataFrame({"nth": range(DECIDING)}), how="cross")
        latent = self.rng.integers(0, WIDTH, len(listed))
        value = self.rng.random(len(listed)).astype(np.float32)
        self.write("decision_latents", listed.with_columns(latent=latent, value=value, **self.tokens(len(listed))))
        ks = pl.DataFrame({"measure": "sufficiency", "ranking": "contribution", "k": [2**step for step in range(10)]})
        self.write("sufficiency", ks)
        self.write("stability", pl.DataFrame({"over": ["folds", "repeats"], "k": 10, "sets": 3}))

    def others(self) -> None:
        """Short tables."""
        claim = {"claim": ["SAE above hidden states"], "left": "sae", "right": "hidden"}
        self.write("claims", pl.DataFrame(claim))
        self.write("warnings", pl.DataFrame(schema=dict.fromkeys(("warning", "where", "such_as", "advice"), pl.String)))
        self.write("provenance", pl.DataFrame({"kind": ["code"], "name": "tessera", "item": "commit", "value": "none"}))
        for name in ("search", "saes", "norms", "datasets", "behaviour", "evidence_claims"):
            self.write(name, pl.DataFrame({"contestant": ["SAE"]}))


def save_study(root: Path, examples: int) -> int:
    """Write its tables and examples; one of its test examples."""
    tables = Tables(root, examples)
    tables.grid()
    tables.others()
    tables.evidence(tables.examples())
    return int(tables.tests_R[0][0])


def prepare(root: Path) -> Path:
    import tessera.explorer.page
    import tessera.explorer.summary  # noqa: F401 (imported before the clock starts)

    return root


def build(root: Path) -> float:
    from tessera.explorer.page import write_page
    from tessera.explorer.pieces import every_piece
    from tessera.explorer.summary import summary

    tables = {file.stem: file for file in sorted((root / "tables").glob("*.parquet"))}
    examples = {DATA: str(root / f"examples/data={DATA}/examples.parquet")}
    first = summary(study_of_one(), tables)
    write_page(root / "shown/explorer.html", root / "shown/explorer", *first, every_piece(tables, examples))
    return resident("VmHWM")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        """Nothing: requests are not printed."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a static server of a folder."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def timed(address: str, example: int) -> dict[str, float]:
    """View → median seconds until it is drawn."""
    import browser

    left, right = [f"sae/{model}/6/16k/{DATA}/max/none/none/logistic" for model in MODELS]
    views = {
        "overview": None,
        "grid": "grid",
        "a latent": f"latent/{'/'.join(map(str, PLACE.values()))}/3",
        "latents": "latents",
        "an example": f"example/{DATA}/{example}",
        "examples": "examples",
        "a cell": f"cell/{left}",
        "two cells": f"compare?left={left}&right={right}",
        "table latents": "tables/latents",
    }
    found: dict[str, list[float]] = {view: [] for view in views}
    with browser.browser() as window:
        for _ in range(ROUNDS):
            for view, part in views.items():
                window.open("about:blank")
                window.open(address)
                taken, error = window.run(DRAWN, None)
                if part:
                    taken, error = window.run(DRAWN, f"#{part}")
                if error or window.errors():
                    raise SystemExit(f"{view}: {error or window.errors()}")
                found[view].append(taken / 1000)
    return {view: statistics.median(times) for view, times in found.items()}


def main() -> None:
    import browser

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--examples", type=int, nargs="+", default=[5000, 100000])
    options = parser.parse_args()
    written, shown = {}, {}
    for number in options.examples:
        with tempfile.TemporaryDirectory() as folder:
            example = save_study(Path(folder), number)
            row = measure(prepare, build, Path(folder))
            row["process_mib"] = row.pop("result")
            page = Path(folder, "shown/explorer.html")
            sizes = [file.stat().st_size for file in Path(folder, "shown/explorer").iterdir()]
            bytes_ = {"page_mib": page.stat().st_size / 2**20, "folder_mib": sum(sizes) / 2**20, "files": len(sizes)}
            written[f"{number} examples"] = row | bytes_ | {"largest_mib": max(sizes, default=0) / 2**20}
            if browser.MISSING is None:
                with served(page.parent) as address:
                    shown[f"{number}, from disk"] = timed(page.as_uri(), example)
                    shown[f"{number}, from a server"] = timed(f"{address}/{page.name}", example)
    print(table(written, dict.fromkeys(written[next(iter(written))], ".1f") | {"files": "d"}))
    if shown:
        print(table(shown, dict.fromkeys(next(iter(shown.values())), ".2f")))


if __name__ == "__main__":
    main()
