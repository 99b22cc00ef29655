"""The figures, in one style: one column wide, colour-blind safe, every axis named."""

import matplotlib as mpl

mpl.use("Agg")
