"""What every script shares: a log file, and errors that end a job in one line."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tessera.errors import TesseraError


@contextmanager
def job(snakemake) -> Iterator[logging.Logger]:
    """Log to the rule's log file (warnings to the terminal too); a TesseraError ends the job in one line."""
    file = logging.FileHandler(str(snakemake.log[0]), mode="w")
    terminal = logging.StreamHandler()
    terminal.setLevel(logging.WARNING)
    terminal.setFormatter(logging.Formatter(f"{snakemake.rule}: %(message)s"))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", handlers=[file, terminal], force=True)
    logger = logging.getLogger("tessera")
    logging.captureWarnings(True)
    try:
        yield logger
    except TesseraError as error:
        logger.error("error: %s", error)
        sys.exit(1)
    except Exception:
        logger.exception("the job failed")
        sys.exit(1)
