"""Tokens/s of generation over those of a bare loop with a cache, and what prompts that are read once save.

python benchmarks/generating.py --model FOLDER [--prompts 1000] [--length 12 20] [--tokens 64] [--variants 8]

FOLDER: a causal language model, as transformers saves it. On one CPU thread in float32, in one process, in turns. The
bare loop is the model's own forward pass with past_key_values on the same batches, logits of the last token alone (as a
tensor: a number takes a tenth longer), and argmax. Prompts are random tokens, their lengths from --length (the second
excluded), and nothing ends before --tokens. The variants are of a change that adds nothing behind the middle block, of
so many prompts that texts are as many: on the last token, so that the rest of a prompt is read once for all variants,
and on all tokens.
"""

import argparse
import statistics
import time

import library  # noqa: F401 (makes it importable)
import numpy as np
import torch
from harness import table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--length", type=int, nargs=2, default=[12, 20])
    parser.add_argument("--variants", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    from tessera.models.forward import BATCH_TOKENS, Change, plan_batches
    from tessera.models.generating import generate
    from tessera.models.loading import load_model
    from tessera.models.text import Tokens

    torch.set_num_threads(1)
    spec = {"path": options.model, "device": "cpu", "dtype": "float32", "max_tokens": 64, "chat": False}
    spec |= {"prepend_bos": False}
    model = load_model({"name": "benchmark", "spec": spec, "architecture": spec, "seed": 0}, causal=True)
    model.tokenizer.eos_token = model.module.generation_config.eos_token_id = None
    draw = np.random.default_rng(0)
    ids = [draw.integers(len(model.tokenizer), size=size) for size in draw.integers(*options.length, options.prompts)]
    tokens = Tokens(ids, [np.ones(len(row), dtype=bool) for row in ids], np.zeros(len(ids), dtype=bool))
    fewer = tokens.first(-(-options.prompts // options.variants))

    @torch.inference_mode()
    def bare() -> int:
        lengths = np.array([len(row) for row in ids]) + options.tokens
        for batch in plan_batches(lengths, BATCH_TOKENS["cpu"]):
            ids_BT, cache, last = torch.from_numpy(np.stack([ids[one] for one in batch])), None, torch.tensor([-1])
            for _ in range(options.tokens):
                output = model.module(input_ids=ids_BT, past_key_values=cache, use_cache=True, logits_to_keep=last)
                ids_BT, cache = output.logits[:, -1:].argmax(dim=-1), output.past_key_values
        return len(ids) * options.tokens

    def ours(tokens: Tokens, where: str | None = None, samples: int = 0) -> int:
        of = Change(len(model.blocks) // 2, "resid_post", lambda state_BTD, _: state_BTD + 0)
        found = generate(
            model,
            tokens,
            variants=1 if where is None else options.variants,
            change=where and (lambda variant_B: of),
            where=where or "last",
            max_new_tokens=options.tokens,
            samples=samples,
            seed=0,
        )
        return int(found["ids"].list.len().sum())

    contestants = {
        "bare loop": bare,
        "generate": lambda: ours(tokens),
        "generate, greedy and one sample": lambda: ours(tokens.first(-(-options.prompts // 2)), samples=1),
        f"{options.variants} variants, last token": lambda: ours(fewer, "last"),
        f"{options.variants} variants, all tokens": lambda: ours(fewer, "all"),
    }
    speeds: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for number in range(options.rounds + 1):
        for name, work in contestants.items():
            wall, cpu = time.perf_counter(), time.process_time()
            count = work()
            if number:  # the first round warms up
                speeds[name].append((count / (time.perf_counter() - wall), count / (time.process_time() - cpu)))
    medians = {
        name: [statistics.median(column) for column in zip(*found, strict=True)] for name, found in speeds.items()
    }
    rows = {
        name: {"tokens/s": wall, "tokens/CPU-s": cpu, "of the bare loop": cpu / medians["bare loop"][1]}
        for name, (wall, cpu) in medians.items()
    }
    print(table(rows, {"tokens/s": ".1f", "tokens/CPU-s": ".1f", "of the bare loop": ".0%"}))


if __name__ == "__main__":
    main()
