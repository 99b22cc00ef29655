"""From the files of a place to its evidence: what each job reads, and what it leaves."""

import json
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from safetensors import safe_open

from tessera.base import hive
from tessera.base.errors import TesseraError
from tessera.evidence.choice import ALL, NOTHING, choose_sets, choose_shown, span
from tessera.evidence.contexts import OFTEN, contexts, fires_on
from tessera.evidence.decision import Decision, read_decision
from tessera.evidence.explaining import explain, marked
from tessera.evidence.latents import latent_table
from tessera.evidence.necessity import necessity
from tessera.evidence.separation import separations
from tessera.evidence.stability import stability
from tessera.evidence.sufficiency import Basis, basis_of_directions, basis_of_latents, sufficiency
from tessera.evidence.tokens import histograms, neutral_rate, peaks
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
        return token_files(self.folders, decision.cell["pooling"], self.keys)

    @property
    def tokens(self) -> list[Path]:
        """A file per folder of activations: where its tokens stand."""
        return [folder / paths.TOKENS for folder in self.folders]

    def pooled(self, decision: Decision) -> Path:
        return Path(hive.one(self.features, pooling=decision.cell["pooling"]))

    def hidden(self, pooling: str) -> np.ndarray:
        """Pooled hidden states [E, d] where the SAE reads them."""
        return read_hidden([folder / paths.HIDDEN.format(**self.keys) for folder in self.folders], pooling)


def token_files(folders: Iterable[str | Path], pooling: str, keys: dict[str, str]) -> list[Path]:
    """The files of latents in folders of activations: of the tokens that a pooling reads."""
    pattern = paths.BEFORE_ANSWER if pooling == BEFORE_ANSWER else paths.LATENTS
    return [Path(folder) / pattern.format(**keys) for folder in folders]


def weigh(place: Place, *, latents: int, ids: list[int]) -> Frames:
    """The table of latents, and those to show."""
    decision = place.decision()
    features, width = place.pooled(decision), place.width
    table = latent_table(place.task, decision, place.latents(decision), features, width)
    shown = choose_shown(place.task, decision, features, width, latents=latents, ids=ids)
    return {"latents": table, "shown": shown.with_columns(pooling=pl.lit(decision.cell["pooling"]))}


def read_sets(place: Place, decoder: Path, *, k: int, draws: int) -> pl.DataFrame:
    """The sets of latents to take out of the model; see `acted_on`."""
    decision = acted_on(place, decoder, "evidence.in_model")
    files = place.latents(decision), place.pooled(decision)
    norm_W = np.linalg.norm(read_decoder(decoder, place.width), axis=1)
    return choose_sets(place.task, decision, *files, place.hidden("mean"), norm_W, k=k, draws=draws)


def about_decoder(decoder: Path) -> dict:
    """What `prepare` says of a decoder: hook, and whether latents can be acted on there."""
    with safe_open(decoder, "np") as file:
        return json.loads(file.metadata()["tessera"])


def acted_on(place: Place, decoder: Path, key: str) -> Decision:
    """The decision whose latents are acted on in the model, which the config asks for by `key`.

    Of a cell that pools the tokens they are acted on at: the best that does not read before the answer.

    Raises:
        TesseraError: the SAE reads no place of the residual stream, or it is not known what its latents write.
    """
    about = about_decoder(decoder)
    if about["why_not"] or not about["in_stream"]:
        reason = about["why_not"] or f"it reads {about['hook']}, which later layers do not have as it is"
        raise TesseraError(
            f"config key {key}: latents of {'/'.join(place.keys.values())} cannot be acted on in the model: {reason}"
        )
    pooled = [file for file in place.cells if hive.keys(file)["pooling"] != BEFORE_ANSWER]
    if not pooled:
        raise TesseraError(f"config key {key}: it needs a pooling other than {BEFORE_ANSWER} in grid.poolings")
    return read_decision(pooled, place.task.classes)


def read_contexts(place: Place, shown: pl.DataFrame, neutral: list[str], number: int) -> Frames:
    """Where and how strongly the shown latents fire, how specific each is, how well it separates its class held out."""
    decision = place.decision()
    latents = shown["latent"].unique(maintain_order=True).to_list()
    shards = place.latents(decision)
    largest_EL, range_2L = peaks(shards, latents, len(place.frame))
    pairs = shown.select("class", "latent").rows()
    apart = separations(place.task, pairs, largest_EL > 0, latents)
    specific = shown.hstack(apart)
    if neutral:
        rate_L = neutral_rate(token_files(neutral, decision.cell["pooling"], place.keys), latents)
        rates = pl.DataFrame({"latent": latents, "neutral_rate": rate_L}, schema_overrides={"latent": pl.Int64})
        specific = specific.join(rates, on="latent", how="left", maintain_order="left")
    else:
        specific = specific.with_columns(neutral_rate=pl.lit(None, pl.Float64))
    found = contexts(place.task, shards, place.tokens, place.pooled(decision), largest_EL, latents, number, place.width)
    specific = specific.join(fires_on(found), on="latent", how="left", maintain_order="left")
    return {
        "contexts": found,
        "specificity": specific.with_columns(unspecific=pl.col("neutral_rate") > OFTEN),
        "histograms": histograms(place.task, shards, latents, range_2L),
    }


def explain_decisions(place: Place) -> tuple[pl.DataFrame, Iterator[pl.DataFrame]]:
    """The decision on every test example as a sum; and, shard by shard, the latents that add most to it."""
    decision = place.decision()
    decided, listed = explain(place.task, decision, place.pooled(decision), place.width)
    return decided, marked(listed, place.latents(decision), place.tokens)


def suffice(place: Place, hidden: list[str], seeds: list[str], *, repeats: int, k: int, draws: int) -> Frames:
    """Curves of sufficiency and necessity in the features, what their claims rest on, and how stable the top k are.

    hidden: scores of the cells of hidden states there. seeds: pooled latents of the other draws of the SAE.
    """
    tasks = [place.task_of(repeat) for repeat in range(repeats)]
    decisions = [place.decision(repeat) for repeat in range(repeats)]
    scores = {hive.keys(file)["pooling"]: pl.read_parquet(file) for file in hidden}

    def bases() -> Iterator[tuple[Basis, Basis | None]]:
        for repeat, (task, one) in enumerate(zip(tasks, decisions, strict=True)):
            latents = basis_of_latents(task, one, read_features(place.pooled(one), place.width))
            fits = {pooling: frame.filter(repeat=repeat).row(0, named=True) for pooling, frame in scores.items()}
            best = max(fits, key=lambda pooling: fits[pooling]["cv_macro_f1"]) if fits else None
            yield latents, best and basis_of_directions(task, place.hidden(best), fits[best]["C"])

    curves, claims = sufficiency(bases(), k=k, draws=draws)
    files = [str(place.pooled(decisions[0])), *hive.at(seeds, pooling=decisions[0].cell["pooling"])]
    own, *others = (_all_latents(tasks[0], decisions[0], file, place.width) for file in files)
    return {"sufficiency": curves, "suffices": claims, "stability": stability(own, tasks, others, k)}


def _all_latents(task: Task, decision: Decision, features: str, width: int) -> Basis:
    """The same cell on all latents that fire, of this draw of the SAE or another: none selected by any label."""
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
    shown: pl.DataFrame, examples: list[str], shards: list[str], keys: dict[str, str], settings: dict
) -> pl.DataFrame:
    """Do the latents shown of a source fire for their class in its targets? A row per target; see `fires_abroad`.

    keys: layer and width. shards: folders of activations of all targets.
    """
    pooling = shown["pooling"].first()
    latents = shown["latent"].unique(maintain_order=True).to_list()
    rows = []
    for file in examples:
        data = hive.keys(file)["data"]
        task = Task(read_examples(file), **settings)
        files = token_files(hive.at(shards, data=data), pooling, keys)
        largest_EL, _ = peaks(files, latents, len(task.examples))
        rows.append(fires_abroad(task, shown, largest_EL, latents).with_columns(target=pl.lit(data)))
    return pl.concat(rows)
