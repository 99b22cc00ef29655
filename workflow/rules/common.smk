"""What is Snakemake's own: where the library is, the study that the config makes, wildcards, questions to the plan."""

import inspect
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

HERE = Path(str(workflow.current_basedir))  # of this file, also where another workflow includes it
ROOT = HERE.parents[1]
IMPORTED = workflow.modifier.parent_modifier is not None  # as a module, whose importer decides what is shown

if (HERE.parent / "scripts" / "tessera").is_dir():
    sys.path.insert(0, str(HERE.parent / "scripts"))  # else it is an installed package

from tessera import VERSIONS
from tessera.base import progress
from tessera.base.digests import config_sha256
from tessera.base.errors import TesseraError
from tessera.base.files import check_writable
from tessera.features.pooling import check_poolings
from tessera.features.registry import kind
from tessera.plan import cells, data, matches, models, results, saes, transfers
from tessera.study import paths
from tessera.study.config import load
from tessera.study.grid import AXES
from tessera.study.saes import SIDES

if not workflow.overwrite_configfiles:

    configfile: str(ROOT / "config" / "config.yaml")


def refuse(error):
    """End in one line; an importer is told in its own way."""
    if IMPORTED:
        raise WorkflowError(f"tessera: {error}")
    sys.exit(f"error: {error}")


WANTED = str(config.pop("cell", None) or "")  # of the target `cell`; no part of a study

try:
    STUDY = load(config)
    check_poolings(STUDY)
    if workflow.is_main_process:
        data.count(STUDY)  # reads and checks every row
        if STUDY.transfers:
            from tessera.transfer.scenario import check_scenarios  # imports scikit-learn

            check_scenarios(STUDY)
except TesseraError as error:
    refuse(error)

os.environ.setdefault("TQDM_DISABLE", "1")  # no progress bars of libraries among the lines below
SHOWN = workflow.output_settings
if workflow.is_main_process and not (IMPORTED or SHOWN.dryrun or SHOWN.quiet or SHOWN.verbose):
    progress.attach(logger)


onstart:  # of a run, not of a dry run
    try:
        check_writable(Path("results"))
    except TesseraError as error:
        refuse(error)


PROBE = {"seed": STUDY.seed, **STUDY.probe}


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


def grows(amount):
    """Memory (MB) or runtime (minutes) of a rule: as much again with every attempt that a profile's retries allow."""

    def resource(wildcards, attempt):
        return amount * attempt

    return resource


def folders(*axes):
    """The folders of a log or benchmark: one per axis."""
    return "".join(f"/{axis}={{{axis}}}" for axis in axes)
