"""A study of a tiny causal model and its SAE with all its evidence, whose texts hold markup, emoji and Hebrew."""

from pathlib import Path

import numpy as np
import polars as pl
import tiny
import yaml
from runs import snakemake
from sae_lens.saes.sae import SAEMetadata

MARKUP = "<script>alert(1)</script>"
ABROAD = "👩‍🚀 שלום"  # of several code points and UTF-16 units, and written from right to left
TEXTS, SHARD = 120, 70


def rows(seed: int) -> pl.DataFrame:
    generator = np.random.default_rng(seed)
    label = np.array(["wet", "dry"])[generator.integers(2, size=TEXTS)]
    texts = [" ".join(generator.choice(tiny.WORDS, size=7)) for _ in range(TEXTS)]
    told = [("rain" if one == "wet" else "moon") if generator.random() < 0.95 else "hill" for one in label]
    texts = [f"{word} {ABROAD} {text} {MARKUP} {word}" for word, text in zip(told, texts, strict=True)]
    return pl.DataFrame({"text": texts, "label": label})


def make(folder: Path) -> None:
    """Run the study in `folder`."""
    folder.mkdir()
    tiny.save_model("llama", folder / "big", causal=True)
    tiny.save_sae(folder / "sae", "jumprelu", width=96, metadata=SAEMetadata(neuronpedia_id="big/1-own"))
    rows(0).write_csv(folder / "here.csv")
    rows(1).write_csv(folder / "there.csv")
    prompts = rows(2).select(prompt="text").with_columns(good=pl.lit("the hill"), bad=pl.lit("a river"))
    prompts.write_csv(folder / "prompts.csv")
    pl.DataFrame({"latent": range(96), "text": [f"about {latent}" for latent in range(96)]}).write_csv(
        folder / "names.csv"
    )
    config = {
        "models": {
            "big": {
                "path": "big",
                "max_tokens": 16,
                "activation_dtype": "float32",
                "saes": "own",
                "passes": [{1: [96]}],
            }
        },
        "saes": {"own": {"path": "sae", "explanations": "names.csv"}},
        "datasets": {
            "here": {"path": "here.csv"},
            "there": {"path": "there.csv"},
            "acts": {"path": "prompts.csv", "text": "prompt", "answered": {"model": "big", "choices": ["good", "bad"]}},
        },
        "transfers": {"across": {"sources": ["here"], "targets": ["there"]}},
        "evidence": {
            "places": ["big/1/96/here", "big/1/96/acts"],
            "in_model": ["big/1/96/here", "big/1/96/acts"],
            "maps": ["big/1/96/here"],
            "ids": {"big/1/96/here": [3]},
            "latents": 2,
            "contexts": 6,
            "k": 4,
            "draws": 2,
            "neutral": ["there"],
        },
        "shard_size": SHARD,
        "grid": {"poolings": ["sum"], "thresholds": ["none"]},
        "baselines": {"hidden": ["mean"], "tfidf": []},
        "probe": {"C": [0.1, 1], "folds": 2, "resamples": 100},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(config))
    snakemake(folder, "report")
