"""A planted world: a tiny model whose hidden states are sums of known directions, and texts with labels made by some.

`python -m tessera.models.planting FOLDER` writes what `make synthetic` studies: `model`; `truth.safetensors`, which has
the directions and says which make which label; a table of texts per data set. No job imports it, for it imports
sae_lens.

What it is not: a word has one hidden state whatever stands around it, directions fire by chance alone, and no text
means anything. An SAE that finds the directions here need not find those of a language model.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from sae_lens.synthetic import (
    ActivationGenerator,
    FeatureDictionary,
    create_correlation_matrix_from_correlations,
    random_firing_probabilities,
)
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tessera.base.files import atomic

# Data set → class → directions: texts with a word that fires any are of the class; in xor, those where one alone fires.
MADE_BY = {
    "one": {"with": [0]},
    "topics": {"sea": [1, 2, 3], "sky": [4, 5, 6]},
    "xor": {"one": [7, 8]},
    "twin": {"with": [10]},  # four in ten words that fire its twin, 11, fire it too
}
FIRST_TWIN, TWINS = 10, 0.8  # from which on directions come in pairs; correlation of the normals behind their firing
SPECIAL = {"pad_token": "<pad>", "unk_token": "<unk>"}


@dataclass(frozen=True)
class World:
    """directions: known ones, more than the dimensions that they share. firing: at which share of the words each fires,
    from and to. noise: standard deviation of each dimension. length: of a text, in words. texts: of a data set; the
    words of those that test, a quarter of them, stand in no other text. seed: one that no SAE is trained from, which
    would start near the directions (torch draws normal and uniform numbers from one stream).
    """

    directions: int = 128
    dimensions: int = 64
    words: int = 8192
    firing: tuple[float, float] = (0.02, 0.04)
    noise: float = 0.05
    length: int = 12
    texts: int = 1000
    seed: int = 20_250_219


def plant(folder: Path, world: World) -> None:
    """Write a world to `folder`."""
    torch.manual_seed(world.seed)  # SAELens' generator draws from torch's own
    dictionary = FeatureDictionary(world.directions, world.dimensions, bias=True, seed=world.seed)
    acts_VF = _generator(world).sample(world.words)
    noise_VD = world.noise * torch.randn(world.words, world.dimensions)
    with atomic(folder) as part, torch.no_grad():
        _save_model(part / "model", dictionary(acts_VF) + noise_VD, world)
        directions = {"directions": dictionary.feature_vectors.contiguous()}
        save_file(directions, part / "truth.safetensors", {"made_by": json.dumps(MADE_BY)})
        for number, data in enumerate(MADE_BY):
            generator = np.random.default_rng([world.seed, number])
            _texts(data, acts_VF.numpy() > 0, world, generator).write_csv(part / f"{data}.csv")


def _generator(world: World) -> ActivationGenerator:
    twins = range(FIRST_TWIN, world.directions // 2, 2)
    low, high = world.firing
    return ActivationGenerator(
        world.directions,
        random_firing_probabilities(world.directions, high, low, world.seed),
        std_firing_magnitudes=0.2,
        correlation_matrix=create_correlation_matrix_from_correlations(
            world.directions, {(one, one + 1): TWINS for one in twins}
        ),
    )


def _save_model(folder: Path, state_VD: torch.Tensor, world: World) -> None:
    """A Llama of one block that writes nothing: the residual stream behind it is the embedding of each word."""
    vocabulary = {name: number for number, name in enumerate([*SPECIAL.values(), *map(_word, range(world.words))])}
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=world.dimensions,
        intermediate_size=world.dimensions,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=max(64, world.length),
        tie_word_embeddings=True,
        **dict.fromkeys(("bos_token_id", "eos_token_id")),
        pad_token_id=0,
    )
    model = LlamaForCausalLM(config)
    for silent in (model.model.layers[0].self_attn.o_proj, model.model.layers[0].mlp.down_proj):
        silent.weight.zero_()
    model.model.embed_tokens.weight[: len(SPECIAL)] = 0
    model.model.embed_tokens.weight[len(SPECIAL) :] = state_VD
    model.save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIAL["unk_token"]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL).save_pretrained(folder)


def _word(number: int) -> str:
    return f"w{number}"


def _texts(data: str, fires_VF: np.ndarray, world: World, generator: np.random.Generator) -> pl.DataFrame:
    """As many texts of each stratum, in random order: text, label, split."""
    test, parts = world.words // 4, []
    for split, words, texts in (
        ("train", np.arange(test, world.words), world.texts * 3 // 4),
        ("test", np.arange(test), world.texts // 4),
    ):
        drawn_EL = generator.choice(words, (32 * texts, world.length))
        strata = _strata(data, fires_VF[drawn_EL].any(axis=1))
        for label, is_E in strata:
            chosen_EL = drawn_EL[generator.choice(np.flatnonzero(is_E), texts // len(strata), replace=False)]
            written = [" ".join(map(_word, row)) for row in chosen_EL]
            parts.append(pl.DataFrame({"text": written}).with_columns(label=pl.lit(label), split=pl.lit(split)))
    rows = pl.concat(parts)
    return rows[generator.permutation(len(rows))]


def _strata(data: str, fires_EF: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Label and rows of each stratum of a data set, given which directions the words of a text fire."""
    if data == "topics":
        sea_E, sky_E = (fires_EF[:, made_by].any(axis=1) for made_by in MADE_BY[data].values())
        return [("sea", sea_E & ~sky_E), ("sky", sky_E & ~sea_E)]
    if data == "xor":  # either alone tells nothing
        a_E, b_E = fires_EF[:, MADE_BY[data]["one"]].T
        return [("one", a_E & ~b_E), ("one", b_E & ~a_E), ("both or none", a_E & b_E), ("both or none", ~a_E & ~b_E)]
    ((name, (direction,)),) = MADE_BY[data].items()
    return [(name, fires_EF[:, direction]), ("without", ~fires_EF[:, direction])]


if __name__ == "__main__":
    plant(Path(sys.argv[1]), World())
