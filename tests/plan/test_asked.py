"""Which tables, figures and pages a study has, and what its matches read."""

import pytest
from tessera.plan import evidence, matches, results
from tessera.results.catalogue import TABLES

ANSWERED = {"path": "d.csv", "behaviour_of": "m"}
GRID = ["layer_width", "pooling_threshold"]
SCENARIO = ["matrix", "matrix_intervals", "curves"]


def figures(study):
    return [figure.name for _, figure, _ in results.figures(study)]


def test_the_figures_of_a_study(made):
    study = made()
    assert figures(study) == ["layer_width"] * 2 + GRID[1:] + [
        "selection",
        "baselines",
        "search",
        "claims",
        "gap",
        *SCENARIO,
    ]
    places = [place for _, figure, place in results.figures(study) if figure.name in ("layer_width", "selection")]
    assert places == [{"model": "m"}, {"model": "twin"}, {"model": "m"}]  # no control, and a twin without an SAE
    files = results.every_figure(study)
    assert len({*files}) == len(files) == 2 * len(figures(study))
    assert files[:2] == [f"results/figures/model=m/layer_width.{format}" for format in ("pdf", "png")]
    assert "results/figures/baselines.pdf" in files and "results/figures/scenario=t/curves.png" in files


def test_a_gap_needs_another_source(made):
    for scenario, there in (
        ({"sources": ["d"]}, False),
        ({"sources": ["d"], "targets": ["e"]}, True),
        ({"sources": ["d", "e"], "targets": ["e"]}, True),
        ({"sources": ["d", "e"]}, True),
    ):
        study = made(transfers={"t": scenario})
        assert ("gap" in figures(study)) == there, scenario


def test_a_gap_needs_an_sae_on_all_data_of_the_scenario(made, edited):
    scenario = {"t": {"sources": ["d", "e"]}}
    assert "gap" not in figures(made(transfers=scenario, models=edited("m", data=["d"])))


def test_selections_are_drawn_where_there_are_several(made, config):
    assert "selection" not in figures(made(grid=config["grid"] | {"selections": ["none"]}))
    assert "selection" not in figures(made(grid=config["grid"] | {"selections": ["anova-8"]}))
    assert "selection" in figures(made())


def test_behaviour_has_a_figure_where_there_is_one(made, config):
    assert "behaviour" not in figures(made())
    study = made(datasets=config["datasets"] | {"d": ANSWERED})
    assert "behaviour" in figures(study)


def test_the_tables_and_pages_of_a_study(made):
    plain = made(transfers={})
    assert results.rules(plain) == ["tables", "provenance", "claims"]
    assert results.rules(made()) == ["tables", "provenance", "claims", "transfer_tables"]
    assert results.outputs(plain, "provenance") == {
        "provenance": "results/tables/provenance.parquet",
        "provenance_csv": "results/tables/provenance.csv",
    }
    assert len(results.every_table(plain)) == 11 + 9 + 2 + 4  # coefficients and predictions have no csv
    pages = ["saes", "norms", "datasets", "provenance", "warnings"]
    assert results.pages(plain) == results.pages(made()) == pages
    assert [page for page, *_ in results.every_page(plain)] == ["study", "runtimes", *pages]
    assert results.claimed(plain) == ["scores", "predictions"]


def test_a_model_of_known_directions_has_tables_of_recovery(made, edited, tmp_path):
    (tmp_path / "truth").touch()
    models = edited("m", truth=str(tmp_path / "truth"))
    known = made(models=models)
    assert known.truths == {"m": str(tmp_path / "truth")} and not made().truths
    assert [table for table in results.outputs(known, "recovery") if "csv" not in table] == ["recovery"]
    decoder = "results/saes/model=m/layer={}/width={}/decoder.safetensors"
    assert evidence.known_decoders(known) == [decoder.format(*place) for place in ((1, 512), (1, "2k"), (3, 512))]
    placed = made(models=models, evidence={"places": ["m/3/512/d"]})
    assert figures(placed)[-2:] == ["recovery", "true_latents"]
    assert evidence.known_latents(placed) == ["results/evidence/model=m/layer=3/width=512/data=d/latents.parquet"]


def test_a_rule_draws_the_figures_of_its_tables(made):
    study = made()
    assert results.figured(study) == ["tables", "claims", "transfer_tables"]
    drawn = ["results/tables/transfer.parquet", "results/tables/transfer_best.parquet"]
    assert results.tables_drawn(study, "transfer_tables") == drawn
    asked, files = results.asked_figures(study, "claims"), results.figure_files(study, "claims", "pdf")
    assert asked == [["claims", "claim_figures.claims", {}]] and files == ["results/figures/claims.pdf"]
    captions = [caption for _, caption, _ in results.captions(study, "transfer_tables")]
    assert captions == ["gap", "matrix", "matrix", "curves"]


@pytest.fixture
def matched(made, config):
    """A match of two SAEs of one model, on one set, carried on both."""
    a, b = ({"model": "m", "layer": layer, "width": 512} for layer in (1, 3))
    match = {"a": a, "b": b, "texts": ["d"], "data": ["d", "e"]}
    saes = config["saes"] | {"other": {"train": {"texts": ["d"], "seed": 1}}}
    models = config["models"] | {"m": config["models"]["m"] | {"passes": [{1: [512], 3: ["512_other"]}]}}
    return made(matches={"t": match | {"b": b | {"width": "512_other"}}}, saes=saes, models=models)


def test_what_a_match_reads(matched):
    assert matches.sides(matched, "t")["b"] == {"model": "m", "layer": "3", "width": "512_other"}
    assert matches.text_features(matched, "t", "b") == [
        f"results/features/model=m/layer=3/width=512_other/data=d/pooling={pooling}/features.parquet"
        for pooling in ("sum", "max")
    ]
    assert len(matches.data_features(matched, "t", "a")) == 2 * 2
    assert len(matches.text_shards(matched, "t", "a")) == 3 and len(matches.all_shards(matched, "t", "a")) == 3 + 1
    assert len(matches.probed(matched, "t", "a")) == 2 * (2 * 3 * 2 + 2) * 2  # of latents, and of hidden states
    assert matches.every_part(matched, "pairings") == ["results/matches/match=t/pairings.parquet"]
    assert results.rules(matched)[-1] == "match_tables" and "match_claims" in results.claimed(matched)
    assert [figure for figure in figures(matched) if figure in ("scores", "correlations")] == ["scores", "correlations"]


def test_the_place_of_a_figure_is_in_columns_of_its_table(matched):
    found = [(figure.name, {*place} - {*TABLES[table].columns}) for table, figure, place in results.figures(matched)]
    assert [name for name, missing in found if missing] == []
