"""One forward pass per batch: what the SAEs of every layer read, caught by hooks on the model's blocks."""

import inspect
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from transformers.utils import ModelOutput

from tessera.base.errors import TesseraError
from tessera.models.text import TextModel, Tokens

logger = logging.getLogger("tessera")
BATCH_TOKENS = {"cpu": 2048, "cuda": 16384}  # padded tokens per forward pass
REPORT_SECONDS = 10
# Names that transformers gives the parts of a block.
ATTENTION = ("self_attn", "attn", "attention", "self_attention")
PROJECTION = ("o_proj", "out_proj", "c_proj", "dense")
MLP = ("mlp", "feed_forward", "ffn")
# Gemma and OLMo 2 norm what a sublayer adds to the residual stream; elsewhere post_attention_layernorm stands in front
# of the MLP.
NORM_OF_ADDED = {"attn_out": "post_attention_layernorm", "mlp_out": "post_feedforward_layernorm"}
NORM_BEFORE_MLP = ("pre_feedforward_layernorm", "post_attention_layernorm", "ln_2")
Result = TypeVar("Result")
# Which tokens a change is of. The last one: of a prompt and of each token written behind it.
CONTENT, ALL, LAST = "content", "all", "last"


@dataclass
class Batch:
    """One forward pass: B examples padded on the right to T tokens."""

    examples: np.ndarray  # [B], positions in the list of Tokens
    ids_BT: np.ndarray
    content_BT: np.ndarray
    states: dict[int, torch.Tensor]  # layer → [B, T, d], on the model's device
    last_B: np.ndarray  # column of the last token that is read, content or not


@dataclass
class Change:
    """What takes the place of the state at `hook` of a layer: `of(state_BTD, content_BT)`, a new tensor.

    content_BT: the content tokens of the batch; while text is generated, those of its tokens that are to be changed.
    """

    layer: int
    hook: str
    of: Callable[[torch.Tensor, np.ndarray], torch.Tensor]


def plan_batches(lengths: np.ndarray, budget: int) -> list[np.ndarray]:
    """Groups of examples of one padded length, longest first, whose size (members × length) is within `budget`."""
    batches = []
    for length in np.unique(lengths)[::-1]:
        alike, size = np.flatnonzero(lengths == length), max(1, budget // int(length))
        batches += [alike[start : start + size] for start in range(0, len(alike), size)]
    return batches


@torch.inference_mode()
def forward(
    model: TextModel,
    tokens: Tokens,
    hooks: dict[int, str],
    compute: Callable[[Batch], Result],
    budget: int | None = None,
    change: Change | None = None,
) -> Iterator[Result]:
    """`compute` of every batch: one forward pass each, which ends where the last of `hooks` (layer → hook) is caught.

    `budget` is the padded tokens per pass; see `in_batches`. With `change`, hooks see what comes of it.

    Raises:
        TesseraError: the model has no such layer or hook; one text alone does not fit.
    """
    _check_layer(model, max(hooks))
    _check_sums(model, tokens, hooks)
    budget = budget or BATCH_TOKENS[model.device.type]
    yield from in_batches(
        tokens.padded_E, budget, lambda examples: compute(catch(model, tokens, examples, hooks, change))
    )


def in_batches(lengths: np.ndarray, budget: int, work: Callable[[np.ndarray], Result]) -> Iterator[Result]:
    """`work` of every batch of sequences whose padded size stays within `budget` tokens, longest first.

    Where the device runs out of memory in `work`, the budget is halved and the batch tried again.

    Raises:
        TesseraError: one sequence alone does not fit.
    """
    pending = plan_batches(lengths, budget)[::-1]
    done, total, started, reported = 0, int(lengths.sum()), time.monotonic(), time.monotonic()
    while pending:
        examples = pending.pop()
        try:
            result = work(examples)
        except torch.OutOfMemoryError:
            rest = np.concatenate([examples, *pending[::-1]])
            budget = max(int(lengths[examples].max()), budget // 2)
            if len(examples) == 1:
                raise TesseraError(
                    f"out of memory with one text of {lengths[examples[0]]} tokens: lower max_tokens, or give this "
                    f"pass fewer widths"
                ) from None
            logger.warning("out of memory: batch_tokens halved to %d", budget)
            torch.cuda.empty_cache()
            pending = [rest[part] for part in plan_batches(lengths[rest], budget)][::-1]
            continue
        yield result
        done += int(lengths[examples].sum())
        now = time.monotonic()
        if now - reported > REPORT_SECONDS or not pending:
            rate = done / (now - started)
            logger.info("%d of %d tokens, %.0f tokens/s, %.0f s left", done, total, rate, (total - done) / rate)
            reported = now


class _Stop(Exception):
    """Ends a forward pass once everything asked for is caught."""


def catch(
    model: TextModel, tokens: Tokens, examples: np.ndarray, hooks: dict[int, str], change: Change | None = None
) -> Batch:
    """One forward pass over `examples`: the activations [B, T, d] at the hook of each layer."""
    inputs = model.inputs(tokens, examples)
    with changed(model, change, inputs.content_BT):
        states = run(model, inputs.arguments, hooks)
    for layer, state in states.items():
        if state.ndim != 3 or state.shape[:2] != inputs.content_BT.shape:
            raise TesseraError(
                f"{type(model.module).__name__}, layer {layer}: {hooks[layer]} is {tuple(state.shape)} for "
                f"{inputs.content_BT.shape} examples and tokens; supported are models with one stack of equal blocks"
            )
    last_B = np.array([len(tokens.ids[example]) - 1 for example in examples])
    return Batch(examples, inputs.ids_BT, inputs.content_BT, states, last_B)


def run(model: TextModel, arguments: dict[str, torch.Tensor], hooks: dict[int, str]) -> dict[int, torch.Tensor]:
    """One forward pass, ended where the last of `hooks` (layer → hook) is caught: layer → activations [B, T, d]."""
    caught: dict[int, torch.Tensor] = {}

    def keep(layer: int, transform: Callable | None, state_BTD: torch.Tensor) -> None:
        caught[layer] = transform(state_BTD) if transform else state_BTD
        if len(caught) == len(hooks):
            raise _Stop

    handles = []
    for layer, hook in hooks.items():
        module, side, transform = _place(model.blocks[layer], hook)
        handles.append(_attach(module, side, partial(keep, layer, transform)))
    try:
        model.module(**arguments)
    except _Stop:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return caught


def predict(
    model: TextModel,
    arguments: dict,
    change: Change | None,
    content_BT: np.ndarray,
    columns: np.ndarray | None = None,
) -> ModelOutput:
    """What a causal model makes of a batch with `change`: its output, with logits [B, K, V] of K `columns` (None: all).

    Logits of a whole vocabulary are large: the others are not computed where the model can leave them out.

    Raises:
        TesseraError: the model has no head; or as of `changed`.
    """
    if columns is not None and "logits_to_keep" in inspect.signature(model.module.forward).parameters:
        arguments = arguments | {"logits_to_keep": torch.from_numpy(columns).to(model.device)}
        columns = None
    with changed(model, change, content_BT):
        output = model.module(**arguments)
    if not hasattr(output, "logits"):
        raise TesseraError(f"{type(model.module).__name__} has no head that predicts tokens; load it as a causal model")
    if columns is not None:
        output.logits = output.logits[:, columns]
    return output


@contextmanager
def changed(model: TextModel, change: Change | None, content_BT: np.ndarray) -> Iterator[None]:
    """Passes over the batch of `content_BT` have `change`; hooks attached in here see the changed state.

    Raises:
        TesseraError: the model has no such layer or hook, or no later part reads the state there.
    """
    if change is None:
        yield
        return
    _check_layer(model, change.layer)
    module, side, transform = _place(model.blocks[change.layer], change.hook)
    if transform:
        raise TesseraError(
            f"hook {change.hook}: no part of the model reads the state there, so nothing can be taken out of it; "
            f"choose an SAE of another hook"
        )
    handle = _attach(module, side, lambda state_BTD: change.of(state_BTD, content_BT))
    try:
        yield
    finally:
        handle.remove()


def _check_layer(model: TextModel, layer: int) -> None:
    if layer >= len(model.blocks):
        last = len(model.blocks) - 1
        raise TesseraError(f"a pass asks for layer {layer}; the model has {last + 1} layers, 0 to {last}")


def _attach(module: torch.nn.Module, side: str, visit: Callable[[torch.Tensor], torch.Tensor | None]):
    """Show the state on one side of a module to `visit`: what that gives back, if anything, takes its place."""

    def on_input(_module, args, kwargs):
        state = visit(args[0] if args else kwargs["hidden_states"])
        if state is not None:
            return ((state, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": state})

    def on_output(_module, _args, output):
        if not isinstance(output, tuple):
            return visit(output)
        state = visit(output[0])
        if state is not None:
            return (state, *output[1:])

    if side == "input":
        return module.register_forward_pre_hook(on_input, with_kwargs=True)
    return module.register_forward_hook(on_output)


def _place(block: torch.nn.Module, hook: str) -> tuple[torch.nn.Module, str, Callable | None]:
    """Module of a block, its side, and what to do with the tensor there, for each hook of TransformerLens' naming.

    resid_pre, resid_post: the residual stream before and after the block. attn_out, mlp_out: what the sublayer adds to
    it. z: the heads' outputs side by side, before the output projection. mlp_in: the MLP's input.
    mlp_in_normalized: the same without the norm's weights (Gemma Scope's transcoders: arXiv 2408.05147).
    """
    match hook:
        case "resid_pre":
            return block, "input", None
        case "resid_post":
            return block, "output", None
        case "attn_out" | "mlp_out" if hasattr(block, NORM_OF_ADDED["mlp_out"]):
            return _part(block, (NORM_OF_ADDED[hook],), hook), "output", None
        case "attn_out":
            return _part(block, ATTENTION, hook), "output", None
        case "mlp_out":
            return _part(block, MLP, hook), "output", None
        case "z":
            return _part(_part(block, ATTENTION, hook), PROJECTION, hook), "input", None
        case "mlp_in":
            return _part(block, MLP, hook), "input", None
        case "mlp_in_normalized":
            added = hasattr(block, NORM_OF_ADDED["mlp_out"])  # then post_attention_layernorm is no norm before the MLP
            norm = _part(block, NORM_BEFORE_MLP[:1] if added else NORM_BEFORE_MLP, hook)
            epsilon = getattr(norm, "variance_epsilon", getattr(norm, "eps", None))
            if "RMSNorm" not in type(norm).__name__ or epsilon is None:
                raise TesseraError(f"hook {hook}: {type(norm).__name__} in front of the MLP is no RMSNorm")
            return norm, "input", lambda x: torch.nn.functional.rms_norm(x.float(), x.shape[-1:], eps=epsilon)
    raise ValueError(hook)


def _part(module: torch.nn.Module, names: tuple[str, ...], hook: str) -> torch.nn.Module:
    for name in names:
        if hasattr(module, name):
            return getattr(module, name)
    there = ", ".join(name for name, _ in module.named_children())
    raise TesseraError(
        f"hook {hook}: {type(module).__name__} has none of the parts {', '.join(names)}; its parts: {there}"
    )


@torch.inference_mode()
def _check_sums(model: TextModel, tokens: Tokens, hooks: dict[int, str]) -> None:
    """Do attn_out and mlp_out of the first text sum, with the block's input, to its output? Else they are not that."""
    for layer in (layer for layer, hook in hooks.items() if hook in NORM_OF_ADDED):
        before, attention, mlp, after = (
            catch(model, tokens, np.array([0]), {layer: hook}).states[layer].float()
            for hook in ("resid_pre", "attn_out", "mlp_out", "resid_post")
        )
        if (before + attention + mlp - after).norm() > 0.02 * after.norm():  # bfloat16 keeps 8 bits
            raise TesseraError(
                f"hook {hooks[layer]}, layer {layer}: in {type(model.module).__name__}, attention and MLP output do "
                f"not add up to what the block adds to the residual stream"
            )
