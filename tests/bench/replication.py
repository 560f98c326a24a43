#!/usr/bin/python3
"""Replication beside its peers, on hosts made of namespaces, in one run on one machine.

Writes build/bench/replication.json and prints a table; docs/benchmarks.md keeps the last one. Needs root.
Exit status: 0 all goals met, 4 some not, 1 it could not be measured."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[1] / "cluster"), str(HERE.parent)]

from repl import run  # noqa: E402
from repl.figures import FIGURES  # noqa: E402

if __name__ == "__main__":
    sys.exit(run.main(__doc__, FIGURES, HERE.parents[2] / "build/bench/replication.json"))
