"""Cells by their names: two to compare, one for its curve."""

import pytest
from refusals import fails
from tessera.plan import named, results

SUM, MAX = (f"sae/m/1/512/d/{pooling}/none/none/logistic" for pooling in ("sum", "max"))


def test_a_short_name_and_a_folder_name_are_one_place(made):
    study = made()
    place = {"features": "sae", "model": "m", "layer": "1", "width": "512", "data": "d"}
    place |= {"pooling": "sum", "threshold": "none", "selection": "none", "probe": "logistic"}
    assert named.place(study, SUM) == named.place(study, SUM.replace("/", ",")) == place


def test_the_files_of_a_comparison(made):
    study = made()
    found = named.comparison(study, SUM, "hidden/m/1/d/mean")
    assert len(found) == 4
    assert found[0] == (
        "results/compare/left=sae,m,1,512,d,sum,none,none,logistic/right=hidden,m,1,d,mean,logistic/differences.parquet"
    )
    assert named.predictions(study, "right", SUM, "hidden/m/1/d/mean").endswith(
        "data=d/pooling=mean/probe=logistic/predictions.parquet"
    )


@pytest.mark.parametrize(
    ("left", "right", "said"),
    [
        (SUM, SUM, "left and right name the same cell"),
        (SUM, MAX.replace("/d/", "/e/"), "left is of the data set d, right of e"),
        (SUM, "sae/m/1", "cells, not one; for example --config right=sae/m/1/512/d"),
        ("", SUM, "left=? names"),
        (SUM, "sae/n/1", "right=sae/n/1 names no cell; for example --config right="),
    ],
)
def test_sides_that_cannot_be_compared(made, left, right, said):
    fails(lambda: named.comparison(made(), left, right), said)


def test_the_files_of_a_curve(made):
    found = named.curve(made(), "length/d")
    assert [file.rsplit(".", 1)[1] for file in found] == ["parquet", "csv", "pdf", "png"]
    assert found[0] == "results/curves/cell=length,d,logistic/curve.parquet"
    assert named.curve_features(made(), SUM)


def test_the_folders_of_exported_probes(made):
    study = made()
    assert named.exports(study, SUM) == ["results/exports/cell=sae,m,1,512,d,sum,none,none,logistic"]
    assert "results/exports/cell=best,d" in named.exports(study, "")
    fails(lambda: named.exports(study, "hidden/m/1/d/mean"), "only probes on latents of texts can be exported")


def test_the_best_of_a_data_set_is_chosen_among_the_cells_of_trained_models(made):
    study = made()
    one, every = (named.export_cells(study, cell) for cell in (SUM.replace("/", ","), "best,d"))
    assert len(one) == 2 and {*one} <= {*every}
    assert not any(f"model={control}/" in file for control in study.controls for file in every)
    assert [origin["model"] for origin in named.export_origins(study, "best,d")].count("m") >= 1


def test_a_frozen_sae_is_exported_where_it_is_named_and_never_as_the_best(made, edited, config):
    entry = {"train": config["saes"]["s"]["train"] | {"freeze": "all", "draws": 2}}
    study = made(models=edited("m", passes=[{1: [512, "512_z"]}]), saes=config["saes"] | {"z": entry})
    best = named.export_cells(study, "best,d")
    assert best and not any("_z" in file for file in best)
    assert named.exports(study, SUM.replace("512", "512_z"))[0].startswith("results/exports/cell=sae,m,1,512_z,d")
    assert results.frozen(study) == [["m", "512_z", "all"], ["m", "512_z.draw1", "all"]]
    assert results.frozen(made()) == []
