"""What `tessera.open` opens."""

from tessera.notebook.cell import OpenCell
from tessera.notebook.folder import Results


class OpenStudy(Results):
    """A finished study: its tables by their names, its cells, its figures.

    study = tessera.open("results")
    study.claims                                    # a table of the catalogue, as a polars frame
    study.cell("smollm2/7/512/sst2/max/none/none")  # a cell
    study.figure("baselines")                       # a figure of the report, from matplotlib
    """

    def cell(self, name: str) -> OpenCell:
        """The cell of a short name; how it is spelled, and errors, as of `place`."""
        return OpenCell(self, self.place(name))
