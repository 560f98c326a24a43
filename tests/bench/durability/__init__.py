"""The figures of durable mode: each a function that measures it and returns its rows."""

from . import directory, gate, promotion, undelete

FIGURES = {**gate.FIGURES, **directory.FIGURES, **promotion.FIGURES, **undelete.FIGURES}
