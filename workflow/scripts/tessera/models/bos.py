"""The BOS token in front of a text: where it belongs, and nothing else puts it there."""

import logging

import numpy as np
import torch

from tessera.base.errors import TesseraError
from tessera.models.forward import run
from tessera.models.text import TextModel, missing_bos, special_ids

logger = logging.getLogger("tessera")


def leading_bos(name: str, asked: bool | str, model: TextModel) -> list[int]:
    """The BOS token, or nothing, to put in front of what the tokenizer makes of a text.

    Args:
        asked: the config's prepend_bos. auto: of a causal model, unless its chat template decides. In causal models
            the first token takes attention that is meant for none, with a norm a hundred times that of others: without
            BOS, a word of the text does.

    Raises:
        TesseraError: it is asked for, and the tokenizer has none.
    """
    tokenizer, chat = model.tokenizer, model.chat
    if asked is True and tokenizer.bos_token_id is None:
        raise TesseraError(f"config key models.{name}.prepend_bos: the tokenizer has no BOS token; say auto")
    if not asked or (chat and asked == "auto"):
        return []
    if chat:
        return [] if chat.prefix.startswith(tokenizer.bos_token) else [tokenizer.bos_token_id]
    missing = missing_bos(tokenizer)
    if asked == "auto" and missing and not is_causal(model):
        return []
    if missing:
        logger.info("%s: %s in front of every text", name, tokenizer.bos_token)
    return missing


@torch.inference_mode()
def is_causal(model: TextModel) -> bool:
    """Does no token see those behind it? Then the first block makes the same of a token whatever the next one is."""
    ordinary = np.setdiff1d(np.arange(len(model.tokenizer)), special_ids(model.tokenizer))
    ids_BT = torch.tensor([[ordinary[0], ordinary[0]], [ordinary[0], ordinary[1]]], device=model.device)
    arguments = {"input_ids": ids_BT, "attention_mask": torch.ones_like(ids_BT)}
    state_BTD = run(model, arguments, {0: "resid_post"})[0].float()
    moved_T = (state_BTD[0] - state_BTD[1]).norm(dim=1)
    return bool(moved_T[0] <= 1e-3 * moved_T[1])  # not 0: rows of a batch may be rounded otherwise
