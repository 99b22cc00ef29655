"""Models that read images: which tokens are the image, their hidden states, and models that cannot be used."""

import numpy as np
import pictures
import polars as pl
import pytest
import tiny
import torch
import transformers
from pictures import LAYERS, PATCHES, PICTURES
from tessera.activations.extraction import extract
from tessera.activations.residuals import cache_residuals
from tessera.activations.token_states import write_states
from tessera.base.errors import TesseraError
from tessera.examples.images import decode
from tessera.features.tokens import read_states
from tessera.models.forward import catch, forward
from tessera.models.loading import load_model
from tessera.models.tuning import tune
from tessera.saes.preparing import prepare

FAMILIES = ("paligemma", "llava")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("vision")


@pytest.fixture(scope="module", params=pictures.ENCODERS)
def encoder(request, root):
    """Number of tokens in front of the patches, and the model."""
    return pictures.ENCODERS[request.param][2], load(pictures.save_encoder(request.param, root / request.param))


@pytest.fixture(scope="module")
def vit(root):
    return load(pictures.save_encoder("vit", root / "plain"))


@pytest.fixture(scope="module", params=FAMILIES)
def language(request, root):
    return load(pictures.save_language(request.param, root / request.param))


def load(folder, **changes):
    return load_model(tiny.identity(pictures.spec(folder, **changes)))


def fails(folder, **changes):
    with pytest.raises(TesseraError) as caught:
        load(folder, **changes).read(PICTURES, max_tokens=32)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def batches(model, images, budget=None):
    tokens = model.read(images, max_tokens=32)
    hooks = dict.fromkeys(range(len(model.blocks)), "resid_post")
    return tokens, list(forward(model, tokens, hooks, lambda batch: batch, budget))


# Vision encoders


@torch.inference_mode()
def test_patches_are_the_content_and_their_states_those_of_a_direct_pass(encoder):
    lead, model = encoder
    tokens, (batch,) = batches(model, PICTURES)
    assert tokens.content_counts_E.tolist() == [PATCHES] * len(PICTURES)
    expected = [False] * lead + [True] * PATCHES
    assert all(row.tolist() == expected for row in tokens.content)
    pixels = model.tokenizer([decode(PICTURES[i]) for i in batch.examples], return_tensors="pt")["pixel_values"]
    states = model.module(pixels, output_hidden_states=True).hidden_states
    for layer in range(LAYERS - 1):  # the last stands behind a norm in some
        torch.testing.assert_close(batch.states[layer], states[layer + 1], rtol=0, atol=1e-6)


def test_states_do_not_depend_on_the_batch(encoder):
    _, model = encoder
    _, (together,) = batches(model, PICTURES)
    for row, example in enumerate(together.examples):
        _, (alone,) = batches(model, [PICTURES[example]])
        for layer in range(LAYERS):
            torch.testing.assert_close(together.states[layer][[row]], alone.states[layer], rtol=1e-4, atol=1e-5)
    _, several = batches(model, PICTURES, budget=40)
    assert len(several) > 1
    assert sorted(np.concatenate([batch.examples for batch in several])) == list(range(len(PICTURES)))


@torch.inference_mode()
def test_each_patch_is_where_its_position_says(vit):
    """A change of the pixels of patch 6 changes, before attention, the token of position 6 alone."""
    image = np.asarray(pictures.picture(0, (16, 16))).copy()
    other = image.copy()
    other[4:8, 8:12] = 255 - other[4:8, 8:12]
    tokens = vit.read([pictures.encode(pictures.Image.fromarray(one)) for one in (image, other)], max_tokens=2)
    (batch,) = forward(vit, tokens, {0: "resid_pre"}, lambda batch: batch)
    changed = (batch.states[0][0] != batch.states[0][1]).any(dim=1).numpy()
    assert (np.cumsum(batch.content_BT[0]) - 1)[changed].tolist() == [6]


@pytest.mark.parametrize(
    ("size", "grid"), [((16, 16), (4, 4)), ((8, 32), (2, 8)), ((32, 8), (8, 2)), ((12, 20), (3, 5))]
)
def test_patches_have_rows_and_columns(size, grid, root):
    """Of images that are no squares too."""
    height, width = size
    processor = transformers.ViTImageProcessor(size={"height": height, "width": width})
    config = transformers.ViTConfig(**pictures.SIZES, patch_size=pictures.PATCH, image_size=size)
    tokens = load(pictures.save(config, processor, root / f"{height}x{width}")).read(PICTURES, max_tokens=32)
    rows, columns = grid
    for row_N, column_N in zip(tokens.places["row"], tokens.places["column"], strict=True):
        assert row_N.tolist() == np.repeat(np.arange(rows), columns).tolist()
        assert column_N.tolist() == [*range(columns)] * rows


def test_tokens_in_no_grid_stand_in_one_row(root, monkeypatch):
    model = load(pictures.save_language("llava", root / "llava-uneven"))
    uneven = {"input_ids": torch.tensor([[1] + [model.image_token] * 6])}
    monkeypatch.setattr(model, "_batch", lambda images: uneven)
    places = model.read(PICTURES[:1], max_tokens=32).places
    assert places["row"][0].tolist() == [0] * 6 and places["column"][0].tolist() == [*range(6)]


def test_the_tower_of_a_model_of_images_and_texts(root):
    folder = pictures.save_dual(root / "dual")
    model = load(folder)
    tokens, (batch,) = batches(model, PICTURES)
    assert tokens.content_counts_E.tolist() == [PATCHES] * len(PICTURES)
    direct = transformers.CLIPVisionModel.from_pretrained(folder)
    pixels = model.tokenizer([decode(PICTURES[i]) for i in batch.examples], return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        states = direct(pixels, output_hidden_states=True).hidden_states
    torch.testing.assert_close(batch.states[1], states[2], rtol=0, atol=1e-6)


SWIN = {"image_size": 16, "patch_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 2}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (transformers.ViTMAEConfig(**pictures.SIZES, **pictures.SQUARE), "masks patches by chance"),
        (
            transformers.SwinConfig(**SWIN),
            r"layer 0: resid_post is \(5, 4, 16\) .* supported are models with one stack",
        ),
        (
            transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1]),
            "found 0 lists of .* blocks",
        ),
    ],
    ids=["masked", "windows", "convolutions"],
)
def test_models_that_are_no_stack_of_patches_are_refused(config, expected, tmp_path):
    with pytest.raises(TesseraError, match=expected) as caught:
        batches(load(pictures.save(config, pictures.processor(), tmp_path)), PICTURES)
    assert "\n" not in str(caught.value)


def test_no_image_processor_is_an_error(tmp_path):
    folder = pictures.save_encoder("vit", tmp_path)
    (folder / "preprocessor_config.json").unlink()
    assert fails(folder).startswith("config key models.small: ")


def test_images_that_the_processor_leaves_in_different_sizes_are_an_error(tmp_path):
    reader = transformers.ViTImageProcessor(do_resize=False)
    folder = pictures.save(pictures.encoder_config("vit"), reader, tmp_path)
    model = load(folder)
    tokens = model.read([PICTURES[2], PICTURES[1]], max_tokens=2)
    with pytest.raises(TesseraError, match=r"^ViTImageProcessor.* cannot make one batch of 2 images: "):
        list(forward(model, tokens, {0: "resid_post"}, lambda batch: batch))


# Vision-language models


@torch.inference_mode()
def test_image_tokens_of_a_language_model_are_those_of_a_direct_pass(language):
    assert len(language.blocks) == 4
    tokens, (batch,) = batches(language, PICTURES)
    assert tokens.content_counts_E.tolist() == [PATCHES] * len(PICTURES)
    words = language.tokenizer.tokenizer.convert_ids_to_tokens(tokens.ids[0].tolist())
    assert [word == "<image>" for word in words] == tokens.content[0].tolist()
    images = [[decode(PICTURES[i])] for i in batch.examples]
    direct = language.tokenizer(images=images, text=["<image>"] * len(images), return_tensors="pt")
    direct.pop("labels", None)
    states = language.module(**direct, output_hidden_states=True).hidden_states
    for layer in range(3):
        torch.testing.assert_close(batch.states[layer], states[layer + 1], rtol=0, atol=1e-5)
    assert batch.content_BT[0].sum() == PATCHES


def test_image_tokens_do_not_depend_on_the_batch(language):
    _, (together,) = batches(language, PICTURES)
    for row, example in enumerate(together.examples):
        _, (alone,) = batches(language, [PICTURES[example]])
        for layer in range(4):
            torch.testing.assert_close(together.states[layer][[row]], alone.states[layer], rtol=1e-4, atol=1e-4)


def test_image_tokens_are_of_the_image(language):
    """Null case: the same image twice is the same; another image is not."""
    _, (batch,) = batches(language, [PICTURES[0], PICTURES[0], PICTURES[1]])
    first, again, other = (batch.states[3][row][batch.content_BT[row]] for row in np.argsort(batch.examples))
    torch.testing.assert_close(first, again, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(first, other, atol=0.1)


def test_the_language_model_is_told_from_a_tower_of_as_many_blocks(tmp_path):
    model = load(pictures.save_language("paligemma", tmp_path, text_layers=LAYERS))
    assert model.blocks is model.module.language_model.layers


def test_a_prompt_is_read_with_the_image(root):
    folder = root / "paligemma"
    if not folder.exists():
        pictures.save_language("paligemma", folder)
    plain, asked = load(folder), load(folder, prompt="the river")
    (before,), (after,) = (model.read(PICTURES[:1], max_tokens=2).ids for model in (plain, asked))
    words = asked.tokenizer.tokenizer.convert_ids_to_tokens(after.tolist())
    assert len(after) == len(before) + 2 and words[-2:] == ["the", "river"]
    assert (after == asked.image_token).sum() == PATCHES


# Depth


DUAL = "dual"


@pytest.mark.parametrize("name", [*pictures.ENCODERS, DUAL, *FAMILIES])
@pytest.mark.parametrize("drawn", [False, True], ids=["trained", "control"])
def test_what_is_read_does_not_depend_on_the_depth(name, drawn, root):
    folder = root / f"{name}-depth"
    if not folder.exists():
        saver = pictures.save_language if name in FAMILIES else pictures.save_encoder
        pictures.save_dual(folder) if name == DUAL else saver(name, folder)
    spec, depth = pictures.spec(folder), 2
    identity = tiny.identity({**spec, "control_of": "small"} if drawn else spec, spec, seed=5)
    whole, part = load_model(identity), load_model(identity, depth=depth)
    tokens = part.read(PICTURES, max_tokens=32)
    for hooks in ({0: "resid_pre", 1: "resid_post"}, {0: "resid_post", 1: "resid_pre"}):
        expected, found = (catch(model, tokens, np.arange(len(PICTURES)), hooks).states for model in (whole, part))
        assert all(torch.equal(found[layer], expected[layer]) for layer in hooks)
    assert [any(True for _ in block.parameters()) for block in part.blocks] == [
        layer < depth for layer in range(len(whole.blocks))
    ]


# From pictures to latents and back


def frame(contents):
    return pl.DataFrame({"example": pl.Series(range(7, 7 + len(contents)), dtype=pl.UInt32), "image": contents})


@pytest.mark.parametrize("name", ["vit", "paligemma"])
def test_latents_are_those_of_the_sae_on_the_patches(name, root, tmp_path):
    folder = root / name
    if not folder.exists():
        pictures.save_encoder(name, folder) if name == "vit" else pictures.save_language(name, folder)
    model = load(folder)
    tiny.save_sae(tmp_path / "sae", "jumprelu", width=64, d_in=pictures.HIDDEN)
    prepare(
        tmp_path / "sae", tmp_path / "e.safetensors", tmp_path / "d.safetensors", width=64, layer=1, hook="resid_post"
    )
    summary = extract(
        model,
        frame(PICTURES),
        {(1, "64"): tmp_path / "e.safetensors"},
        [1],
        tmp_path / "shard",
        max_tokens=32,
        activation_dtype="float32",
    )
    assert summary["tokens"].to_list() == [PATCHES * len(PICTURES)] * 2
    assert summary["truncated"].to_list() == [0, 0]
    latents = pl.read_parquet(tmp_path / "shard/latents/layer=1/width=64.parquet").sort("example", "position")
    assert latents["example"].to_list() == np.repeat(np.arange(7, 12), PATCHES).tolist()
    assert latents["position"].to_list() == [*range(PATCHES)] * len(PICTURES)
    tokens = pl.read_parquet(tmp_path / "shard/tokens.parquet")
    assert tokens.columns == ["example", "position", "row", "column"]
    assert tokens.select("example", "position").equals(latents.select("example", "position"))
    assert tokens["row"].to_list() == np.repeat(np.arange(4), 4).tolist() * len(PICTURES)
    assert tokens["column"].to_list() == [*range(4)] * 4 * len(PICTURES)
    from sae_lens import SAE

    sae = SAE.load_from_disk(tmp_path / "sae")
    write_states(
        model, frame(PICTURES), {1: "resid_post"}, tmp_path / "states", max_tokens=32, activation_dtype="float32"
    )
    kept = read_states([tmp_path / "states/layer=1.parquet"])
    assert kept.count_E.tolist() == [PATCHES] * len(PICTURES)
    _, (batch,) = batches(model, PICTURES)
    hidden = pl.read_parquet(tmp_path / "shard/hidden/layer=1.parquet").sort("example")
    for row, example in enumerate(batch.examples):
        states = batch.states[1][row][batch.content_BT[row]]
        np.testing.assert_allclose(kept.state_ND[kept[[example]].tokens_N], states, rtol=1e-4, atol=1e-5)
        with torch.inference_mode():
            acts = sae.encode(states).numpy()
        found = np.zeros_like(acts)
        for place, (ids, values) in enumerate(
            latents.filter(example=7 + example).select("latent", "activation").iter_rows()
        ):
            found[place, ids] = values
        np.testing.assert_allclose(found, acts, atol=1e-5)
        np.testing.assert_allclose(hidden["sum"][int(example)].to_numpy(), states.sum(dim=0).numpy(), atol=1e-4)


def test_residuals_are_patch_by_patch(vit, tmp_path):
    cache_residuals(vit, PICTURES, {1: "resid_post"}, tmp_path / "cache", max_tokens=2, budget=PATCHES * 2 + 1)
    cached = np.load(tmp_path / "cache/layer=1.npy")
    assert cached.shape == (PATCHES * 3, pictures.HIDDEN)
    _, (batch,) = batches(vit, PICTURES[:3])
    for row, example in enumerate(batch.examples):
        states = batch.states[1][row][batch.content_BT[row]].numpy()
        np.testing.assert_allclose(cached[example * PATCHES :][:PATCHES], states, atol=1e-5)


@pytest.mark.parametrize("kind", ["new", "copy"])
def test_an_encoder_is_trained_on_images(kind, tmp_path, caplog):
    caplog.set_level("INFO", "tessera")
    images, label = pictures.two_classes(64)
    config = {"model_type": "vit", **pictures.SIZES, "image_size": 8, "patch_size": 4}
    if kind == "new":
        spec = {**pictures.spec("none"), "tuned": {"config": config}}
    else:
        spec = pictures.spec(pictures.save_encoder("dinov2", tmp_path / "base"))
    examples = pl.DataFrame({"image": images, "text": [str(i) for i in range(64)], "label": label.astype(str)})
    settings = {"max_tokens": 2, "batch": 16, "learning_rate": 3e-3, "seed": 0}
    for out in ("first", "again"):
        tune(load_model(tiny.identity(spec)), examples, tmp_path / out, steps=40, **settings)
    said = [float(record.message.rsplit(" ", 1)[1]) for record in caplog.records if "accuracy" in record.message]
    assert said[9] > 0.85 > said[0]
    assert (tmp_path / "first/model.safetensors").read_bytes() == (tmp_path / "again/model.safetensors").read_bytes()
    tuned = {**pictures.spec("none"), "tuned": {"config": config}}
    trained = load_model(tiny.identity(tuned), folder=tmp_path / "first")
    assert trained.read(images, max_tokens=2).content_counts_E[0] == (4 if kind == "new" else PATCHES)
    spec = {**pictures.spec("none"), "control_of": "small"}
    control = load_model(tiny.identity(spec, tuned, name="control", seed=1), folder=tmp_path / "first")
    state, drawn = (dict(model.module.named_parameters()) for model in (trained, control))
    assert state.keys() == drawn.keys()
    assert not torch.equal(*(parts[next(n for n in parts if "weight" in n)] for parts in (state, drawn)))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"model_type": "vot"}, "vot"),
        ({"model_type": "vit", "hiden_size": 8}, "vit has no option 'hiden_size'"),
        ({"model_type": "vit", **pictures.SIZES, "num_channels": 1}, "num_channels 3"),
        ({"model_type": "bert"}, "one image_size"),
    ],
)
def test_a_new_encoder_that_cannot_be(config, expected):
    spec = {**pictures.spec("none"), "tuned": {"config": config}}
    with pytest.raises(TesseraError, match=r"^config key models\.small\.tuned\.config: ") as caught:
        load_model(tiny.identity(spec))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


# What does not go together


def test_texts_for_a_model_of_images_and_the_reverse(vit, bert):
    with pytest.raises(TesseraError, match=r"holds texts and the model reads images"):
        vit.read(["the cat"], max_tokens=8)
    with pytest.raises(TesseraError, match=r"holds images and the model reads texts"):
        bert.read(PICTURES, max_tokens=8)


def test_a_model_without_an_image_token_reads_no_images(folders):
    with pytest.raises(TesseraError, match=r"^config key models\.small: ") as caught:
        tiny.load(folders["bert"], reads="image")
    assert "\n" not in str(caught.value)
