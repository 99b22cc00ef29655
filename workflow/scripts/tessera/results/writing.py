"""The one writer of tables: what it writes stands in the catalogue, and carries its origin."""

from collections.abc import Iterable, Iterator

import polars as pl

from tessera.base.files import atomic, write_parquet, write_parts
from tessera.results.catalogue import TABLES
from tessera.results.provenance import Facts


def write_table(parquet: str, csv: str | None, table: pl.DataFrame, facts: Facts | None = None) -> None:
    """Write a table as parquet that carries `facts`, and as csv."""
    write_parquet(parquet, table, facts)
    if csv is not None:
        with atomic(csv) as part:
            table.write_csv(part, float_precision=6)


class Writer:
    """Writes tables to `outputs` (name → file): parquet that carries `facts`, and csv where the catalogue has one."""

    def __init__(self, outputs: dict[str, str], facts: Facts):
        self.outputs, self.facts = outputs, facts

    def write(self, **tables: pl.DataFrame) -> None:
        """Write each table.

        Raises:
            TesseraError: one has other columns than the catalogue says.
        """
        for name, table in tables.items():
            TABLES[name].check(table.columns)
            write_table(
                self.outputs[name], self.outputs[f"{name}_csv"] if TABLES[name].csv else None, table, self.facts
            )

    def write_parts(self, name: str, parts: Iterable[pl.DataFrame]) -> None:
        """Write a table that comes in parts, as parquet alone; errors as of `write`, but for a part without a row."""

        def checked() -> Iterator[pl.DataFrame]:
            for part in parts:
                if len(part):
                    TABLES[name].check(part.columns)
                yield part

        write_parts(self.outputs[name], checked(), self.facts)
