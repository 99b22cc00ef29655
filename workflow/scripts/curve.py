"""Fit the probe of one cell on shares of the training split, and draw its learning curve."""

from pathlib import Path

from tessera.base.script import script
from tessera.probes.curves import learning_curve
from tessera.report import curve_figures
from tessera.report.style import save
from tessera.results.writing import write_table

with script(snakemake) as log:
    inputs, outputs, params = snakemake.input, snakemake.output, snakemake.params
    name = params.place["features"]
    scores = learning_curve(name, inputs.examples, inputs.features, params.place, params.settings, params.repeats)
    write_table(outputs.parquet, outputs.csv, scores)
    figure = curve_figures.learning_curve(scores, snakemake.wildcards.cell.replace(",", " "))
    save(figure, Path(outputs.pdf), Path(outputs.png))
