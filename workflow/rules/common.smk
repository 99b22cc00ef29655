"""What is Snakemake's own: the study that the config makes, wildcards, questions to the plan."""

import inspect
import os
from pathlib import Path

from snakemake.logging import logger
from tessera import VERSIONS
from tessera.base import progress
from tessera.base.digests import config_sha256
from tessera.base.errors import TesseraError
from tessera.base.files import check_writable
from tessera.features.pooling import check_poolings
from tessera.features.registry import kind
from tessera.plan import (
    cells,
    data,
    evidence,
    interventions,
    matches,
    models,
    named,
    regimes,
    results,
    saes,
    transfers,
    trees,
)
from tessera.probes.registry import probe_kind
from tessera.study import paths
from tessera.study.config import load
from tessera.study.grid import AXES
from tessera.study.saes import SIDES

if not (config if IMPORTED else workflow.overwrite_configfiles):

    configfile: ROOT / "config" / "config.yaml" if BESIDE.exists() else workflow.source_path("../../config/config.yaml")


ASKED = {key: str(config.get(key) or "") for key in ("cell", "left", "right")}  # by a target; no part of a study
config = {key: part for key, part in config.items() if key not in ASKED}  # a copy: an importer's stays as it is
moved = workflow.modifier.path_modifier.replace_prefix  # where an importer's prefix puts a file of results
PREFIXED = moved("file") != "file"

try:
    STUDY = load(config)
    check_poolings(STUDY)
    if workflow.is_main_process:
        data.count(STUDY)  # reads and checks every row
        if STUDY.transfers:
            from tessera.transfer.scenario import check_scenarios  # imports scikit-learn

            check_scenarios(STUDY)
        if STUDY.regimes:
            regimes.check(STUDY)
    else:
        data.read_sizes(STUDY, map(moved, data.examples(STUDY)))
except TesseraError as error:
    refuse(error)

if not IMPORTED:
    os.environ.setdefault("TQDM_DISABLE", "1")  # no progress bars of libraries among the lines below
    SHOWN = workflow.output_settings
    if workflow.is_main_process and not (SHOWN.dryrun or SHOWN.quiet or SHOWN.verbose):
        progress.attach(logger)

    onstart:  # of a run, not of a dry run
        try:
            check_writable(Path("results"))
        except TesseraError as error:
            refuse(error)


PROBE = STUDY.settings


wildcard_constraints:
    **{axis: about.pattern for axis, about in AXES.items()},


def of(ask, **fixed):
    """An input or parameter of a rule: what the plan answers, given the wildcards that `ask` names, and `fixed`."""
    names = inspect.signature(ask).parameters
    takes_all = any(one.kind is one.VAR_KEYWORD for one in names.values())

    def answer(wildcards):
        found = {axis: value for axis, value in wildcards.items() if takes_all or axis in names}
        return ask(STUDY, **fixed, **found)

    return answer


def given(ask):
    """An input that the config names: relative to the working directory, whatever an importer's prefix is."""
    answer = of(ask)

    def absolute(wildcards):
        return [os.path.abspath(file) if PREFIXED else file for file in answer(wildcards)]

    return absolute


def named_by(ask, *keys):
    """The files of a target for the cells that its keys name; names that are wrong end in one line."""

    def answer(wildcards):
        try:
            return ask(STUDY, **{key: ASKED[key] for key in keys})
        except TesseraError as error:
            refuse(error)

    return answer


def grows(amount):
    """Memory (MB) or runtime (minutes) of a rule: as much again with every attempt that a profile's retries allow."""

    def resource(wildcards, attempt):
        return amount * attempt

    return resource
