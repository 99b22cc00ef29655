"""Names of latents: files of explanations, pages on Neuronpedia, reasons why there are no tokens."""

import json

import polars as pl
import pytest
import torch
from refusals import fails
from tessera.interventions.naming import named, read_explanations
from tessera.saes.decoders import Decoder

LATENTS = pl.Series("latent", [3, 1], dtype=pl.Int64)


def decoder(**about) -> Decoder:
    given = {"hook": "resid_post", "architecture": "topk", "normalize_activations": "none", "neuronpedia": None}
    return Decoder(torch.ones(4, 2), given | {"why_not": None} | about)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.csv", lambda file: file.write_text("latent,text\n3,of rain\n3,of snow\n")),
        ("a.json", lambda file: file.write_text(json.dumps([{"index": "3", "description": "of rain; of snow"}]))),
        ("a.jsonl", lambda file: file.write_text('{"feature": 3, "explanation": "of rain; of snow"}\n')),
    ],
)
def test_explanations_of_several_forms(tmp_path, name, write):
    write(tmp_path / name)
    found, reason = named(LATENTS, decoder(), None, [str(tmp_path / name)])
    assert found["explanation"].to_list() == ["of rain; of snow", None] and reason == "the model reads images"


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.txt", "", "is of none of the kinds .csv, .parquet"),
        ("a.csv", "number,words\n1,x\n", "has the columns number, words; one of latent, index, feature"),
        ("a.csv", "latent,text\nseven,x\n", "latent is no number"),
        ("a.json", "{", "cannot be read"),
        ("b.csv", None, "cannot be read"),
    ],
)
def test_wrong_explanations_end_in_one_line(tmp_path, name, text, reason):
    if text is not None:
        (tmp_path / name).write_text(text)
    fails(lambda: read_explanations(tmp_path / name), reason)


def test_the_page_on_neuronpedia_is_that_of_the_latent():
    found, _ = named(LATENTS, decoder(neuronpedia="gpt2-small/8-res-jb"), None, [])
    assert found["neuronpedia"][0] == "https://www.neuronpedia.org/gpt2-small/8-res-jb/3"


def test_an_sae_whose_latents_write_nothing_known_has_the_reason():
    found, reason = named(LATENTS, decoder(why_not="it is a transcoder"), "folder", [])
    assert reason == "it is a transcoder" and found["promoted"].null_count() == 2
