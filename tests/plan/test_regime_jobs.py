"""Regimes: one job per place, data set and kind of probe; checked before anything runs, as far as it can be."""

import polars as pl
from refusals import fails
from tessera.plan import regimes, results
from tessera.study import paths

LEVELS = {"scarcity": [0.3, 0.1], "noise": [0.2]}


def test_a_study_without_regimes_has_no_job_table_or_figure(made):
    for study in (made(), made(regimes={}), made(regimes={"noise": []})):
        assert regimes.fits(study) == regimes.every_job(study, "scores") == []
        assert "regime_tables" not in results.rules(study) and "regimes" not in results.pages(study)


def test_every_place_and_probe_is_a_job_of_two_files(made):
    study = made(regimes=LEVELS, probes={"lda": ["hidden"]})
    assert regimes.levels(study) == [["scarcity", 0.3], ["scarcity", 0.1], ["noise", 0.2]]
    plain = ("sae", "hidden", "tfidf", "length")
    assert {*regimes.fits(study)} == {*((name, "logistic") for name in plain), ("hidden", "lda")}
    jobs = regimes.every_job(study, "scores")
    assert len({*jobs}) == len(jobs) == 4 * 2 + 2 * (4 * 2) + 2 + 2
    assert jobs[0] == "results/regimes/features=sae/model=m/layer=1/width=512/data=d/probe=logistic/scores.parquet"
    assert regimes.outputs("hidden", "lda") == [
        f"results/regimes/features=hidden/model={{model}}/layer={{layer}}/data={{data}}/probe=lda/{part}.parquet"
        for part in ("scores", "predictions")
    ]
    assert [figure.name for _, figure, _ in results.figures(study, "regime_tables")] == ["regimes"]
    assert paths.TABLE.format(table="regimes", format="csv") in results.every_table(study)


def test_a_level_is_checked_in_every_repeat_before_anything_runs(made, config, tmp_path):
    rows = {"text": [f"text {number}" for number in range(100)], "label": ["a", "b"] * 50}
    pl.DataFrame(rows).write_csv(tmp_path / "d.csv")
    study = {"datasets": {"d": {"path": str(tmp_path / "d.csv")}}, "transfers": {}, "repeats": 2}
    regimes.check(made(**study, regimes={"scarcity": [0.3], "imbalance": [0.2], "noise": [0.3]}))
    fails(
        lambda: regimes.check(made(**study, regimes={"imbalance": [0.2, 0.1]})),
        "config key regimes.imbalance: at 0.1 of d, class ",
        "has 4 distinct training texts, fewer than probe.folds, 5; drop this level",
    )
    regimes.check(made(**study, regimes={"imbalance": [0.1]}, probe={"folds": 4}))
