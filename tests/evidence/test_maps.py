"""Maps of a place: classes that lie apart in a space lie apart in its map, and the same map comes again."""

import numpy as np
import polars as pl
from places import D, make_place, plant, random_acts
from sklearn.neighbors import KNeighborsClassifier
from tessera.evidence.maps import HIDDEN, LATENTS, maps


def told_by_neighbours(rows: pl.DataFrame) -> float:
    """The share of examples whose 10 nearest are mostly of their class."""
    places, labels = rows.select("x", "y").to_numpy(), rows["label"].to_numpy()
    return KNeighborsClassifier(10).fit(places, labels).score(places, labels)


def test_each_map_shows_what_its_space_tells(tmp_path):
    labels = ["a", "b"] * 60
    is_E, acts_ETW = np.array(labels) == "a", random_acts(120, seed=0, rate=0.004)
    plant(acts_ETW, is_E)
    hidden_ED = np.random.default_rng(1).standard_normal((120, D)).astype(np.float32)
    place = make_place(tmp_path, labels, acts_ETW, hidden_ED=hidden_ED)
    found = maps(place)
    assert found.columns == ["example", "split", "label", "map", "x", "y"] and len(found) == 2 * 120
    assert found["x"].is_finite().all() and found["y"].is_finite().all()
    assert told_by_neighbours(found.filter(map=LATENTS)) > 0.8  # of whom .97 fire the planted latent
    assert told_by_neighbours(found.filter(map=HIDDEN)) < 0.75  # noise
    assert maps(place).equals(found)


def test_a_map_has_no_further_test_set(tmp_path):
    labels = ["a", "b"] * 30
    place = make_place(tmp_path, labels, random_acts(60, seed=0))
    place.frame = place.frame.with_columns(
        split=pl.when(pl.col("example") < 10).then(pl.lit("abroad")).otherwise("split")
    )
    place.task = place.task_of(0)
    found = maps(place)
    assert {*found["split"]} == {"train", "test"} and len(found) == 2 * 50 and found["example"].min() == 10
