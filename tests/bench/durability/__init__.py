"""The figures of durable mode: each a function that measures it and returns its rows."""

from . import directory, gate

FIGURES = {**gate.FIGURES, **directory.FIGURES}
