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
from tessera.interventions.acting import acting
from tessera.interventions.kinds import Nothing, Without
from tessera.interventions.latents import Latents
from tessera.interventions.passes import moved, write_states
from tessera.interventions.shard import divergence
from tessera.models.answers import answer
from tessera.models.forward import catch
from tessera.models.text import tokenise
from tessera.saes.preparing import prepare

WIDTH, LAYER = 96, 1
CAUSAL = ("llama", "gpt2", "gpt_neox", "gemma2")
EXAMPLES = pl.DataFrame(
    {"example": range(100, 100 + len(tiny.TEXTS)), "text": tiny.TEXTS}, schema_overrides={"example": pl.UInt32}
)
PLACE = (LAYER, "resid_post")


def sets_of(latents):
    return {"none": Nothing(), "top%2010": Without(latents, np.arange(10)), "all": Without(latents)}


SETS = ("none", "top%2010", "all")
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


def changes_of(latents):
    return {name: acting(PLACE, one, pool_massive=False) for name, one in sets_of(latents).items()}


def write(model, sae, layers, out, **options):
    write_states(model, PLACE, EXAMPLES, sets_of(latents_of(model, sae)), layers, out, max_tokens=32, **options)


def read(out, name, layer):
    return pl.read_parquet(out / f"hidden/set={name}/layer={layer}.parquet", hive_partitioning=False).sort("example")


@pytest.fixture(scope="module")
def folder(causal, sae, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "ablated"
    write(causal, sae, [1, 3], out)
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
    for name, change in changes_of(latents_of(causal, sae)).items():
        for number, text in enumerate(tiny.TEXTS):
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
    write(causal, sae, [1, 3], tmp_path / "out", batch_tokens=1)
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
        write(model, sae, [1, 3], tmp_path / "out", pool_massive=pool_massive)
        words = [len(text.split()) for text in tiny.TEXTS]
        pooled = [number - (number > 1 and not pool_massive) for number in words]  # a word alone is its own median
        for name in SETS:
            assert read(tmp_path / "out", name, 1)["tokens"].to_list() == pooled
            assert read(tmp_path / "out", name, 3)["tokens"].to_list() == pooled


def test_a_layer_before_the_place_is_refused_and_leaves_nothing(loaded, sae, tmp_path):
    with pytest.raises(TesseraError, match=r"^layer 0 lies before layer 1, where the state is changed"):
        write(loaded["llama"], sae, [0, 3], tmp_path / "out")
    assert not [*tmp_path.iterdir()]


def test_a_failed_pass_leaves_nothing(loaded, sae, tmp_path, monkeypatch):
    monkeypatch.setattr(passes, "pool_hidden", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write(loaded["llama"], sae, [3], tmp_path / "out")
    assert not [*tmp_path.iterdir()]


# Predictions


def test_predictions_by_hand(causal, sae):
    changes, rows = changes_of(latents_of(causal, sae)), []
    for number, text in enumerate(tiny.TEXTS):
        tokens = tokenise(causal, [text], 32)
        ids, content_T = torch.from_numpy(tokens.ids[0])[None].long(), torch.from_numpy(tokens.content[0])

        def log_p(replaced, content_BT=tokens.content[0][None], ids=ids):
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
            return logits[0].double().log_softmax(dim=1)

        plain = log_p(lambda state_BTD, _content_BT: state_BTD)
        for name, change in changes.items():
            after = log_p(change.of)
            kl = (plain[content_T].exp() * (plain[content_T] - after[content_T])).sum().item()
            said = [(place, ids[0, place + 1]) for place in range(len(content_T) - 1) if content_T[place + 1]]
            surprises = [-sum(one[place, id].item() for place, id in said) for one in (after, plain)]
            rows.append((name, number, int(content_T.sum()), kl, len(said), *surprises))
    found = moved(causal, tiny.TEXTS, changes, max_tokens=32, batch_tokens=64)
    wanted = pl.DataFrame(rows, schema=found.schema, orient="row")
    for name in SETS:
        one, other = found.filter(set=name), wanted.filter(set=name)
        assert one.select("set", "text", "tokens", "told").equals(other.select("set", "text", "tokens", "told"))
        for column in ("kl", "surprise", "plain_surprise"):
            np.testing.assert_allclose(one[column], other[column], rtol=1e-3, atol=1e-4)
    assert found.filter(set="none")["kl"].to_list() == [0] * len(tiny.TEXTS)
    sums = divergence(causal, tiny.TEXTS, dict(zip("012", changes.values(), strict=True)), 32)
    number = found.filter(set="none")["tokens"].sum()
    assert sums["kl"].to_list() == [found.filter(set=name)["kl"].sum() / number for name in SETS]
    assert sums["kl"][1] > 0 and sums["kl"][2] > 1e-3


def test_predictions_do_not_depend_on_batches(causal, sae):
    changes = changes_of(latents_of(causal, sae))
    one, many = (moved(causal, tiny.TEXTS, changes, max_tokens=32, batch_tokens=size) for size in (1, 4096))
    assert one.select("set", "text", "tokens", "told").equals(many.select("set", "text", "tokens", "told"))
    for column in ("kl", "surprise"):
        np.testing.assert_allclose(one[column], many[column], rtol=1e-3, atol=1e-5)


def test_a_model_without_a_head_predicts_nothing(loaded, sae):
    with pytest.raises(TesseraError, match=r"^LlamaModel has no head that predicts tokens; load it as a causal model"):
        moved(loaded["llama"], tiny.TEXTS, changes_of(latents_of(loaded["llama"], sae)), max_tokens=32)


def test_answers_without_nothing_are_the_plain_ones(causal, sae):
    changes = changes_of(latents_of(causal, sae))
    plain, same, other = (
        np.array(answer(causal, PROMPTS, max_tokens=32, budget=1, change=change)["log_probability"].to_list())
        for change in (None, changes["none"], changes["all"])
    )
    np.testing.assert_allclose(plain, same, rtol=0, atol=1e-6)  # other sequences share a pass where tokens are changed
    assert (np.abs(plain - other) > 1e-3).all()


def test_answers_change_on_the_prompts_tokens_alone(causal, sae):
    """`the cat sat` with a choice, and `the` with the choice `cat sat …`: in one, three tokens are the prompt's."""
    change, seen = changes_of(latents_of(causal, sae))["all"], []
    take = change.of

    def watched(state_BTD, content_BT):
        seen.extend(content_BT.sum(axis=1).tolist())
        return take(state_BTD, content_BT)

    change.of = watched
    found = answer(causal, PROMPTS, max_tokens=32, change=change)
    assert sorted(seen) == [1, 1, 1, 3, 3, 8, 8]  # rain has two choices of one token, that one pass is for
    alone = answer(causal, PROMPTS[2:3], max_tokens=32, change=changes_of(latents_of(causal, sae))["all"])
    np.testing.assert_allclose(found["log_probability"][2], alone["log_probability"][0], atol=1e-5)
