"""Hidden states and predictions without latents: the folder of a pass, batches, divergence and answers."""

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import tiny
import torch
from tessera.activations.extraction import extract
from tessera.activations.shards import hidden_schema
from tessera.base.errors import TesseraError
from tessera.interventions import passes
from tessera.interventions.ablation import Ablation, Latents
from tessera.interventions.passes import divergence, take_out
from tessera.models.answers import answer
from tessera.models.forward import catch
from tessera.models.text import tokenise
from tessera.saes.preparing import prepare

WIDTH, LAYER = 96, 1
CAUSAL = ("llama", "gpt2", "gpt_neox", "gemma2")
EXAMPLES = pl.DataFrame(
    {"example": range(100, 100 + len(tiny.TEXTS)), "text": tiny.TEXTS}, schema_overrides={"example": pl.UInt32}
)
SETS = {"none": Ablation("nothing"), "top%2010": Ablation("latents", np.arange(10)), "all": Ablation("all")}
PROMPTS = pl.DataFrame(
    {
        "text": ["the cat sat", "old birds sing in the red morning while", "the", "rain"],
        "choices": [["the hill", "a river"], ["rain falls", "mill"], ["cat sat the hill", "moon"], ["moon", "sat"]],
        "names": [["a", "b"]] * 4,
    }
)


@pytest.fixture(scope="module", params=CAUSAL)
def causal(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("causal")
    return tiny.load(tiny.save_model(request.param, root / request.param, causal=True), causal=True)


@pytest.fixture(scope="module")
def sae(tmp_path_factory):
    """The files of an SAE and its place, as the passes take them."""
    root = tmp_path_factory.mktemp("sae")
    files = {"encoder": root / "encoder", "decoder": root / "decoder"}
    prepare(tiny.save_sae(root / "sae", "topk", width=WIDTH), *files.values(), width=WIDTH, layer=LAYER)
    return files | {"place": (LAYER, "resid_post")}


def latents_of(model, sae):
    return Latents(model, sae["encoder"], sae["decoder"], sae["place"])


def read(out, name, layer):
    return pl.read_parquet(out / f"hidden/set={name}/layer={layer}.parquet", hive_partitioning=False).sort("example")


@pytest.fixture(scope="module")
def folder(causal, sae, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "ablated"
    take_out(causal, latents_of(causal, sae), EXAMPLES, SETS, [1, 3], out, max_tokens=32)
    return out


def test_the_folder_has_a_file_per_set_and_layer(folder):
    found = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    assert found == [f"hidden/set={name}/layer={layer}.parquet" for name in sorted(SETS) for layer in (1, 3)]
    for file in folder.rglob("*.parquet"):
        assert pq.read_schema(file).equals(hidden_schema(tiny.HIDDEN))
    assert [path.name for path in folder.parent.iterdir()] == ["ablated"]


def test_without_nothing_it_is_what_an_extraction_writes(causal, folder, tmp_path):
    """There, massive tokens are each layer's own; a tiny model has none."""
    extract(causal, EXAMPLES, {}, [1, 3], tmp_path / "shard", max_tokens=32, activation_dtype="float32")
    for layer in (1, 3):
        plain = pl.read_parquet(tmp_path / f"shard/hidden/layer={layer}.parquet", hive_partitioning=False)
        assert read(folder, "none", layer).equals(plain.sort("example"))
        assert not read(folder, "all", layer).equals(plain.sort("example"))


def test_pooled_are_the_states_of_a_pass_with_the_change(causal, folder, sae):
    latents = Latents(causal, sae["encoder"], sae["decoder"], sae["place"])
    for name, ablation in SETS.items():
        for number, text in enumerate(tiny.TEXTS):
            change = latents.change(ablation, False)
            with torch.inference_mode():
                batch = catch(causal, tokenise(causal, [text], 32), np.array([0]), {3: "resid_post"}, change)
            state_ND = batch.states[3][0][torch.from_numpy(batch.content_BT[0])]
            row = read(folder, name, 3).row(number, named=True)
            assert (row["example"], row["tokens"]) == (100 + number, len(state_ND))
            for pooling, expected in {
                "sum": state_ND.sum(dim=0),
                "max": state_ND.max(dim=0).values,
                "last": state_ND[-1],
                "before_answer": batch.states[3][0, batch.last_B[0]],
            }.items():
                torch.testing.assert_close(torch.tensor(row[pooling]), expected, rtol=1e-4, atol=1e-4)


def test_batches_of_one_give_what_one_of_all_gives(causal, folder, sae, tmp_path):
    take_out(causal, latents_of(causal, sae), EXAMPLES, SETS, [1, 3], tmp_path / "out", max_tokens=32, batch_tokens=1)
    for name in SETS:
        for layer in (1, 3):
            one, many = read(tmp_path / "out", name, layer), read(folder, name, layer)
            assert one.select("example", "tokens").equals(many.select("example", "tokens"))
            for pooling in ("sum", "max", "last", "before_answer"):
                np.testing.assert_allclose(one[pooling].to_numpy(), many[pooling].to_numpy(), rtol=1e-4, atol=1e-4)


def test_tokens_massive_where_latents_are_taken_out_are_pooled_nowhere(sae, tmp_path):
    model = tiny.load(tiny.save_model("llama", tmp_path / "model"))

    def sink(_module, _args, output):
        output = output.clone()
        output[:, 1] *= 1000
        return output

    model.blocks[LAYER].register_forward_hook(sink)
    for pool_massive in (False, True):
        take_out(
            model,
            latents_of(model, sae),
            EXAMPLES,
            SETS,
            [1, 3],
            tmp_path / "out",
            max_tokens=32,
            pool_massive=pool_massive,
        )
        words = [len(text.split()) for text in tiny.TEXTS]
        pooled = [number - (number > 1 and not pool_massive) for number in words]  # a word alone is its own median
        for name in SETS:
            assert read(tmp_path / "out", name, 1)["tokens"].to_list() == pooled
            assert read(tmp_path / "out", name, 3)["tokens"].to_list() == pooled


def test_a_layer_before_the_place_is_refused_and_leaves_nothing(loaded, sae, tmp_path):
    with pytest.raises(TesseraError, match=r"^layer 0 lies before layer 1, where something is taken out"):
        take_out(
            loaded["llama"], latents_of(loaded["llama"], sae), EXAMPLES, SETS, [0, 3], tmp_path / "out", max_tokens=32
        )
    assert not [*tmp_path.iterdir()]


def test_a_failed_pass_leaves_nothing(loaded, sae, tmp_path, monkeypatch):
    monkeypatch.setattr(passes, "pool_hidden", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        take_out(
            loaded["llama"], latents_of(loaded["llama"], sae), EXAMPLES, SETS, [3], tmp_path / "out", max_tokens=32
        )
    assert not [*tmp_path.iterdir()]


# Predictions


def test_divergence_by_hand(causal, sae):
    found = divergence(causal, latents_of(causal, sae), tiny.TEXTS, SETS, max_tokens=32, batch_tokens=64)
    latents, total, number = Latents(causal, sae["encoder"], sae["decoder"], sae["place"]), dict.fromkeys(SETS, 0.0), 0
    for text in tiny.TEXTS:
        tokens = tokenise(causal, [text], 32)
        ids, content_BT = torch.from_numpy(tokens.ids[0])[None].long(), tokens.content[0][None]
        number += int(content_BT.sum())

        def log_p(replaced, content_BT=content_BT, ids=ids):
            handle = causal.blocks[LAYER].register_forward_hook(
                lambda _module, _args, output: (
                    (replaced(output[0], content_BT), *output[1:])
                    if isinstance(output, tuple)
                    else replaced(output, content_BT)
                )
            )
            with torch.inference_mode():
                logits = causal.module(input_ids=ids).logits
            handle.remove()
            return logits[0][torch.from_numpy(content_BT[0])].double().log_softmax(dim=1)

        plain = log_p(lambda state_BTD, _content_BT: state_BTD)
        for name, ablation in SETS.items():
            ablated = log_p(latents.change(ablation, False).of)
            total[name] += (plain.exp() * (plain - ablated)).sum().item()
    assert found["set"].to_list() == [*SETS]
    assert set(found["texts"]) == {len(tiny.TEXTS)} and set(found["tokens"]) == {number}
    np.testing.assert_allclose(found["kl"], [total[name] / number for name in SETS], rtol=1e-3, atol=1e-6)
    assert found["kl"][0] == 0 and found["kl"][1] > 0 and found["kl"][2] > 1e-3


def test_divergence_does_not_depend_on_batches(causal, sae):
    one, many = (
        divergence(causal, latents_of(causal, sae), tiny.TEXTS, SETS, max_tokens=32, batch_tokens=size)["kl"]
        for size in (1, 4096)
    )
    np.testing.assert_allclose(one, many, rtol=1e-3, atol=1e-6)


def test_a_model_without_a_head_predicts_nothing(loaded, sae):
    with pytest.raises(TesseraError, match=r"^LlamaModel has no head that predicts tokens; load it as a causal model"):
        divergence(loaded["llama"], latents_of(loaded["llama"], sae), tiny.TEXTS, SETS, max_tokens=32)


def test_answers_without_nothing_are_the_plain_ones(causal, sae):
    latents = Latents(causal, sae["encoder"], sae["decoder"], sae["place"])
    plain, same, other = (
        np.array(answer(causal, PROMPTS, max_tokens=32, budget=1, change=change)["log_probability"].to_list())
        for change in (None, *(latents.change(Ablation(kind), False) for kind in ("nothing", "all")))
    )
    np.testing.assert_allclose(plain, same, rtol=0, atol=1e-6)  # other sequences share a pass where tokens are changed
    assert (np.abs(plain - other) > 1e-3).all()


def test_answers_change_on_the_prompts_tokens_alone(causal, sae):
    """`the cat sat` with a choice, and `the` with the choice `cat sat …`: in one, three tokens are the prompt's."""
    latents = Latents(causal, sae["encoder"], sae["decoder"], sae["place"])
    change, seen = latents.change(Ablation("all"), False), []
    take = change.of

    def watched(state_BTD, content_BT):
        seen.extend(content_BT.sum(axis=1).tolist())
        return take(state_BTD, content_BT)

    change.of = watched
    found = answer(causal, PROMPTS, max_tokens=32, change=change)
    assert sorted(seen) == [1, 1, 1, 3, 3, 8, 8]  # rain has two choices of one token, that one pass is for
    alone = answer(causal, PROMPTS[2:3], max_tokens=32, change=latents.change(Ablation("all"), False))
    np.testing.assert_allclose(found["log_probability"][2], alone["log_probability"][0], atol=1e-5)
