"""One forward pass for all layers and widths, against the published procedure: one pass for each, dense arrays on disk.

python benchmarks/one_pass.py [--texts 200] [--rounds 3]

A random-weight Gemma 2 (d 512, 12 layers), layers 3, 6 and 9, widths 4,096 and 16,384. The published procedure
(arXiv 2502.11367) is written anew here as its code does it: per layer and width the model is loaded, texts are padded
in order of arrival, `output_hidden_states` keeps every layer, SAELens encodes every token, padding too, and each
example's hidden states and activations go to a compressed dense npz.
"""

import argparse
import tempfile
from pathlib import Path

import library  # noqa: F401 (makes it importable)
import numpy as np
import polars as pl
import torch
from harness import side_by_side, table

LAYERS, WIDTHS, BATCH = [3, 6, 9], [4096, 16384], 8


def prepare_published(root: Path, out: Path):
    from sae_lens import SAE  # noqa: F401 (imported before the clock starts)
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401

    torch.set_num_threads(2)
    return root, out


@torch.inference_mode()
def work_published(state):
    from sae_lens import SAE
    from transformers import AutoModelForCausalLM, AutoTokenizer

    root, out = state
    texts = pl.read_parquet(root / "examples.parquet")["text"].to_list()
    for layer in LAYERS:
        for width in WIDTHS:
            model = AutoModelForCausalLM.from_pretrained(root / "model", dtype=torch.float32).eval()
            tokenizer = AutoTokenizer.from_pretrained(root / "model")
            sae = SAE.load_from_disk(root / "saes" / f"{layer}-{width}")
            folder = out / f"layer_{layer}" / str(width)
            folder.mkdir(parents=True)
            for start in range(0, len(texts), BATCH):
                batch = tokenizer(
                    texts[start : start + BATCH], padding=True, truncation=True, max_length=512, return_tensors="pt"
                )
                inputs = {key: batch[key] for key in ("input_ids", "attention_mask")}
                hidden_BTD = model(**inputs, output_hidden_states=True).hidden_states[layer + 1]
                acts_BTW = sae.encode(hidden_BTD)
                for row in range(len(hidden_BTD)):
                    file = folder / f"sample_{start + row}.npz"
                    np.savez_compressed(file, hidden_state=hidden_BTD[row].numpy(), sae_acts=acts_BTW[row].numpy())
    return size_of(out)


def prepare_tessera(root: Path, out: Path):
    import tessera.activations.extraction  # noqa: F401 (imported before the clock starts)

    torch.set_num_threads(2)
    return root, out


def work_tessera(state):
    import synthetic
    from tessera.activations.extraction import extract
    from tessera.models.loading import load_model

    root, out = state
    extract(
        load_model(synthetic.identity(root), depth=max(LAYERS) + 1),
        pl.read_parquet(root / "examples.parquet"),
        {(layer, str(width)): synthetic.encoder(root, layer, width) for layer in LAYERS for width in WIDTHS},
        LAYERS,
        out / "shard",
        max_tokens=512,
        activation_dtype="float16",
    )
    return size_of(out)


def size_of(folder: Path) -> int:
    """Bytes of everything in a folder; removes it, so that the disk holds one at a time."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    total = sum(file.stat().st_size for file in files)
    for file in files:
        file.unlink()
    for part in sorted(folder.rglob("*"), reverse=True):
        part.rmdir()
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--texts", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    import synthetic

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        synthetic.save_study(root, "small", options.texts, LAYERS, WIDTHS)
        found = side_by_side(
            options.rounds,
            {
                "published procedure": (prepare_published, work_published, root, root / "published"),
                "Tessera": (prepare_tessera, work_tessera, root, root / "tessera"),
            },
        )
    for row in found.values():
        row["mib"] = row["result"] / 2**20
    published, ours = found.values()
    print(f"wall {published['wall_s'] / ours['wall_s']:.1f} x, bytes {published['mib'] / ours['mib']:.1f} x")
    print(table(found, {"wall_s": ".1f", "cpu_s": ".1f", "peak_mib": ".0f", "mib": ".1f"}))


if __name__ == "__main__":
    main()
