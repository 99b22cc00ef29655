"""The catalogue of results: each table once, with its rows, columns, page and figures.

Rules, the writer of tables, pages, README.md, docs/tables.md and tests read it. `python -m tessera.results.catalogue`
prints docs/tables.md, `… readme` the table of README.md.
"""

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tessera.base.errors import TesseraError
from tessera.features.registry import KINDS
from tessera.study.grid import CELL
from tessera.study.study import Study

Place = dict[str, str]  # axis → value of the folder that a figure lies in


@dataclass(frozen=True)
class Figure:
    """A figure drawn from the rows of one table at one place.

    draw: module of report/ and function in it, named so that nobody needs matplotlib to know of it. places: where a
    study has it. caption: the file of workflow/report/ that says what to read off it; without it, of the figure's name.
    """

    draw: str
    places: Callable[[Study], list[Place]]
    caption: str | None = None

    @property
    def name(self) -> str:
        return self.draw.partition(".")[2]


@dataclass(frozen=True)
class Table:
    """A table of results.

    row: what a row is. rule: what writes it. columns: their names, explained in COLUMNS; varying: a pattern of further
    ones. about: what its page says; no page without it. there: has a study this table? shown: a page and figures?
    """

    name: str
    rule: str
    row: str
    columns: tuple[str, ...]
    varying: str = "(?!)"
    csv: bool = True
    about: str | None = None
    category: str = "Tables"
    figures: tuple[Figure, ...] = ()
    there: Callable[[Study], bool] = lambda study: True
    shown: Callable[[Study], bool] = lambda study: True

    def check(self, columns: list[str]) -> None:
        """Has a frame the columns that stand here, in this order?

        Raises:
            TesseraError: names those that differ.
        """
        found = [column for column in columns if not re.fullmatch(self.varying, column)]
        if found != list(self.columns):
            other = sorted({*found} ^ {*self.columns})
            raise TesseraError(f"table {self.name}: its columns are not those of the catalogue: {other or found}")

    def places(self, study: Study) -> Iterator[tuple[Figure, Place]]:
        """Its figures in a study, and where they lie."""
        if self.there(study) and self.shown(study):
            for figure in self.figures:
                for place in figure.places(study):
                    yield figure, place


def once(study: Study) -> list[Place]:
    return [{}]


def per_model(study: Study) -> list[Place]:
    return [{"model": model} for model in study.models if model not in study.controls]


def per_model_with_saes(study: Study) -> list[Place]:
    with_saes = {cell["model"] for cell in study.sae_cells()}
    return [place for place in per_model(study) if place["model"] in with_saes]


def per_model_with_selections(study: Study) -> list[Place]:
    return per_model_with_saes(study) if len(study.grid["selections"]) > 1 else []


def per_scenario(study: Study) -> list[Place]:
    return [{"scenario": scenario} for scenario in study.transfers]


def per_scenario_with_pairs(study: Study) -> list[Place]:
    """Scenarios with a target that has a probe of its own, and an SAE of a trained model."""
    found = []
    for scenario, spec in study.transfers.items():
        own = {*spec["targets"]} & {*spec["sources"]}
        pairs = any(source != target for source in spec["sources"] for target in own)
        needed = {*spec["sources"], *spec["targets"], *spec["translated"].values()}
        if pairs and any(needed <= {*study.data_of(place["model"])} for place in per_model_with_saes(study)):
            found.append({"scenario": scenario})
    return found


def per_match(study: Study) -> list[Place]:
    return [{"match": match} for match in study.matches]


def with_transfers(study: Study) -> bool:
    return bool(study.transfers)


def with_matches(study: Study) -> bool:
    return bool(study.matches)


def with_behaviour(study: Study) -> bool:
    return bool(study.behaviours)


def names(columns: str) -> tuple[str, ...]:
    return tuple(columns.split())


def intervals(*metrics: str) -> tuple[str, ...]:
    return tuple(f"{metric}{end}" for metric in metrics for end in ("", "_low", "_high"))


# Columns that mean the same wherever they stand: their meaning, and in brackets their unit where they have one.
COLUMNS = {
    "features": f"kind of features: {', '.join(f'{kind.name} ({kind.title})' for kind in KINDS.values())}",
    "model": "model of the config; none for features of the text or the image alone",
    "layer": "block of the model, from 0",
    "width": "width of the SAE, as in the config",
    "pooling": "how an example became one row: a pooling over its content tokens, n-grams of word or char, image size",
    "threshold": "none: the pooled value; a number or a quantile: 1 where the pooled value exceeds it",
    "selection": "none: all latents; else how, and how many, were chosen on training rows",
    "data": "data set of the config",
    "control": "is the model one of re-drawn weights?",
    "split": "test, or a further test set",
    "examples": "scored examples",
    "macro_f1": "macro F1 on the scored examples",
    "accuracy": "share of the scored examples that are told right",
    "roc_auc": "area under the ROC curve; of several classes, the mean of one against the rest",
    "average_precision": "average precision, averaged as roc_auc",
    "cv_macro_f1": "macro F1 in cross-validation inside the training split: what cells are chosen by",
    "C": "inverse L2 penalty, chosen by cv_macro_f1",
    "C_at_edge": "is C the smallest or largest of those to choose from?",
    "tau": "the threshold, in the unit of the pooled value",
    "n_features": "columns of the matrix that the probe saw",
    "density": "share of nonzero entries of that matrix, on training rows",
    "training_examples": "examples that the probe was fitted on",
    "converged": "did the solver converge?",
    "contestant": "who is compared: a kind of features, of a trained model or (random) of one of re-drawn weights",
    "cells_searched": "among how many cells the best was chosen",
    "target": "transfer: the data set that is scored; behaviour: the model whose behaviour is predicted; matches: "
    "the SAE that the probe reads",
    "role": "source (another model), target (the model itself) or control",
    "class": "label",
    "precision": "precision of the class",
    "recall": "recall of the class",
    "f1": "F1 of the class",
    "support": "examples of the class",
    "example": "number of the example in its data set",
    "id": "id of the example",
    "group": "examples of one group stay on one side of a split and are drawn together",
    "label": "label that the data set gives",
    "predicted": "label that the probe gives",
    "probability": "probability of each class, in the order of the labels",
    "latent": "number of the latent; none for the intercept",
    "weight": "its weight on the matrix that the probe saw",
    "scale": "what the pooled value was divided by there; in matched_latents, what the partner's is multiplied by",
    "hook": "what of the block the SAE reads",
    "l0_on_data": "mean number of active latents per content token, on the data sets",
    "tokens": "content tokens behind it",
    "architecture": "architecture of an SAE trained here",
    "variance_explained": "share of the variance of held-out tokens that the SAE explains",
    "l0": "mean number of active latents per held-out token",
    "dead": "share of latents that fire on no held-out token",
    "held_out_tokens": "tokens that training never saw",
    "published_l0": "L0 that the SAE's release states",
    "warning": "what to doubt",
    "where": "where it is",
    "count": "how many",
    "of": "of how many; in match_histograms, what is counted: matched latents, shuffled rows, random directions",
    "such_as": "the first of them",
    "advice": "what to do about it",
    "classes": "number of classes",
    "largest_class": "share of the largest class",
    "repeated_texts": "examples whose text occurred before",
    "texts_of_two_labels": "examples whose text also has another label",
    "texts_in_training": "scored examples whose text the probe was trained on (leakage)",
    "kind": "of what: code, config, data, library, model, sae",
    "name": "which one",
    "item": "which part of it",
    "value": "its hash, commit or version",
    "claim": "left side > right side, in macro F1",
    "on": "data set, or scenario and its source and target, or match; all together: the mean over the test splits",
    "difference": "left minus right [macro F1]",
    "level": "level of the interval, corrected for the number of data sets",
    "verdict": "holds, fails or undecided: the whole interval above zero, below, or neither",
    "left": "cell of the left side",
    "right": "cell of the right side",
    "scenario": "scenario of the config",
    "source": "transfer: the data set that the probe was fitted on (joint: all sources); matches: the SAE that the "
    "probe was fitted on",
    "condition": "transfer: native (the target's own data), source (another's), joint, translated; matches: whose "
    "features the probe read, and through what",
    "fraction": "share of the training split",
    "native_macro_f1": "macro F1 of the probe on all of the target's own training data",
    "native_examples": "training examples of the target's own that do as well; none: never [examples]",
    "below_smallest": "is the smallest share of native data as good already?",
    "match": "match of the config",
    "over": "what latents were correlated over: examples or tokens",
    "pairing": "how latents found partners: one_to_one, best_match, identity; controls: random, directions",
    "rows": "examples or tokens that the match was found on",
    "latents": "latents of the SAE; in match_histograms, latents in the bin",
    "silent": "latents that never fire there, or are constant",
    "matched": "latents with a partner",
    "mean_correlation": "mean correlation of a latent with its partner",
    "median_correlation": "median of it",
    "above_null": "does the correlation exceed the 95th percentile of shuffled rows? In matches, the share that does",
    "tied": "is another partner as good? In matches, how many",
    "itself": "share of latents whose partner has the same number",
    "svcca": "mean canonical correlation of the leading singular directions of the matched latents",
    "svcca_null": "the same with the rows of one side shuffled",
    "svcca_components": "singular directions compared",
    "latent_a": "latent of SAE a",
    "latent_b": "latent of SAE b",
    "correlation": "correlation of the two",
    "draws": "draws of the control; its score is their mean",
    "draw": "number of the draw",
    "low": "lower end of the bin",
    "high": "upper end of the bin",
}
ENDS = {"_low": "lower end of the 95 % interval of {}", "_high": "upper end of the 95 % interval of {}"}


def meaning(column: str) -> str:
    """What a column of any table holds."""
    for end, about in ENDS.items():
        if column.endswith(end) and column.removesuffix(end) in COLUMNS:
            return about.format(column.removesuffix(end))
    return COLUMNS[column]


METRICS = intervals("macro_f1", "accuracy", "roc_auc", "average_precision")
FIT = ("cv_macro_f1", "C", "C_at_edge", "tau", "n_features", "density", "training_examples", "converged")
PLACE = (*CELL[:-1], "control")  # of a cell, without its data set
MATCHED = ("match", "source", "target", "data", "features", "condition", "over", "pooling", "threshold", "selection")
MATCH_SCORES = (*MATCHED, "split", *intervals("macro_f1", "accuracy"), "draws", "examples", "cv_macro_f1")
TRANSFER = (
    *("scenario", "source", "target", "condition", "fraction", "features", "model", "layer", "width", "pooling"),
    *("threshold", "control", *METRICS, "training_examples", "n_features", "C", "C_at_edge", "cv_macro_f1"),
    *("examples", "converged", "texts_in_training"),
)

TABLES = {
    table.name: table
    for table in (
        Table(
            "scores",
            "tables",
            "cell × data set × test split",
            (*CELL, "control", "split", "examples", *METRICS, *FIT),
            about="Every cell of the grid on every test split. Choose by cv macro f1 (inside the training split), "
            "never by macro f1 (the test split). density: share of nonzero entries of the matrix that the probe "
            "saw.",
            figures=(
                Figure("grid_figures.layer_width", per_model),
                Figure("grid_figures.pooling_threshold", per_model_with_saes),
                Figure("grid_figures.selection", per_model_with_selections),
            ),
        ),
        Table(
            "best",
            "tables",
            "data set × contestant: its best cell, and among how many",
            ("data", "contestant", "split", *PLACE, "examples", *METRICS, *FIT, "cells_searched"),
            about="Per data set, test split and kind of features, the cell with the best macro F1 in "
            "cross-validation inside the training split, scored once on the test split, with 95 % bootstrap "
            "intervals. cells searched: the more, the luckier the best.",
            figures=(Figure("grid_figures.baselines", once),),
        ),
        Table(
            "classes",
            "tables",
            "cell × class: precision, recall, F1",
            (*CELL, "split", "class", "precision", "recall", "f1", "support"),
            about="Precision, recall and F1 of each class in each cell.",
        ),
        Table(
            "saes",
            "tables",
            "SAE: L0, variance explained, dead latents",
            ("model", "layer", "width", "hook", "l0_on_data", "tokens", "published_l0", "warning"),
            varying="architecture|variance_explained|l0|dead|held_out_tokens",
            about="Per SAE: measured L0 (mean number of active latents per content token) beside the published one; "
            "of SAEs trained here, the share of variance explained, L0 and share of dead latents on held-out "
            "tokens.",
        ),
        Table(
            "datasets",
            "tables",
            "split: classes, repeated texts, leakage, and the data set's cut texts",
            names("data split examples classes largest_class repeated_texts texts_of_two_labels texts_in_training"),
            varying="truncated_.+",
            about="Per data set and split: examples, classes, share of the largest class, repeated texts, test texts "
            "that the training split holds too (leakage), and the data set's texts that a model read cut short.",
        ),
        Table(
            "provenance",
            "provenance",
            "fact of origin: hash or commit of each model, SAE and data set, versions of libraries, config, git commit",
            ("kind", "name", "item", "value"),
            about="What this study was computed from and with: hashes or commits of weights, SAEs and data, "
            "versions of libraries, the config's hash, this workflow's commit. Each parquet table carries these "
            "rows in its metadata.",
            category="Study",
        ),
        Table(
            "warnings",
            "tables",
            "doubt and place, counted: leakage, repeated and cut texts, L0 off, dead latents, saturated or empty "
            "matrices, C at its grid's edge, probes that did not converge",
            ("warning", "where", "count", "of", "such_as", "advice"),
            about="What to doubt in this study, most serious first: how many (count) of how many (of). No example "
            "is ever skipped: a row without text or label ends the run; texts that were cut are counted here as "
            "truncated.",
            category="Warnings",
        ),
        Table(
            "predictions",
            "tables",
            "cell × test example",
            (*CELL, "example", "id", "split", "group", "label", "predicted", "probability"),
            csv=False,
        ),
        Table(
            "coefficients",
            "tables",
            "cell of an SAE × class × latent, with its weight",
            (*CELL, "class", "latent", "weight", "scale"),
            csv=False,
        ),
        Table(
            "claims",
            "claims",
            "claim × data set: SAE above hidden states, TF-IDF, text length, re-drawn weights? Binarised above "
            "selected latents? Zero-shot above chance? With effect, interval and verdict: *holds / fails / "
            "undecided*",
            ("claim", "on", "split", *intervals("difference"), "level", "verdict", "left", "right", "examples"),
            about="The claims one by one: macro F1 of the left side minus that of the right, on the same test "
            "examples, paired bootstrap. An interval of one data set is corrected for their number (level). holds: "
            "the whole interval is above zero; fails: below; undecided: the data do not tell. Both sides are the "
            "best cells by cross-validation.",
            figures=(Figure("claim_figures.claims", once),),
        ),
        Table(
            "behaviour",
            "claims",
            "data set × who predicts what a model did: source models, the model's own features, controls",
            ("data", "target", "role", "contestant", "cells_searched", *PLACE, "split", "examples", *METRICS, *FIT),
            about="Who predicts what a model did: source models, the model itself (an upper bound), controls.",
            figures=(Figure("claim_figures.behaviour", once),),
            shown=with_behaviour,
        ),
        Table(
            "transfer",
            "transfer_tables",
            "source × target × condition × share of the training split, for every cell",
            TRANSFER,
            figures=(Figure("transfer_figures.gap", per_scenario_with_pairs),),
            there=with_transfers,
        ),
        Table(
            "transfer_best",
            "transfer_tables",
            "the same, for the cell best on the source",
            (*TRANSFER, "cells_searched"),
            about="Per scenario, source, target and share of the training split: the cell best on the source, "
            "scored on the target. native: trained on the target's own data.",
            figures=(
                Figure("transfer_figures.matrix", per_scenario),
                Figure("transfer_figures.matrix_intervals", per_scenario, caption="matrix"),
                Figure("transfer_figures.curves", per_scenario),
            ),
            there=with_transfers,
        ),
        Table(
            "crossings",
            "transfer_tables",
            "source × target: how many native examples a transferred probe is worth",
            (
                *names("scenario features control condition source target macro_f1 native_macro_f1"),
                *intervals("native_examples"),
                *names("below_smallest"),
            ),
            about="How many native training examples a transferred probe is worth.",
            there=with_transfers,
        ),
        Table(
            "transfer_predictions",
            "transfer_tables",
            "transferred cell × test example",
            names(
                "features model layer width pooling threshold scenario source target condition fraction "
                "example id group label predicted"
            ),
            csv=False,
            there=with_transfers,
        ),
        Table(
            "matches",
            "match_tables",
            "match × direction × pairing: partners found, correlations beside chance, SVCCA",
            names(
                "match source target over pooling pairing rows latents silent matched mean_correlation "
                "median_correlation above_null tied itself svcca svcca_null svcca_components"
            ),
            about="Per match of two SAEs: how many latents found a partner, how they correlate, and chance.",
            there=with_matches,
        ),
        Table(
            "match_best",
            "match_tables",
            "carried probe, at the cell best on the source, beside its controls",
            MATCH_SCORES,
            about="Probes carried across a match, at the cell that is best on the source: beside the probe on its "
            "own SAE, the target's own probe, a random match, random directions and a ridge map of hidden states.",
            figures=(Figure("match_figures.scores", per_match, caption="match"),),
            there=with_matches,
        ),
        Table("match_scores", "match_tables", "carried probe, of every cell", MATCH_SCORES, there=with_matches),
        Table(
            "match_claims",
            "match_tables",
            "match × data set × direction: do latents transfer?",
            (
                *names("match source target data pairing pooling threshold selection claim"),
                *intervals("difference"),
                *names("level verdict"),
            ),
            about="Whether latents transfer: the match against a random one, random directions and a ridge map.",
            there=with_matches,
        ),
        Table(
            "matched_latents",
            "match_tables",
            "latent and its partner",
            names("match over pooling pairing source target latent_a latent_b correlation scale above_null tied"),
            csv=False,
            there=with_matches,
        ),
        Table(
            "match_histograms",
            "match_tables",
            "bin of correlations",
            ("low", "high", "latents", "over", "pooling", "of", "match"),
            csv=False,
            figures=(Figure("match_figures.correlations", per_match, caption="match"),),
            there=with_matches,
        ),
        Table(
            "match_predictions",
            "match_tables",
            "carried probe × test example",
            (*MATCHED, "split", "draw", "example", "id", "group", "label", "predicted"),
            csv=False,
            there=with_matches,
        ),
    )
}


def readme() -> str:
    """The table of README.md."""
    head = "| table (`results/tables`, parquet and, but for those marked *, csv) | a row per |\n| --- | --- |\n"
    return head + "".join(f"| `{one.name}`{'' if one.csv else ' *'} | {one.row} |\n" for one in TABLES.values())


def columns() -> str:
    """docs/tables.md: the columns of every table."""
    parts = ["# Tables and their columns\n\nPrinted by `python -m tessera.results.catalogue`; a test compares.\n"]
    for table in TABLES.values():
        rows = "".join(f"| `{column}` | {meaning(column)} |\n" for column in table.columns)
        more = f"\nAnd, where there is something to say: columns named `{table.varying}`.\n"
        parts.append(f"## {table.name}\n\nA row per {table.row}.\n\n| column | meaning |\n| --- | --- |\n{rows}")
        parts[-1] += more if table.varying != "(?!)" else ""
    return "\n".join(parts)


if __name__ == "__main__":
    print(readme() if "readme" in sys.argv[1:] else columns(), end="")
