"""What a sentence encoder makes of a text: one vector, as sentence-transformers makes it of the same folder."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import torch

from tessera.base.arrow import to_arrow
from tessera.base.errors import TesseraError
from tessera.models.forward import BATCH_TOKENS, in_batches
from tessera.models.text import TextModel, contents


def _mean(state_BTD: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    return (state_BTD * mask_BT[..., None]).sum(dim=1) / mask_BT.sum(dim=1, keepdim=True)


def _max(state_BTD: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    return state_BTD.masked_fill(mask_BT[..., None] == 0, -torch.inf).amax(dim=1)


def _first(state_BTD: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    return state_BTD[:, 0]


def _last(state_BTD: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    return state_BTD[torch.arange(len(state_BTD)), mask_BT.sum(dim=1) - 1]  # padding is on the right


# Over all tokens of the attention mask, special ones among them: a mode in a folder's 1_Pooling/config.json, as a flag
# and as a word (sentence-transformers 5), and what it does. Vectors of several flags stand side by side in this order.
POOLINGS: dict[str, tuple[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]] = {
    "pooling_mode_cls_token": ("cls", _first),
    "pooling_mode_max_tokens": ("max", _max),
    "pooling_mode_mean_tokens": ("mean", _mean),
    "pooling_mode_lasttoken": ("lasttoken", _last),
}
FUNCTIONS = dict(POOLINGS.values())


@dataclass
class Recipe:
    """How a sentence encoder pools its last hidden states, after the final norm.

    poolings: names of FUNCTIONS, whose vectors stand side by side. unit: is the whole scaled to length 1?
    """

    poolings: tuple[str, ...] = ("mean",)
    unit: bool = False

    def pool(self, state_BTD: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
        """One vector [B, D × poolings] per text of hidden states [B, T, D] and their attention mask."""
        vector_BD = torch.cat([FUNCTIONS[name](state_BTD, mask_BT) for name in self.poolings], dim=1)
        return torch.nn.functional.normalize(vector_BD, dim=1) if self.unit else vector_BD


def read_recipe(name: str, folder: Path) -> Recipe:
    """The recipe in the folder of the model `name`: its modules.json; a mean that is not scaled where it has none.

    Raises:
        TesseraError: it pools in a way, puts a part behind, or puts a prompt in front of texts, that is not known here.
    """
    if not (folder / "modules.json").is_file():
        return Recipe()
    recipe = Recipe()
    for part in _read(name, folder / "modules.json"):
        match kind := part["type"].rpartition(".")[2]:
            case "Transformer":
                pass
            case "Pooling":
                recipe.poolings = _poolings(name, _read(name, folder / part["path"] / "config.json"))
            case "Normalize":
                recipe.unit = True
            case _:
                raise TesseraError(
                    f"config key models.{name}: its sentence embedding goes through the part {kind}; supported are "
                    f"Transformer, Pooling and Normalize"
                )
    prompts = folder / "config_sentence_transformers.json"
    if prompts.is_file() and (prompt := _read(name, prompts).get("default_prompt_name")):
        raise TesseraError(
            f"config key models.{name}: its sentence embedding has the prompt {prompt!r} in front of every text, which "
            f"is not supported"
        )
    return recipe


def _poolings(name: str, config: dict) -> tuple[str, ...]:
    wanted = config.get("pooling_mode")
    if wanted is None:
        flags = [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
        unknown = [key for key in flags if key not in POOLINGS]
        wanted = unknown or [word for flag, (word, _) in POOLINGS.items() if flag in flags] or ["mean"]
    wanted = (wanted,) if isinstance(wanted, str) else tuple(wanted)
    for word in wanted:
        if word not in FUNCTIONS:
            raise TesseraError(
                f"config key models.{name}: its sentence embedding is pooled by {word!r}; supported: "
                f"{', '.join(FUNCTIONS)}"
            )
    return wanted


def _read(name: str, file: Path) -> dict | list:
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise TesseraError(f"config key models.{name}: {str(file)!r} cannot be read: {error}") from error


@torch.inference_mode()
def embed(
    model: TextModel, recipe: Recipe, examples: pl.DataFrame, *, max_tokens: int, budget: int | None = None
) -> Iterator[pa.Table]:
    """The embeddings of `examples` (columns example and text), batch by batch, of `budget` padded tokens at most.

    Columns: example, truncated (was the text cut to `max_tokens`), embedding (float32 [D]).

    Raises:
        TesseraError: an embedding is not finite.
    """
    tokens = model.read(contents(examples), max_tokens=max_tokens)
    numbers = examples["example"].to_numpy().astype(np.uint32)

    def work(rows_B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        arguments = model.inputs(tokens, rows_B).arguments
        state_BTD = model.module(**arguments).last_hidden_state.float()
        return rows_B, recipe.pool(state_BTD, arguments["attention_mask"]).cpu().numpy()

    for rows_B, vector_BD in in_batches(tokens.padded_E, budget or BATCH_TOKENS[model.device.type], work):
        finite_B = np.isfinite(vector_BD).all(axis=1)
        if not finite_B.all():
            raise TesseraError(
                f"the embedding of example {numbers[rows_B[~finite_B][0]]} is not finite; set dtype: float32 for this "
                f"model"
            )
        columns = {
            "example": to_arrow(numbers[rows_B]),
            "truncated": pa.array(tokens.truncated[rows_B]),
            "embedding": pa.FixedSizeListArray.from_arrays(to_arrow(vector_BD.ravel()), vector_BD.shape[1]),
        }
        yield pa.table(columns)
