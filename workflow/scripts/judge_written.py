"""Let a judge behind an endpoint score what a steered model wrote; what it answered once is not asked again."""

from pathlib import Path

import polars as pl
from tessera.base.files import write_parquet
from tessera.base.script import script
from tessera.steering.judging import judge

with script(snakemake) as log:
    written = pl.read_parquet(Path(snakemake.input.steered) / "written.parquet")
    out = Path(snakemake.output[0])
    scores, answers = judge(written["text"].to_list(), snakemake.params.judge, out.parents[2] / "answers.jsonl")
    without = sum(score is None for score in scores)
    if without:
        log.warning(
            "%d of %d texts have no score: they are empty, or the answer has no number in the scale",
            without,
            len(scores),
        )
    judged = written.select("prompt", "variant", "sample").with_columns(
        score=pl.Series(scores, dtype=pl.Float64), answer=pl.Series(answers, dtype=pl.String)
    )
    write_parquet(out, judged)
