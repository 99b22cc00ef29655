"""A latent that holds the label, from the model to the verdict: one that later layers copy, one that none reads."""

from pathlib import Path

import polars as pl
import pytest
from planted import LAYER, PLANTED, WIDTH, examples, model_of, place_of
from tessera.evidence.reading import need, read_sets, suffice, weigh
from tessera.interventions.latents import Latents
from tessera.interventions.shard import ablate
from tessera.results.claims import judge, of_evidence


def evidence(folder: Path, read: bool) -> dict[str, pl.DataFrame]:
    """What a study would find."""
    model, frame = model_of(folder, read), examples()
    place = place_of(folder, model, frame)
    encoder, decoder = folder / "encoder", folder / "decoder"
    sets = read_sets(place, decoder, k=1, draws=3)
    latents = Latents(model, encoder, decoder, (LAYER, "resid_post"))
    ablate(model, latents, frame, sets, [], None, folder / "ablated", max_tokens=16, pool_massive=False)
    found = weigh(place, latents=3, ids=[]) | suffice(place, [], [], repeats=1, k=1, draws=3)
    return found | {"sets": sets} | need(place.task, sets, [str(folder / "ablated")], decoder, WIDTH)


@pytest.fixture(scope="module", params=[True, False], ids=["read", "carried on"])
def found(request, tmp_path_factory) -> tuple[bool, dict[str, pl.DataFrame]]:
    return request.param, evidence(tmp_path_factory.mktemp("planted"), request.param)


def test_it_is_first_in_every_ranking(found):
    row = found[1]["latents"].filter(pl.col("class") == "wet", latent=PLANTED).row(0, named=True)
    assert [value for name, value in row.items() if name.startswith("rank_")] == [1, 1, 1, 1]
    assert found[1]["sets"].filter(kind="probe")["latents"].to_list() == [[PLANTED]]


def test_it_suffices_alone_and_is_necessary_in_the_features(found):
    curves = found[1]["sufficiency"].filter(ranking="probe", k=1)
    f1 = dict(curves.select("measure", "macro_f1").iter_rows())
    assert f1["only these"] == 1 and max(f1["without these"], f1["without these, refitted"]) < 0.7


def test_it_is_necessary_in_the_model_only_where_later_layers_read_it(found):
    read, tables = found
    rows = tables["needed"].with_columns(claim=pl.lit("necessary"), on=pl.lit("here"))
    assert judge([], joined=of_evidence(rows))["verdict"].to_list() == ["holds" if read else "undecided"]
    last = tables["ablations"].filter(pl.col("of").is_null(), kind="probe", at_layer=3, metric="roc_auc")
    drop = dict(last.select("states", "drop").iter_rows())
    assert drop["whole"] > 0.2  # the stream carries on what is there, read or not
    assert drop["computed"] > 0.2 if read else abs(drop["computed"]) < 1e-6


def test_before_the_copy_nothing_is_computed_from_it(found):
    before = found[1]["ablations"].filter(pl.col("of").is_null(), kind="probe", at_layer=1, states="computed")
    assert before["drop"].to_list() == [0, 0]
