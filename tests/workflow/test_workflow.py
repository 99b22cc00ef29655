"""The real workflow on a tiny study: a run, its results, reruns and refusals."""

import re
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from runs import CELLS, change, make_study, planned, snakemake, texts
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from tessera.results.merging import merge_cells


def test_every_cell_is_in_the_tables(study):
    scores = pl.read_parquet(study / "results/tables/scores.parquet")
    rows = scores.group_by("features", "control").len().sort("features", "control").rows()
    splits = 3  # test of both data sets, and the shifted set of one
    assert rows == [
        ("hidden", False, 2 * 4 * splits),
        ("hidden", True, 1 * 4 * splits),
        ("length", False, 1 * splits),
        ("sae", False, 1 * 2 * 3 * 2 * splits),
        ("tfidf", False, 2 * splits),
    ]
    assert scores.select(pl.col("macro_f1", "cv_macro_f1", "density").is_between(0, 1).all()).row(0) == (True,) * 3
    assert scores.filter(pl.col("macro_f1") < pl.col("macro_f1_low")).is_empty()
    assert pl.read_csv(study / "results/tables/scores.csv").shape == scores.shape
    for figure in ("baselines", "model=bert/layer_width", "model=bert/pooling_threshold"):
        for kind in ("pdf", "png"):
            assert (study / f"results/figures/{figure}.{kind}").stat().st_size > 1000


def test_a_stage_reads_back_as_one_table(study):
    pattern = str(study / "results/probes/features=sae/**/scores.parquet")
    cells = pl.scan_parquet(pattern, hive_partitioning=True, try_parse_hive_dates=False).collect()
    assert {"model", "layer", "width", "data", "pooling", "threshold", "split", "macro_f1"} <= set(cells.columns)


def test_every_cell_sees_the_same_split(study):
    predictions = pl.read_parquet(study / "results/tables/predictions.parquet")
    place = ["features", "model", "layer", "width", "pooling", "threshold", "selection", "probe", "data", "split"]
    ids = predictions.group_by(place).agg(pl.col("id").sort()).group_by("data", "split").agg(pl.col("id").n_unique())
    assert ids["id"].to_list() == [1, 1, 1]
    own = predictions.filter(data="own")["id"].unique()
    assert sorted(own) == sorted(f"o-{index}" for index in range(60, 90))


@pytest.mark.parametrize("threshold", ["none", "1.0", "q50"])
@pytest.mark.parametrize("pooling", ["sum", "max"])
def test_a_cell_agrees_with_its_own_recomputation(study, pooling, threshold):
    """Naive pooling of the latents shards, thresholded, one scikit-learn fit at the recorded C."""
    rows = {}
    for shard in sorted(study.glob("results/activations/model=bert/data=weather/pass=0/shard=*")):
        for token in pl.read_parquet(shard / "latents/layer=1/width=64.parquet").iter_rows(named=True):
            row = rows.setdefault(token["example"], np.zeros(64))
            values = np.array(token["activation"])
            row[token["latent"]] = {"sum": np.add, "max": np.maximum}[pooling](row[token["latent"]], values)
    examples = pl.read_parquet(study / "results/examples/data=weather/examples.parquet")
    features = np.array([rows[example] for example in examples["example"]])
    train, test = ((examples["split"] == split).to_numpy() for split in ("train", "test"))
    if threshold == "none":
        features = features / np.maximum(features[train].max(axis=0), 1e-9) * (features[train].max(axis=0) > 0)
    else:
        positive = features[train][features[train] > 0]
        features = (features > (1.0 if threshold == "1.0" else np.quantile(positive, 0.5))).astype(float)
    cell = pl.read_parquet(
        study / f"{CELLS}/pooling={pooling}/threshold={threshold}/selection=none/probe=logistic/scores.parquet"
    ).row(0, named=True)
    label = examples["label"].to_numpy()
    model = LogisticRegression(C=cell["C"], class_weight="balanced", max_iter=5000, tol=1e-8)
    predicted = model.fit(features[train], label[train]).predict(features[test])
    assert cell["split"] == "test"
    assert f1_score(label[test], predicted, average="macro") == pytest.approx(cell["macro_f1"], abs=1e-9)
    assert features[train].any(axis=0).sum() == cell["n_features"]


def test_best_is_best_inside_training(study):
    scores = pl.read_parquet(study / "results/tables/scores.parquet").filter(split="test", features="sae")
    best = pl.read_parquet(study / "results/tables/best.parquet").filter(split="test", contestant="SAE")
    for data, score in best.select("data", "cv_macro_f1").iter_rows():
        assert score == scores.filter(data=data)["cv_macro_f1"].max()


def test_regimes_stand_beside_the_cells_of_a_finished_study(copy):
    """No cell is made anew, nor a claim; another level is fitted without any activation."""
    change(copy, lambda config: config.update(regimes={"scarcity": [0.5], "noise": [0.2]}))
    jobs = {"regimes_sae_logistic": 2, "regimes_hidden_logistic": 6, "regimes_tfidf_logistic": 2}
    jobs |= {"regimes_length_logistic": 2, "regime_tables": 1, "draw_regime_tables": 1}
    assert planned(copy) == jobs
    snakemake(copy, "--", "results/tables/regimes.csv", "results/figures/regimes.png")
    assert planned(copy) == {}
    table = pl.read_parquet(copy / "results/tables/regimes.parquet")
    best = pl.read_parquet(copy / "results/tables/best.parquet")
    assert table.filter(regime="none").select(best.columns).equals(best)
    rows = table.group_by("regime", "level", "split").agg(pl.len()).sort("regime", "level", "split").rows()
    contestants = 5
    assert rows == [
        (*place, split, contestants * sets)
        for place in (("noise", 0.2), ("none", None), ("scarcity", 0.5))
        for split, sets in (("late", 1), ("test", 2))
    ]
    cells = merge_cells(map(str, (copy / "results/regimes").glob("**/scores.parquet"))).collect()
    assert len(cells) == 2 * len(pl.read_parquet(copy / "results/tables/scores.parquet"))
    sizes = cells.filter(data="own").group_by("regime").agg(pl.col("training_examples").unique())
    assert dict(sizes.iter_rows()) == {"scarcity": [31], "noise": [60]}
    change(copy, lambda config: config["regimes"].update(imbalance=[0.5]))
    assert planned(copy) == jobs
    change(copy, lambda config: config["regimes"].update(scarcity=[0.04]))
    printed = snakemake(copy, fails=True)
    assert re.search("error: config key regimes.scarcity: at 0.04 of own, class .* drop this level\n", printed)


SCENARIO = {"sources": ["weather", "own"], "joint": True, "fractions": [0.4, 1]}
MOVED = ["--", "results/tables/transfer.csv", *(f"results/figures/scenario=move/{f}.pdf" for f in ("matrix", "curves"))]


@pytest.fixture(scope="module")
def transferred(study, tmp_path_factory) -> Path:
    """The finished study with a scenario, one set's test examples translated and in another order."""
    folder = tmp_path_factory.mktemp("transferred") / "study"
    shutil.copytree(study, folder)
    texts("o", 90, 2)[60:].reverse().write_csv(folder / "translations.csv")

    def edit(config):
        columns = {key: config["datasets"]["own"][key] for key in ("text", "label", "id")}
        config["datasets"]["moved"] = {"path": "translations.csv", **columns}
        config["transfers"] = {"move": {**SCENARIO, "translated": {"own": "moved"}}}
        config["baselines"] = {"hidden": [], "tfidf": ["word"]}  # a job per source and layer saved

    change(folder, edit)
    snakemake(folder, *MOVED)
    return folder


def test_every_transfer_is_in_the_tables(transferred):
    tables = {name: pl.read_parquet(transferred / f"results/tables/{name}.parquet") for name in ("transfer", "scores")}
    for name in ("transfer_best", "crossings", "transfer_predictions"):
        tables[name] = pl.read_parquet(transferred / f"results/tables/{name}.parquet")
    pairs = {("joint", "own", "joint"), ("joint", "weather", "joint"), ("weather", "weather", "native")}
    pairs |= {("own", "own", "native"), ("own", "weather", "source"), ("weather", "own", "source")}
    pairs |= {("joint", "own", "translated"), ("weather", "own", "translated")}
    expected = {(*pair, fraction) for pair in pairs for fraction in (0.4, 1.0)}
    place = ["source", "target", "condition", "fraction"]
    cells = {("sae", False): 1 * 2 * 3, ("tfidf", False): 1}
    for name, kept in (("transfer", cells), ("transfer_best", dict.fromkeys(cells, 1))):
        for kind, number in kept.items():
            rows = tables[name].filter(features=kind[0], control=kind[1])
            assert rows.group_by(place).len().sort(place).rows() == [(*row, number) for row in sorted(expected)]
        assert set(tables[name].group_by("features", "control").len().select("features", "control").rows()) == set(
            cells
        )
        csv = pl.read_csv(transferred / f"results/tables/{name}.csv")
        assert csv.shape == tables[name].shape and csv.columns == tables[name].columns
    assert len(tables["crossings"]) == len(cells) * sum(
        condition in ("source", "translated") for *_, condition in pairs
    )
    cell = ["features", "model", "layer", "width", "pooling", "threshold"]
    native = tables["transfer"].filter(condition="native", fraction=1.0).with_columns(data="target")
    all_latents = pl.col("selection").is_null() | (pl.col("selection") == "none")
    both = native.join(tables["scores"].filter(all_latents, split="test"), on=[*cell, "data"], nulls_equal=True)
    assert len(both) == len(native) == 2 * sum(cells.values())
    for column in ("macro_f1", "roc_auc_low", "C", "n_features", "training_examples"):
        assert both[column].to_list() == both[f"{column}_right"].to_list()
    answers = tables["transfer_predictions"].filter(condition="translated")["id"].unique()
    assert sorted(answers) == sorted(f"o-{index}" for index in range(60, 90))


def test_transfers_are_drawn(transferred):
    for figure in ("matrix", "curves"):
        for kind in ("pdf", "png"):
            assert (transferred / f"results/figures/scenario=move/{figure}.{kind}").stat().st_size > 1000


def test_a_scenario_touches_no_features(copy):
    change(copy, lambda config: config.update(transfers={"move": SCENARIO}))
    jobs = {"transfer_sae": 3, "transfer_hidden": 9, "transfer_tfidf": 3, "transfer_tables": 1}
    jobs["draw_transfer_tables"] = 1
    assert planned(copy) == jobs | {"claims": 1, "draw_claims": 1}
    cell = "model=bert/layer=2/pooling=mean/scores.parquet"
    file = f"results/transfer/features=hidden/scenario=move/source=own/{cell}"
    snakemake(copy, "--", file)
    native = pl.read_parquet(copy / file).filter(target="own", fraction=1.0)["macro_f1", "C", "roc_auc_low"]
    alone = "results/probes/features=hidden/model=bert/layer=2/data=own/pooling=mean/probe=logistic/scores.parquet"
    assert native.equals(pl.read_parquet(copy / alone)["macro_f1", "C", "roc_auc_low"])


@pytest.mark.parametrize("table", ["transfer", "match_best"])
def test_tables_of_transfers_and_matches_wait_for_no_cell_they_do_not_read(tmp_path, table):
    folder = make_study(tmp_path / "study")
    side = {"model": "bert", "layer": 1, "width": 64}
    other = {"train": {**yaml.safe_load((folder / "study.yaml").read_text())["saes"]["trained"]["train"], "seed": 9}}

    def edit(config):
        config["transfers"] = {"move": SCENARIO}
        config["saes"]["other"] = other
        config["models"]["bert"]["passes"][0][1].append("64_other")
        config["matches"] = {"two": {"a": side, "b": {**side, "width": "64_other"}, "texts": ["weather"]}}

    change(folder, edit)
    jobs = planned(folder, "--", f"results/tables/{table}.parquet")
    assert jobs["provenance"] == 1 and "tables" not in jobs and "probe_tfidf" not in jobs
    assert (jobs.get("probe_sae", 0), jobs.get("probe_hidden", 0)) == {"transfer": (0, 0), "match_best": (2, 1)}[table]


def test_a_target_touches_no_features(transferred):
    """`moved` was a translation until now: it is cached."""
    assert planned(transferred, *MOVED) == {}
    before = (transferred / "study.yaml").read_text()
    change(transferred, lambda config: config["transfers"]["move"].update(targets=["weather", "own", "moved"]))
    jobs = planned(transferred, *MOVED)
    assert jobs == {"transfer_sae": 4, "transfer_tfidf": 4, "transfer_tables": 1, "draw_transfer_tables": 1}
    (transferred / "study.yaml").write_text(before)


@pytest.fixture
def two_recipes(study, tmp_path) -> Path:
    """A small study, not run, of SAEs of two architectures side by side."""
    shutil.copy(study / "weather.csv", tmp_path)
    config = yaml.safe_load((study / "study.yaml").read_text())
    recipe = config["saes"]["trained"]["train"] | {"texts": ["weather"]}
    config |= {
        "models": {"bert": {"path": str(study / "bert"), "max_tokens": 16, "saes": "trained"}},
        "saes": {"trained": {"train": recipe}, "topk": {"train": recipe | {"architecture": "topk", "k": 6}}},
        "datasets": {"weather": {**config["datasets"]["weather"]}},
        "shard_size": 1000,
        "grid": {"poolings": ["sum"], "thresholds": ["none"]},
        "baselines": {"hidden": [], "tfidf": ["word"]},
    }
    config["models"]["bert"]["passes"] = [{1: [64, "64_topk"]}]
    del config["datasets"]["weather"]["shifts"]
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


def test_recipes_with_the_same_texts_share_a_cache(two_recipes):
    once = ("examples", "residuals", "extract", "probe_tfidf", "probe_length", "tables")
    jobs = planned(two_recipes)
    assert {rule: jobs[rule] for rule in once} == dict.fromkeys(once, 1)
    assert (jobs["train_sae"], jobs["prepare_sae"], jobs["probe_sae"]) == (2, 2, 2)
    change(two_recipes, lambda config: config["saes"]["topk"]["train"].update(tokens=2048))
    assert planned(two_recipes) == jobs | {"residuals": 2}


def test_a_width_label_takes_the_sae_of_its_recipe(two_recipes):
    snakemake(two_recipes)
    results = two_recipes / "results"
    assert len(list(results.glob("residuals/*/*/*"))) == 1
    scores = pl.read_parquet(results / "tables/scores.parquet").filter(features="sae")
    assert sorted(scores["width"]) == ["64", "64_topk"]
    saes = pl.read_parquet(results / "tables/saes.parquet").sort("width")
    assert saes.select("width", "architecture").rows() == [("64", "batchtopk"), ("64_topk", "topk")]
    assert saes["l0"].to_list() == pytest.approx([4, 6], rel=0.25)
    assert not list(results.glob("saes/**/*checkpoint*"))
    for figure in ("baselines", "model=bert/layer_width", "model=bert/pooling_threshold"):
        assert (results / f"figures/{figure}.png").stat().st_size > 1000


@pytest.fixture(scope="module")
def matched(study, tmp_path_factory) -> Path:
    """The finished study with a tuned twin of its model, matched to it with an SAE of its own and with the base's."""
    folder = tmp_path_factory.mktemp("matched") / "study"
    shutil.copytree(study, folder)

    def edit(config):
        tuned = {"from": "bert", "data": "own", "steps": 3}
        config["models"]["twin"] = {"tuned": tuned, "saes": "again", "passes": [{1: [64, "64_base"]}]}
        config["saes"]["base"] = {"of": "bert"}
        config["saes"]["again"] = {"train": {**config["saes"]["trained"]["train"], "seed": 1}}
        a = {"model": "bert", "layer": 1, "width": 64}
        config["matches"] = {
            "apart": {"a": a, "b": {"model": "twin", "layer": 1, "width": 64}, "texts": ["weather"]},
            "shared": {"a": a, "b": {"model": "twin", "layer": 1, "width": "64_base"}, "texts": ["weather", "own"]},
        }

    change(folder, edit)
    snakemake(folder)
    return folder


def test_probes_are_carried_across_a_match(matched):
    tables = {file.stem: pl.read_parquet(file) for file in matched.glob("results/tables/*match*.parquet")}
    scores = tables["match_scores"].filter(split="test", match="shared", data="own", features="sae")
    assert set(scores["condition"]) == {
        "source", "native", "identity", "one_to_one", "best_match", "random", "directions", "random_sae",
    }  # fmt: skip
    drawn = pl.col("condition") == "random_sae"  # each draw has the best of all cells
    cells = scores.group_by("condition", "over", "source").len().select(drawn, "len")
    assert set(cells.iter_rows()) == {(False, 2 * 3 * 2), (True, 1)}
    apart = tables["match_scores"].filter(match="apart")
    assert set(apart["data"]) == {"weather"} and set(apart["split"]) == {"test", "late"}
    own = pl.read_parquet(matched / "results/tables/scores.parquet").filter(features="sae", data="own", model="bert")
    cell = {"pooling": "max", "threshold": "q50", "selection": "none"}
    at_home = scores.filter(condition="source", source="bert/1/64", **cell)["macro_f1"].item()
    assert at_home == pytest.approx(own.filter(**cell)["macro_f1"].item())
    about = tables["match_claims"].filter(match="shared").group_by("data", "source", "pairing").len()
    assert set(about["len"]) == {4 * 2} and len(about) == 2 * 2 * 2
    claims = pl.read_csv(matched / "results/tables/claims.csv").filter(
        pl.col("claim").str.starts_with("latents transfer")
    )
    assert set(claims["claim"]) == {"latents transfer: matched latents", "latents transfer: the same SAE"}
    assert len(claims) == 2 + 2 * len(about) / 2 and set(claims["verdict"]) <= {"holds", "fails", "undecided"}
    matches = tables["matches"].filter(match="shared", over="tokens", pairing="one_to_one")
    assert matches["itself"].min() > 0.9 and matches["svcca"].min() > 0.9
    saes = pl.read_csv(matched / "results/tables/saes.csv").filter(model="twin")
    assert saes["variance_explained"].null_count() == 0
    for match in ("apart", "shared"):
        for figure in ("correlations.pdf", "scores.png"):
            assert (matched / f"results/figures/match={match}/{figure}").stat().st_size > 1000


def test_another_match_recomputes_nothing(matched, tmp_path):
    folder = Path(shutil.copytree(matched, tmp_path / "copy"))
    assert "Nothing to be done" in snakemake(folder)
    change(folder, lambda config: config["matches"].update(third=config["matches"]["apart"] | {"texts": ["own"]}))
    merges = {"match_tables": 1, "draw_match_tables": 1, "claims": 1, "draw_claims": 1}
    random = {"residuals": 2, "train_sae": 2, "prepare_sae": 2, "extract": 4, "pool": 2}
    assert planned(folder) == {"match": 1, "carry": 1, **random, **merges}
    change(folder, lambda config: config["matches"]["apart"].update(data=["weather", "own"]))
    assert planned(folder) == {"match": 1, "carry": 2, **random, "extract": 8, "pool": 4, **merges}


def test_a_bad_config_ends_in_one_line_and_writes_nothing(study, tmp_path):
    shutil.copy(study / "weather.csv", tmp_path)
    config = yaml.safe_load((study / "study.yaml").read_text())
    config["models"]["bert"]["path"] = str(study / "bert")
    config["models"]["bert"]["passes"] = [{9: [64]}]
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(config))
    printed = snakemake(tmp_path, fails=True)
    assert "error: config key models.bert.passes[0].9: the model has 4 layers; allowed: 0 to 3\n" in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "results").exists()


def test_a_bad_label_column_is_found_before_anything_runs(copy):
    shutil.rmtree(copy / "results")
    change(copy, lambda config: config["datasets"]["own"].update(label="nope"))
    printed = snakemake(copy, fails=True)
    assert "error: config key datasets.own.label: no column 'nope'; there: key, sentence, class, part\n" in printed
    assert not (copy / "results").exists()
