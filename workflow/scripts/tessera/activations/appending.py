"""Parquet files that grow while the device computes on."""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tessera.base.files import parquet_writer

WRITER_THREADS = 4


class Appending:
    """The files of a folder. Threads write the tables of one batch while the next is computed: a row group each."""

    def __init__(self, folder: Path, stack: ExitStack, pool: Executor):
        self.folder, self.stack, self.pool = folder, stack, pool
        self.writers: dict[str, pq.ParquetWriter] = {}
        self.pending: list[Future] = []

    def add(self, file: str, table: pa.Table | Callable[[], pa.Table]) -> None:
        """Append a table, or what a thread makes it of, to a file; at most one between two calls of `wait`."""
        self.pending.append(self.pool.submit(self._write, file, table))

    def wait(self) -> None:
        """Until all of that is written; an error of a thread is raised here."""
        pending, self.pending = self.pending, []
        for future in pending:
            future.result()

    def _write(self, file: str, table: pa.Table | Callable[[], pa.Table]) -> None:
        table = table() if callable(table) else table
        if file not in self.writers:
            self.writers[file] = self.stack.enter_context(parquet_writer(self.folder / file, table.schema))
        self.writers[file].write_table(table)


@contextmanager
def appending(folder: Path) -> Iterator[Appending]:
    """Files of `folder`, which appear when the block succeeds."""
    with ExitStack() as stack, ThreadPoolExecutor(WRITER_THREADS) as pool:
        files = Appending(folder, stack, pool)
        yield files
        files.wait()
