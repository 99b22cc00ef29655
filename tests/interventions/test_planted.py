"""A latent that holds the label, from the model to the verdict: one that later layers copy, one that none reads."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tiny
import torch
from sae_lens import StandardSAE, StandardSAEConfig
from tessera.activations.extraction import extract
from tessera.base.files import write_parquet
from tessera.evidence.reading import Place, need, read_sets, suffice, weigh
from tessera.features.pooling import pool_folders
from tessera.features.registry import kind
from tessera.interventions.ablation import Latents
from tessera.interventions.shard import ablate
from tessera.probes.task import probe_cells
from tessera.results.claims import judge, of_evidence
from tessera.saes.preparing import prepare
from tessera.study import paths

LAYER, WIDTH, TEXTS, PLANTED = 1, 24, 200, 0
KEYS = {"model": "m", "layer": str(LAYER), "width": str(WIDTH), "data": "d"}
SETTINGS = {"seed": 0, "folds": 3, "resamples": 100, "C": [0.1, 1.0]}
SIGN = "rain"  # the word that tells the class


def examples() -> pl.DataFrame:
    """Texts of made-up words; those of one class hold the sign."""
    generator = np.random.default_rng(0)
    others = [word for word in tiny.WORDS if word != SIGN]
    labels = ["wet" if number % 2 else "dry" for number in range(TEXTS)]
    rows = [list(generator.choice(others, size=8)) for _ in labels]
    for row, label in zip(rows, labels, strict=True):
        if label == "wet":
            row[int(generator.integers(8))] = SIGN
    numbers = pl.Series(range(TEXTS), dtype=pl.UInt32)
    return pl.DataFrame(
        {
            "example": numbers,
            "id": [str(number) for number in range(TEXTS)],
            "text": [" ".join(row) for row in rows],
            "label": labels,
            "split": ["test" if number % 5 in (3, 4) else "train" for number in range(TEXTS)],
            "group": numbers,
            "near": numbers,
        }
    )


def model_of(folder: Path, read: bool):
    """A Llama without norms: the sign's token has direction 0; block 2 copies it to direction 1, where it is read.

    Every other token has random parts in the other directions, which are the SAE's other latents.
    """
    model = tiny.load(tiny.save_model("llama", folder / "model", causal=True), causal=True)
    generator = torch.Generator().manual_seed(0)
    axes = torch.linalg.qr(torch.randn(tiny.HIDDEN, tiny.HIDDEN, generator=generator)).Q.T
    with torch.no_grad():
        for block in model.blocks:
            block.input_layernorm = block.post_attention_layernorm = torch.nn.Identity()
            for weight in block.parameters():
                weight.zero_()
        if read:
            mlp = model.blocks[2].mlp
            mlp.gate_proj.weight[0] = mlp.up_proj.weight[0] = 2 * axes[0]
            mlp.down_proj.weight[:, 0] = axes[1]
        embeddings = model.module.get_input_embeddings().weight
        parts = torch.rand(len(embeddings), WIDTH - 1, generator=generator)
        embeddings.copy_(parts.where(parts > 0.7, torch.zeros(())) @ axes[2 : WIDTH + 1])
        sign = model.tokenizer.convert_tokens_to_ids(SIGN)
        words = model.tokenizer.convert_tokens_to_ids([word for word in tiny.WORDS if word != SIGN])
        embeddings[sign] = embeddings[words].mean(dim=0) + 2 * axes[0]  # like any other word, but for the label
        sae = StandardSAE(StandardSAEConfig(d_in=tiny.HIDDEN, d_sae=WIDTH))
        sae.W_dec.copy_(torch.cat([axes[:1], axes[2 : WIDTH + 1]]))
        sae.W_enc.copy_(sae.W_dec.T)
        sae.b_enc.fill_(-0.1)
        sae.b_dec.zero_()
    sae.save_model(folder / "sae")
    return model


def evidence(folder: Path, read: bool) -> dict[str, pl.DataFrame]:
    """What a study would find."""
    model, frame = model_of(folder, read), examples()
    encoder, decoder = folder / "encoder", folder / "decoder"
    prepare(folder / "sae", encoder, decoder, width=WIDTH, layer=LAYER)
    write_parquet(folder / "data=d/examples.parquet", frame)
    shard, options = folder / "shard=0", {"max_tokens": 16}
    extract(model, frame, {(LAYER, str(WIDTH)): encoder}, [LAYER], shard, **options, activation_dtype="float32")
    pooled = folder / paths.FEATURES.format(pooling="sum", **KEYS)
    pool_folders([shard], {"sum": pooled}, layer=KEYS["layer"], width=KEYS["width"])
    values, cells = {"pooling": ["sum"], "threshold": ["none"], "selection": ["none"]}, []
    for here, cell in probe_cells(
        "sae", str(folder / "data=d/examples.parquet"), [str(pooled)], KEYS, values, SETTINGS
    ):
        cells += [
            str(folder / kind("sae").path.format(part=part, **KEYS, **here, probe="logistic"))
            for part in ("scores", "coefficients")
        ]
        cell.write(cells)
    place = Place(KEYS, str(folder / "data=d/examples.parquet"), [str(pooled)], cells, [str(shard)], SETTINGS)
    sets = read_sets(place, decoder, k=1, draws=3)
    latents = Latents(model, encoder, decoder, (LAYER, "resid_post"))
    ablate(model, latents, frame, sets, [], None, folder / "ablated", **options, pool_massive=False)
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
