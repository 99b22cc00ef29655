"""From the files of a place to its evidence: what each job reads, and what it leaves."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from safetensors import safe_open

from tessera.base import hive
from tessera.evidence.choice import ALL, NOTHING, choose_sets, choose_shown
from tessera.evidence.contexts import OFTEN, contexts, fires_on, neutral_rate, peaks
from tessera.evidence.decision import Decision, read_decision
from tessera.evidence.latents import latent_table
from tessera.evidence.necessity import necessity, span
from tessera.evidence.separation import separations
from tessera.evidence.stability import stability
from tessera.evidence.sufficiency import basis_of_directions, basis_of_latents, sufficiency
from tessera.evidence.transfers import fires_abroad
from tessera.examples.examples import read_examples
from tessera.features.hidden import read_hidden
from tessera.features.pooling import read_features
from tessera.features.spaces import Thresholding
from tessera.probes.fit import fit_at
from tessera.probes.task import Task
from tessera.study import paths
from tessera.study.grid import BEFORE_ANSWER, parse_width

Frames = dict[str, pl.DataFrame]


class Place:
    """The files of one SAE on one data set.

    keys: model, layer, width, data. features: a file per pooling. cells: scores and coefficients of each cell. shards:
    folders of activations.
    """

    def __init__(
        self,
        keys: dict[str, str],
        examples: str,
        features: list[str],
        cells: list[str],
        shards: list[str],
        settings: dict,
    ):
        self.keys, self.width = keys, parse_width(keys["width"])
        self.features, self.cells, self.settings = features, cells, settings
        self.folders = [Path(shard) for shard in shards]
        self.frame = read_examples(examples)
        self.task = self.task_of(0)

    def task_of(self, repeat: int) -> Task:
        return Task(self.frame, **self.settings, repeat=repeat)

    def decision(self, repeat: int = 0) -> Decision:
        """The best cell of a repeat."""
        return read_decision(self.cells, self.task.classes, repeat)

    def latents(self, decision: Decision) -> list[Path]:
        """Token-level shards: of the tokens that the decision's pooling reads."""
        pattern = paths.BEFORE_ANSWER if decision.cell["pooling"] == BEFORE_ANSWER else paths.LATENTS
        return [folder / pattern.format(**self.keys) for folder in self.folders]

    def pooled(self, decision: Decision) -> Path:
        return Path(hive.one(self.features, pooling=decision.cell["pooling"]))

    def hidden(self, pooling: str) -> np.ndarray:
        """Pooled hidden states [E, d] where the SAE reads them."""
        return read_hidden([folder / paths.HIDDEN.format(**self.keys) for folder in self.folders], pooling)


def weigh(place: Place, *, latents: int, ids: list[int]) -> Frames:
    """The table of latents, and those to show."""
    decision = place.decision()
    features, width = place.pooled(decision), place.width
    table = latent_table(place.task, decision, place.latents(decision), features, width)
    return {"latents": table, "shown": choose_shown(place.task, decision, features, width, latents=latents, ids=ids)}


def read_sets(place: Place, decoder: Path, *, k: int, draws: int) -> pl.DataFrame:
    """The sets of latents to take out of the model."""
    decision = place.decision()
    files = place.latents(decision), place.pooled(decision)
    norm_W = np.linalg.norm(read_decoder(decoder, place.width), axis=1)
    return choose_sets(place.task, decision, *files, place.hidden("mean"), norm_W, k=k, draws=draws)


def read_contexts(place: Place, shown: pl.DataFrame, neutral: list[str], number: int) -> Frames:
    """Where the shown latents fire, how specific each is, and how well it separates its class on held-out texts."""
    decision = place.decision()
    latents = shown["latent"].unique(maintain_order=True).to_list()
    shards, tokens = place.latents(decision), [folder / paths.TOKENS for folder in place.folders]
    largest_EL = peaks(shards, latents, len(place.frame))
    pairs = shown.select("class", "latent").rows()
    apart = separations(place.task, pairs, largest_EL > 0, latents)
    specific = shown.hstack(apart)
    if neutral:
        rate_L = neutral_rate([Path(folder) / paths.LATENTS.format(**place.keys) for folder in neutral], latents)
        rates = pl.DataFrame({"latent": latents, "neutral_rate": rate_L}, schema_overrides={"latent": pl.Int64})
        specific = specific.join(rates, on="latent", how="left", maintain_order="left")
    else:
        specific = specific.with_columns(neutral_rate=pl.lit(None, pl.Float64))
    found = contexts(place.task, shards, tokens, place.pooled(decision), largest_EL, latents, number)
    specific = specific.join(fires_on(found), on="latent", how="left", maintain_order="left")
    return {"contexts": found, "specificity": specific.with_columns(unspecific=pl.col("neutral_rate") > OFTEN)}


def suffice(place: Place, hidden: list[str], seeds: list[str], *, repeats: int, k: int, draws: int) -> Frames:
    """Curves of sufficiency and necessity in the features, what their claims rest on, and how stable the top k are.

    hidden: scores of the cells of hidden states there. seeds: pooled latents of the other draws of the SAE.
    """
    tasks = [place.task_of(repeat) for repeat in range(repeats)]
    decisions = [place.decision(repeat) for repeat in range(repeats)]
    bases = [
        basis_of_latents(task, one, read_features(place.pooled(one), place.width))
        for task, one in zip(tasks, decisions, strict=True)
    ]
    directions = None
    if hidden:
        scores = {hive.keys(file)["pooling"]: pl.read_parquet(file) for file in hidden}
        directions = []
        for repeat, task in enumerate(tasks):
            fits = {pooling: frame.filter(repeat=repeat).row(0, named=True) for pooling, frame in scores.items()}
            best = max(fits, key=lambda pooling: fits[pooling]["cv_macro_f1"])
            directions.append(basis_of_directions(task, place.hidden(best), fits[best]["C"]))
    curves, claims = sufficiency(bases, directions, k=k, draws=draws)
    others = [_seed(bases[0].task, decisions[0], file, place.width) for file in _of_cell(seeds, decisions[0])]
    return {"sufficiency": curves, "suffices": claims, "stability": stability(bases[0], tasks, others, k)}


def _of_cell(files: list[str], decision: Decision) -> list[str]:
    return hive.at(files, pooling=decision.cell["pooling"])


def _seed(task: Task, decision: Decision, features: str, width: int):
    """The same cell on the latents of another draw."""
    features_EW = read_features(Path(features), width)
    thresholding = Thresholding.fit(features_EW[task.train_E], decision.cell["threshold"])
    train_EK = thresholding.apply(features_EW[task.train_E])
    probe = fit_at(train_EK, task.label_E[task.train_E], task.classes, decision.probe.C)
    return basis_of_latents(task, Decision(decision.cell, task.classes, probe, thresholding), features_EW)


def need(task: Task, sets: pl.DataFrame, folders: list[str], decoder: Path, width: int) -> Frames:
    """What probes of later layers lose without each set; the harm elsewhere; the model's answers without it."""
    shards = [Path(folder) for folder in folders]
    nothing = sets["kind"].to_list().index(NOTHING)
    layers = sorted(int(file.stem.partition("=")[2]) for file in (shards[0] / f"hidden/set={nothing}").iterdir())
    rows_WD, spans = read_decoder(decoder, width), {}
    for number, one in enumerate(sets.iter_rows(named=True)):
        if one["directions"] is not None:
            spans[number] = np.array(one["directions"], dtype=np.float64).reshape(-1, rows_WD.shape[1])
        elif one["kind"] not in (NOTHING, ALL):
            spans[number] = span(rows_WD[one["latents"]])

    def states(number: int, layer: int) -> np.ndarray:
        files = [shard / paths.ABLATED.format(set=number, layer=layer) for shard in shards]
        found_ED = read_hidden([file for file in files if file.exists()], "mean")  # a shard may have no test text
        if number == nothing:
            return found_ED
        whole_ED = np.zeros((len(task.examples), found_ED.shape[1]), dtype=found_ED.dtype)
        whole_ED[task.split_E == "test"] = found_ED
        return whole_ED

    drops, needed = necessity(task, sets, spans, layers, states)
    names = sets.with_row_index("number").select(pl.col("number").cast(pl.Int64), "kind", "class", "draw")
    merged = partial(_merged, shards, names)
    return {"ablations": drops, "needed": needed, "harm": merged("divergence"), "answers": merged("answers")}


def _merged(shards: list[Path], names: pl.DataFrame, part: str) -> pl.DataFrame:
    """A part of every shard of ablations, the sets by their names."""
    found = pl.concat([pl.read_parquet(shard / f"{part}.parquet") for shard in shards])
    return names.join(found, left_on="number", right_on="set", how="right", maintain_order="right").drop("set")


def read_decoder(path: Path, width: int) -> np.ndarray:
    """What one unit of each latent writes [W, d]; ones [W, 1] where that is not known."""
    with safe_open(path, "np") as file:
        return file.get_tensor("W_dec") if "W_dec" in file.keys() else np.ones((width, 1), np.float32)  # noqa: SIM118


def read_abroad(
    shown: pl.DataFrame, examples: list[str], shards: list[str], name: Callable[[str], str], settings: dict
) -> pl.DataFrame:
    """Do the latents shown of a source fire for their class in its targets? A row per target; see `fires_abroad`.

    name: folder of activations → its file of latents.
    """
    latents = shown["latent"].unique(maintain_order=True).to_list()
    rows = []
    for file in examples:
        data = hive.keys(file)["data"]
        task = Task(read_examples(file), **settings)
        largest_EL = peaks([Path(name(folder)) for folder in hive.at(shards, data=data)], latents, len(task.examples))
        rows.append(fires_abroad(task, shown, largest_EL, latents).with_columns(target=pl.lit(data)))
    return pl.concat(rows)
