"""Turn the tables into pages of the report."""

from pathlib import Path

import polars as pl
from tessera import pages
from tessera.base.files import atomic
from tessera.base.script import job
from tessera.study.config import load

ABOUT = {
    "warnings": "What to doubt in this study, most serious first: how many (count) of how many (of). No example is "
    "ever skipped: a row without text or label ends the run; texts that were cut are counted here as truncated.",
    "best": "Per data set, test split and kind of features, the cell with the best macro F1 in cross-validation "
    "inside the training split, scored once on the test split, with 95 % bootstrap intervals. cells searched: the "
    "more, the luckier the best.",
    "claims": "The claims one by one: macro F1 of the left side minus that of the right, on the same test examples, "
    "paired bootstrap. An interval of one data set is corrected for their number (level). holds: the whole interval is "
    "above zero; fails: below; undecided: the data do not tell. Both sides are the best cells by cross-validation.",
    "behaviour": "Who predicts what a model did: source models, the model itself (an upper bound), controls.",
    "matches": "Per match of two SAEs: how many latents found a partner, how well they correlate, and beside chance.",
    "match_best": "Probes carried across a match, at the cell that is best on the source: beside the probe on its own "
    "SAE, the target's own probe, a random match, random directions and a ridge map of hidden states.",
    "match_claims": "Whether latents transfer: the match against a random one, random directions and a ridge map.",
    "scores": "Every cell of the grid on every test split. Choose by cv macro f1 (inside the training split), never by "
    "macro f1 (the test split). density: share of nonzero entries of the matrix that the probe saw.",
    "classes": "Precision, recall and F1 of each class in each cell.",
    "saes": "Per SAE: measured L0 (mean number of active latents per content token) beside the published one; of SAEs "
    "trained here, the share of variance explained, L0 and share of dead latents on held-out tokens.",
    "datasets": "Per data set and split: examples, classes, share of the largest class, repeated texts, test texts "
    "that the training split holds too (leakage), and the data set's texts that a model read cut short.",
    "provenance": "What this study was computed from and with: hashes or commits of weights, SAEs and data, versions "
    "of libraries, the config's hash, this workflow's commit. Each parquet table carries these rows in its metadata.",
    "transfer_best": "Per scenario, source, target and share of the training split: the cell best on the source, "
    "scored on the target. native: trained on the target's own data.",
    "crossings": "How many native training examples a transferred probe is worth.",
    "runtimes": "What each stage cost, from the record of every job that left one here, also of cells that are no "
    "longer in the study.",
}

with job(snakemake):
    outputs = dict(snakemake.output.items())
    found = {Path(file).stem: pl.read_parquet(file) for file in snakemake.input}
    study = load(snakemake.config)
    counts = {"models": len(study["models"]), "data sets": len(study["datasets"])}
    counts["cells"] = found["scores"].filter(split="test").height
    for name, file in outputs.items():
        if name == "study":
            page = pages.study_page(study, found["provenance"], counts)
        elif name == "runtimes":
            page = pages.table_page(name, ABOUT[name], pages.runtimes(Path("results/benchmarks")))
        else:
            page = pages.table_page(name, ABOUT[name], found[name])
        with atomic(file) as part:
            part.write_text(page, encoding="utf-8")
