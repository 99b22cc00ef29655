"""The catalogue of results: each table once, with its rows, columns, page and figures.

Rules, the writer of tables, pages, docs/tables.md and tests read it. `python -m tessera.results.catalogue` prints
docs/tables.md.
"""

from tessera.results import evidence_entries, intervention_entries
from tessera.results.columns import meaning
from tessera.results.entries import (
    Figure,
    Table,
    intervals,
    names,
    once,
    per_data_with_trees,
    per_match,
    per_model,
    per_model_with_saes,
    per_model_with_selections,
    per_scenario,
    per_scenario_with_pairs,
    with_behaviour,
    with_matches,
    with_regimes,
    with_transfers,
    with_trees,
)
from tessera.study.grid import CELL

METRICS = (*intervals("macro_f1", "accuracy", "roc_auc", "average_precision", "ece"), "reliability")
FIT = ("cv_macro_f1", "C", "C_at_edge", "setting", "tau", "n_features", "density", "training_examples", "converged")
CONTROL = ("control", "frozen")  # what of a cell makes it one of a control
PLACE = (*CELL[:-1], *CONTROL)  # of a cell, without its data set
MATCHED = ("match", "source", "target", "data", "features", "condition", "over", "pooling", "threshold", "selection")
MATCH_SCORES = (*MATCHED, "split", *intervals("macro_f1", "accuracy", "roc_auc"), "draws", "examples", "cv_macro_f1")
# Repeats and draws of a cell, or of the best cells, as one.
WHOLE = (*METRICS, "cv_macro_f1", "density", "n_features", "training_examples", "examples", "converged")
WHOLE += ("repeats", "draws")
TRANSFER = (
    *("scenario", "source", "target", "condition", "fraction", "repeat", "features", "model", "layer", "width"),
    "pooling",
    *("threshold", *CONTROL, *METRICS, "training_examples", "n_features", "C", "C_at_edge", "cv_macro_f1"),
    *("examples", "converged", "texts_in_training"),
)

TABLES = {
    table.name: table
    for table in (
        Table(
            "scores",
            "tables",
            "cell × data set × test split × repeat (and draw)",
            (*CELL, *CONTROL, "draw", "repeat", "split", "examples", *METRICS, *FIT),
            about="Every fit of every cell, as it was scored: intervals are of its own test examples alone.",
        ),
        Table(
            "cells",
            "tables",
            "cell × data set × test split, its repeats and draws as one",
            (*CELL, *CONTROL, "split", *WHOLE, "C_at_edge"),
            about="Every cell of the grid on every test split. Choose by cv macro f1 (inside the training split), "
            "never by macro f1 (the test split). density: share of nonzero entries of the matrix that the probe "
            "saw. Intervals count test examples, repeats (with the overlap of their training sets) and draws.",
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
            ("data", "contestant", "split", *PLACE, "cells_searched", "chosen", *WHOLE),
            about="Per data set, test split and kind of features, the cell with the best macro F1 in "
            "cross-validation inside the training split, in each repeat anew, with 95 % intervals; the cell that "
            "stands here is the one that most repeats choose (chosen: their share). cells searched: the more, the "
            "luckier the best.",
            figures=(Figure("grid_figures.baselines", once),),
        ),
        Table(
            "search",
            "tables",
            "data set × contestant × number of its cells that are searched: what to expect of the best",
            ("data", "contestant", "cells_searched", "macro_f1"),
            about="What a contestant owes to the size of its search: the macro F1 on the test split to expect of the "
            "cell that is best by cross-validation among k of its cells, drawn at random.",
            figures=(Figure("claim_figures.search", once),),
        ),
        Table(
            "classes",
            "tables",
            "cell × class: precision, recall, F1",
            (*CELL, "draw", "repeat", "split", "class", "precision", "recall", "f1", "support"),
            about="Precision, recall and F1 of each class in each cell.",
        ),
        Table(
            "saes",
            "tables",
            "SAE: L0, variance explained, dead latents",
            names("model layer width draw hook l0_on_data tokens published_l0 warning frozen"),
            varying="architecture|variance_explained|variance_explained_per_token|l0|dead|dense|held_out_tokens",
            about="Per SAE: measured L0 (mean number of active latents per pooled token) beside the published one; "
            "of SAEs trained here, the share of variance explained, L0 and shares of dead and dense latents on "
            "held-out tokens, massive ones left out.",
            category="Sources",
        ),
        Table(
            "norms",
            "tables",
            "model × layer × data set: norms of its tokens, and how many are massive",
            (
                *("model", "layer", "hook", "data", "tokens", "median_norm", "p99_norm", "largest_norm", "massive"),
                *("massive_texts", "massive_first", "massive_in_front", "pooled"),
            ),
            about="Norms of the content tokens at what the SAEs read. A token is massive where its norm is over 10 "
            "times the median of its text: the model parks attention on it, mostly on the first token of a text "
            "without BOS. Massive tokens are left out of SAE training, and of pooling unless the model's entry says "
            "pool_massive.",
            category="Sources",
        ),
        Table(
            "datasets",
            "tables",
            "split: classes, repeated texts and near-duplicates, leakage, and the data set's cut texts",
            names(
                "data split examples classes largest_class repeated_texts texts_of_two_labels near_duplicates "
                "largest_cluster texts_in_training near_in_training labels_alike"
            ),
            varying="truncated_.+",
            about="Per data set and split: examples, classes, share of the largest class, repeated texts and "
            "near-duplicates, test texts that the training split holds too, or nearly so (leakage), and the data set's "
            "texts that a model read cut short.",
            category="Sources",
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
            "doubt and place, counted: leakage, near-duplicates, labels alike, repeated and cut texts, L0 off, massive "
            "tokens, dead and dense latents, saturated or empty matrices, C at its grid's edge, probes that did not "
            "converge",
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
            (*CELL, "draw", "repeat", "example", "id", "split", "group", "label", "predicted", "probability"),
            csv=False,
        ),
        Table(
            "coefficients",
            "tables",
            "cell of an SAE × class × latent, with its weight",
            (*CELL, "draw", "repeat", "class", "latent", "weight", "scale"),
            csv=False,
        ),
        Table(
            "claims",
            "claims",
            "claim × data set: SAE above hidden states, TF-IDF, text length, re-drawn weights, frozen SAEs? Binarised "
            "above selected latents? Zero-shot above chance? With effect, interval and verdict: *holds / fails / "
            "undecided*",
            (
                *("claim", "role", "on", "split", *intervals("difference"), "metric"),
                *("level", "p", "verdict", "agree", "spread"),
                *("budget", *intervals("equal_difference"), "larger_search_only", "left", "right", "left_cells"),
                *("right_cells", "left_draws", "right_draws", "repeats", "examples"),
            ),
            about="The claims one by one: macro F1 of the left side minus that of the right, on the same test "
            "examples. all together: for data sets to come, of which these are a sample; on these data sets: for these "
            "alone. holds: the whole interval is above zero; fails: below; undecided: the data do not tell. The "
            "primary claim has a 95 % interval; all others are corrected together (Holm; level). agree: the share of "
            "repeats that come to the same verdict alone, each at .95. equal difference: where both sides search as "
            "few cells (budget).",
            figures=(Figure("claim_figures.claims", once),),
        ),
        Table(
            "behaviour",
            "claims",
            "data set × who predicts what a model did: source models, the model's own features, controls",
            ("data", "target", "role", "contestant", "cells_searched", "chosen", "split", *PLACE, *WHOLE),
            about="Who predicts what a model did: source models, the model itself (an upper bound), controls.",
            figures=(Figure("claim_figures.behaviour", once),),
            shown=with_behaviour,
        ),
        Table(
            "regimes",
            "regime_tables",
            "regime and level × data set × contestant: its best cell there, and how far the SAE is above it",
            (
                *("regime", "level", "data", "contestant", "split", *PLACE, "cells_searched", "chosen", *WHOLE),
                *intervals("sae_above"),
            ),
            about="The best cells where training splits are small (scarcity: the share that is left), unequal "
            "(imbalance: the rarest class over the commonest) or partly wrong (noise: the probability of another "
            "label), beside the plain ones (none) and with their further test sets. Best in cross-validation inside "
            "the training split of that regime; test examples are the same everywhere. sae above: its 95 % interval "
            "is of one comparison, not corrected for the others of the table.",
            figures=(Figure("regime_figures.regimes", once),),
            there=with_regimes,
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
                *names("scenario features control frozen condition source target macro_f1 native_macro_f1"),
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
                "features model layer width pooling threshold repeat target condition fraction example id group label "
                "predicted scenario source"
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
            "own SAE, the target's own probe, a random match, random directions, random SAEs and a ridge map of hidden "
            "states.",
            figures=(Figure("match_figures.scores", per_match, caption="match"),),
            there=with_matches,
        ),
        Table("match_scores", "match_tables", "carried probe, of every cell", MATCH_SCORES, there=with_matches),
        Table(
            "match_claims",
            "match_tables",
            "match × data set × direction × control: what `latents transfer` in `claims` rests on",
            (
                *names("match source target data pairing pooling threshold selection against metric"),
                *intervals("difference"),
                *names("error freedom p draws examples"),
            ),
            about="How much better a match is than a random match, random directions, random SAEs and a ridge map, in "
            "macro F1 and in ROC AUC, with 95 % intervals; whether latents transfer stands in the claims.",
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
        Table(
            "shap_values",
            "shap_tables",
            "best cell of a kind of features and of trees × class × column that tells most to it",
            (*CELL, *names("class latent rank_shap rank_shap_in_class absolute_shap shap shap_others")),
            about="What tells most to trees, on the test split of the first repeat: of the cell of each kind of "
            "features and of trees that is best by cross-validation, the columns of the largest mean |SHAP value|.",
            figures=(Figure("tree_figures.shap_values", per_data_with_trees),),
            there=with_trees,
        ),
        *evidence_entries.TABLES,
        *intervention_entries.TABLES,
    )
}

INTRODUCTION = """# Tables and columns

This page is for looking up what a table of `results/tables` holds, and what a column means. Tables are parquet and, but
for those marked *, csv. Each parquet table carries the rows of `provenance` in its metadata. The page is printed from
the catalogue (`python -m tessera.results.catalogue`); a test compares.

| table | a row per |
| --- | --- |
"""


def docs() -> str:
    """docs/tables.md: every table, then the columns of each."""
    parts = [INTRODUCTION + "".join(f"| {_linked(one)} | {one.row} |\n" for one in TABLES.values())]
    for table in TABLES.values():
        rows = "".join(f"| `{column}` | {meaning(column)} |\n" for column in table.columns)
        more = f"\nAnd, where there is something to say: columns named `{table.varying}`.\n"
        parts.append(f"## {table.name}\n\nA row per {table.row}.\n\n| column | meaning |\n| --- | --- |\n{rows}")
        parts[-1] += more if table.varying != "(?!)" else ""
    return "\n".join(parts)


def _linked(table: Table) -> str:
    return f"[`{table.name}`](#{table.name})" + ("" if table.csv else " *")


if __name__ == "__main__":
    print(docs(), end="")
