"""Achieved tokens/s of the activations stage over its floor: the bare truncated forward pass and the SAEs' products.

python benchmarks/floor.py [--size small|2b|9b] [--texts 300] [--rounds 3] [--layers 3 6 9] [--widths 4096 16384]

Both run on the same batches in one process, in turns. The floor has no tokenising, thresholds, indices, pooling or
files. On a GPU the model is bfloat16, with the shapes of Gemma 2 2B or 9B for --size 2b or 9b.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import library  # noqa: F401 (makes it importable)
import polars as pl
import torch
from harness import table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", choices=["small", "2b", "9b"], default="small")
    parser.add_argument("--texts", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--layers", type=int, nargs="+", default=[3, 6, 9])
    parser.add_argument("--widths", type=int, nargs="+", default=[4096, 16384])
    options = parser.parse_args()
    import synthetic
    from tessera.activations.extraction import extract
    from tessera.models.forward import BATCH_TOKENS, catch, plan_batches
    from tessera.models.loading import load_model
    from tessera.models.text import tokenise
    from tessera.saes.encoders import Scratch, load_encoder

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    cells = [(layer, width) for layer in options.layers for width in options.widths]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        synthetic.save_study(root, options.size, options.texts, options.layers, options.widths, dtype, device)
        model = load_model(synthetic.identity(root), depth=max(options.layers) + 1)
        examples = pl.read_parquet(root / "examples.parquet")
        paths = {cell: synthetic.encoder(root, *cell) for cell in cells}
        tokens = tokenise(model, examples["text"].to_list(), 512)
        hooks = dict.fromkeys(options.layers, "resid_post")
        scratch = Scratch(model.device, dtype)
        encoders = {cell: load_encoder(path, scratch) for cell, path in paths.items()}

        @torch.inference_mode()
        def floor() -> None:
            for batch in plan_batches(tokens.padded_E, BATCH_TOKENS[device]):
                caught = catch(model, tokens, batch, hooks)
                content_BT = torch.from_numpy(caught.content_BT).to(model.device)
                for layer in options.layers:
                    state_ND = caught.states[layer][content_BT].to(dtype)
                    for encoder in (encoders[cell] for cell in cells if cell[0] == layer):
                        rows = scratch.entries // encoder.width
                        for chunk in state_ND.split(rows):
                            torch.mm(chunk, encoder.W_enc)

        def achieved() -> None:
            extract(
                model,
                examples,
                {(layer, str(width)): paths[layer, width] for layer, width in cells},
                options.layers,
                root / "shard",
                max_tokens=512,
                activation_dtype="float16",
            )

        times: dict[str, list[float]] = {"floor": [], "achieved": []}
        for number in range(options.rounds + 1):
            for name, work in (("floor", floor), ("achieved", achieved)):
                started = time.perf_counter()
                work()
                if device == "cuda":
                    torch.cuda.synchronize()
                if number:  # the first round warms up
                    times[name].append(time.perf_counter() - started)
    count = sum(len(row) for row in tokens.ids)
    medians = {name: statistics.median(found) for name, found in times.items()}
    rows = {name: {"wall_s": wall, "tokens/s": count / wall} for name, wall in medians.items()}
    share = medians["floor"] / medians["achieved"]
    print(f"{options.size} on {device}, {dtype}, {count} tokens: {share:.0%} of the floor")
    print(table(rows, {"wall_s": ".2f", "tokens/s": ".0f"}))


if __name__ == "__main__":
    main()
