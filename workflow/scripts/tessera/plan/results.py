"""What the rules of results ask of the catalogue: the tables, figures and pages of a study."""

from tessera.results.catalogue import TABLES
from tessera.results.entries import Figure
from tessera.study import paths
from tessera.study.study import Study


def rules(study: Study) -> list[str]:
    """The rules that write a table of a study."""
    return list(dict.fromkeys(table.rule for table in TABLES.values() if table.there(study)))


def outputs(study: Study, rule: str) -> dict[str, str]:
    """What a rule writes: each of its tables that a study has by its name, and name_csv where there is one."""
    found, tables = {}, [table for table in TABLES.values() if table.rule == rule]
    for table in [table for table in tables if table.there(study)] or tables:  # a rule that nothing asks for writes too
        found[table.name] = paths.TABLE.format(table=table.name, format="parquet")
        if table.csv:
            found[f"{table.name}_csv"] = paths.TABLE.format(table=table.name, format="csv")
    return found


def every_table(study: Study) -> list[str]:
    return [file for rule in rules(study) for file in outputs(study, rule).values()]


def parquet(table: str) -> str:
    return paths.TABLE.format(table=table, format="parquet")


def figures(study: Study, rule: str | None = None) -> list[tuple[str, Figure, dict]]:
    """Table, figure and place of every figure, or of those whose tables a rule writes."""
    chosen = [table for table in TABLES.values() if rule in (None, table.rule)]
    return [(table.name, figure, place) for table in chosen for figure, place in table.places(study)]


def figure_file(figure: Figure, place: dict[str, str], format: str) -> str:
    folders = "".join(f"{axis}={value}/" for axis, value in place.items())
    return paths.FIGURE.format(figure=folders + figure.name, format=format)


def every_figure(study: Study) -> list[str]:
    return [figure_file(figure, place, format) for _, figure, place in figures(study) for format in ("pdf", "png")]


def pages(study: Study) -> list[str]:
    """The tables that have a page in the report, in the order of the catalogue."""
    return [table.name for table in TABLES.values() if table.category and table.there(study)]


def claimed(study: Study) -> list[str]:
    """The tables that claims rest on."""
    return [
        table
        for table in (
            "scores",
            "predictions",
            "transfer_best",
            "transfer_predictions",
            "match_claims",
            "evidence_claims",
            "intervention_claims",
        )
        if TABLES[table].there(study)
    ]


def told(study: Study) -> list[str]:
    """The tables that the card of an exported probe tells of."""
    named = ("cells", "claims", "warnings", "datasets", "shown_latents")
    return [parquet(table) for table in named if TABLES[table].there(study)]


def figured(study: Study) -> list[str]:
    """The rules whose tables are drawn as figures."""
    return [rule for rule in rules(study) if figures(study, rule)]


def drawn(study: Study) -> list[list]:
    """[model, width, model and width in the config, draw] of what is drawn again, its hidden states among it."""
    places = [(cell["model"], None) for cell in study.layer_cells()]
    places += [(cell["model"], cell["width"]) for cell in study.sae_cells()]
    found = [[model, width, *study.drawn(model, width)] for model, width in dict.fromkeys(places)]
    return [place for place in found if place[-1] > 0]


def frozen(study: Study) -> list[list]:
    """[model, width, what of it is frozen] of every frozen SAE, each draw among them."""
    cells = dict.fromkeys((cell["model"], cell["width"]) for cell in study.sae_cells())
    return [[*cell, what] for cell in cells if (what := study.frozen(*cell))]


def identified(study: Study) -> list[str]:
    """Data sets whose ids are the user's: one id in two of them is one example."""
    return [name for name, spec in study.datasets.items() if "id" in spec]


def tables_drawn(study: Study, rule: str) -> list[str]:
    """The tables of a rule that its figures are drawn from."""
    return list(dict.fromkeys(parquet(table) for table, _, _ in figures(study, rule)))


def asked_figures(study: Study, rule: str) -> list[list]:
    """[table, module and function, place] of every figure of a rule's tables."""
    return [[table, figure.draw, place] for table, figure, place in figures(study, rule)]


def figure_files(study: Study, rule: str, format: str) -> list[str]:
    """Where they are drawn to, in the same order."""
    return [figure_file(figure, place, format) for _, figure, place in figures(study, rule)]


def captions(study: Study, rule: str) -> list[tuple[str, str, dict[str, str]]]:
    """File, caption and labels in the report of each of them."""
    return [
        (
            figure_file(figure, place, "png"),
            figure.caption or figure.name,
            {"figure": figure.name.replace("_", " "), **place},
        )
        for _, figure, place in figures(study, rule)
    ]


def main_figure(study: Study) -> str:
    """The figure that the report begins with: the best cell of each contestant."""
    return next(figure_file(figure, place, "png") for name, figure, place in figures(study) if name == "best")


def every_page(study: Study) -> list[tuple[str, str, str]]:
    """Name, file and category of every page: of the study, of its cost, of its tables."""
    own = [("study", "Study"), ("runtimes", "Study")]
    own += [(table, TABLES[table].category) for table in pages(study)]
    return [(page, paths.PAGE.format(page=page), category) for page, category in own]
