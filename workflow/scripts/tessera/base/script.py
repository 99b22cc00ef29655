"""What every script shares: a log file, and errors that end a job in one line."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tessera.base.errors import TesseraError, shorten

NO_MEMORY = (
    "OutOfMemoryError",
    "can't allocate memory",
    "Cannot allocate memory",
)  # torch on a GPU and a CPU, the system


@contextmanager
def script(snakemake) -> Iterator[logging.Logger]:
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
    except Exception as error:
        logger.error("error: %s (log: %s)", explain(error, snakemake.rule), snakemake.log[0])
        logger.info("", exc_info=True)  # to the log alone
        sys.exit(1)


def explain(error: Exception, rule: str) -> str:
    """One line on an error that is no fault of the config or the data."""
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    if isinstance(error, MemoryError) or any(sign in reason for sign in NO_MEMORY):
        return (
            f"out of memory; give the rule more (--set-resources {rule}:mem_mb=…, in a profile too) or less to do "
            f"(fewer widths in a pass, max_tokens, shard_size): {shorten(reason)}"
        )
    return str(TesseraError(reason))
