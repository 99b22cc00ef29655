"""From the files of a scenario to what its jobs leave: directions, erasers, values, and what is left of a label."""

from pathlib import Path

import numpy as np
import polars as pl

from tessera.base import hive
from tessera.base.errors import TesseraError
from tessera.evidence.reading import Place, about_decoder, acted_on, read_decoder
from tessera.examples.examples import read_examples
from tessera.features.hidden import read_hidden
from tessera.features.pooling import read_features
from tessera.probes.task import Task
from tessera.steering import erasure, measuring
from tessera.steering.directions import Source
from tessera.steering.measures import JUDGE, READER, SELECTIVITY, TFIDF
from tessera.steering.measuring import Reader
from tessera.study import paths

WRITTEN = {
    "draw": pl.Int64,
    "controls": pl.Boolean,
    "alpha": pl.Float64,
    "prompt": pl.String,
    "sample": pl.Int64,
    "text": pl.String,
    "ended": pl.Boolean,
    READER: pl.Float64,
    TFIDF: pl.Float64,
    JUDGE: pl.Float64,
}


def source_of(place: Place, decoder: Path, key: str, name: str, k: int) -> Source:
    """What directions toward the class `name` are made from; `key`: the scenario's in the config.

    Raises:
        TesseraError: there is no such class, or latents cannot be acted on there.
    """
    decision = acted_on(place, decoder, f"{key}.place")
    hook = about_decoder(decoder)["hook"]
    if not hook.startswith("resid"):
        raise TesseraError(
            f"config key {key}.place: the SAE reads {hook}, beside which the residual stream holds more; choose one of "
            f"the residual stream"
        )
    number = class_number(place.task, key, name)
    features_EW = read_features(place.pooled(decision), place.width)
    W_WD = read_decoder(decoder, place.width)
    return Source(place.task, decision, features_EW, place.hidden("mean"), W_WD, number, k, place.latents(decision))


def class_number(task: Task, key: str, name: str) -> int:
    """Number of the class that a scenario steers toward.

    Raises:
        TesseraError: there is no such class.
    """
    if name not in task.classes:
        raise TesseraError(f"config key {key}.class: {name!r} is no class; allowed: {', '.join(task.classes)}")
    return task.classes.index(name)


def measure(
    steered: Path,
    tasks: dict[str, Task],
    key: str,
    name: str,
    *,
    choice: str | None,
    answered: Path | None,
    shards: list[str],
    layer: int | None,
    written: list[str],
    judged: Path | None,
) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """The values of a direction (`effects.VALUES`); and what was written, with what readers say of it.

    Args:
        steered: what `interventions.steering.steer` left.
        tasks: the data set whose label is steered, first, and those of other labels.
        name: the class that is steered toward.
        choice, answered: of answers: that one, and the examples of their prompts.
        shards, layer: the reader's activations of all these data sets.
        written: its texts and states of what was written, where it reads that.
    """
    task = next(iter(tasks.values()))
    number = class_number(task, key, name)
    variants, parts, texts = pl.read_parquet(steered / "variants.parquet"), [], None
    if (steered / "harm.parquet").exists():
        parts.append(measuring.of_harm(pl.read_parquet(steered / "harm.parquet")))
    if (steered / "answers.parquet").exists():
        groups = read_examples(answered).select("id", "group")
        parts.append(measuring.of_answers(pl.read_parquet(steered / "answers.parquet"), groups, choice))
    if (steered / "hidden").exists():
        plain_ED, *others = (
            read_hidden([steered / paths.ABLATED.format(set=variant, layer=layer)], "mean")
            for variant in variants["variant"]
        )
        reader = Reader(task, plain_ED)
        test = [plain_ED[task.split_E == "test"], *others]
        said = {variant: reader.tells(states_ED) for variant, states_ED in enumerate(test)}
        parts.append(measuring.of_states(said, task.examples.filter(split="test"), number))
    if (steered / "written.parquet").exists():
        texts = pl.read_parquet(steered / "written.parquet")
        told = _told(texts, tasks, shards, written, layer, judged)
        prompts = pl.read_parquet(steered / "prompts.parquet")
        parts.append(measuring.of_written(texts, prompts, told, number))
        texts = _with_scores(texts, prompts, variants, told, number)
    return measuring.valued(variants, parts), texts


def _hidden(shards: list[str], layer: int) -> np.ndarray:
    return read_hidden([Path(shard) / paths.HIDDEN.format(layer=layer) for shard in shards], "mean")


def _told(
    texts: pl.DataFrame,
    tasks: dict[str, Task],
    shards: list[str],
    written: list[str],
    layer: int | None,
    judged: Path | None,
) -> dict[tuple[str, str | None], np.ndarray]:
    """(measure, data set of other labels) → what readers say of each text that was written; nan of an empty one."""
    (data, *others), found = tasks, {}
    words = texts["text"].str.strip_chars() != ""
    for one in tasks:
        reader = Reader(tasks[one], tasks[one].examples["text"].to_numpy(), measuring.words)
        found[one, TFIDF] = _where(words, reader.tells(texts["text"].filter(words).to_numpy()))
        if written:
            rows = pl.read_parquet(written[0]).with_row_index("row").select("text", "row")
            row = texts.select("text").join(rows, on="text", how="left", maintain_order="left")["row"]
            states_ED = _hidden(written[1:], layer)[row.drop_nulls().to_numpy()]
            reader = Reader(tasks[one], _hidden(hive.at(shards, data=one), layer))
            found[one, READER] = _where(row.is_not_null(), reader.tells(states_ED))
    told = {(measure, None): found[data, measure] for measure in (READER, TFIDF) if (data, measure) in found}
    told |= {(SELECTIVITY, one): found.get((one, READER), found[one, TFIDF]) for one in others}
    if judged is not None:
        told[JUDGE, None] = pl.read_parquet(judged)["score"].cast(pl.Float64).fill_null(np.nan).to_numpy()[:, None]
    return told


def _where(there: pl.Series, score_NS: np.ndarray) -> np.ndarray:
    """Scores at the rows that have any, nan at the others."""
    whole_NS = np.full((len(there), score_NS.shape[1]), np.nan)
    whole_NS[there.to_numpy()] = score_NS
    return whole_NS


def _with_scores(
    texts: pl.DataFrame, prompts: pl.DataFrame, variants: pl.DataFrame, told: dict, number: int
) -> pl.DataFrame:
    """What was written, by draw and α of its variant, with the prompts' ids and what each reader says of it."""
    scores = {
        measure: pl.Series(score_NS[:, 0 if score_NS.shape[1] == 1 else number]).fill_nan(None)
        for (measure, of), score_NS in told.items()
        if of is None
    }
    missing = {one: pl.lit(None, pl.Float64) for one in (READER, TFIDF, JUDGE) if one not in scores}
    rows = texts.join(variants, on="variant", maintain_order="left").with_columns(
        prompts["id"].gather(texts["prompt"]).cast(pl.String).alias("prompt"), **scores, **missing
    )
    return rows.select(WRITTEN.keys()).cast(WRITTEN)


def left(
    tasks: dict[str, Task],
    eraser: str,
    erased: Path,
    plain: Path,
    random: Path | None,
    *,
    answered: Path | None,
    choice: str | None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What is left of a label where it is erased (`erasure.SCHEMA`), and what claims of it rest on.

    erased, plain, random: what `interventions.erasing.erase` left, with this eraser, none, and random ones.
    """
    data, task = next(iter(tasks.items()))
    layers = sorted(int(file.stem.partition("=")[2]) for file in (plain / f"data={data}/hidden/set=0").iterdir())

    def states(folder: Path):
        def of(one: str, layer: int) -> list[np.ndarray]:
            draws = sorted((folder / f"data={one}/hidden").iterdir(), key=lambda draw: int(draw.name.partition("=")[2]))
            return [read_hidden([draw / f"layer={layer}.parquet"], "mean") for draw in draws]

        return of

    rows, scored = erasure.fresh(tasks, layers, states(plain), states(erased))
    if (erased / "harm.parquet").exists():
        rows += erasure.of_harm(pl.read_parquet(erased / "harm.parquet"))
    if answered is not None and (erased / "answers.parquet").exists():
        groups = read_examples(answered).select("id", "group")
        told = [pl.read_parquet(folder / "answers.parquet") for folder in (plain, erased)]
        rows += erasure.of_answers(*told, groups, choice)
    control = None
    if random is not None:
        control = erasure.fresh({data: task}, [layers[0], layers[-1]], states(plain), states(random))[1]
    counts_C = np.bincount(task.label_E[task.split_E == "test"], minlength=len(task.classes))
    rests = erasure.claims(
        eraser, data, layers, scored, control, int(counts_C.sum()), int(counts_C[counts_C > 0].min())
    )
    found = pl.DataFrame([{"eraser": eraser} | row for row in rows], schema=erasure.SCHEMA)
    return found, rests
