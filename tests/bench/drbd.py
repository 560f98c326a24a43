#!/usr/bin/python3
"""Durable LMTP beside DRBD protocol C, in two virtual machines: the same Dovecot on both, in one run.

Adds its rows to build/bench/durable.json and prints a table; docs/benchmarks.md keeps the last one. Needs root and
`deploy/dependencies vm`. Exit status: 0 all goals met, or there can be no machines here, which it says; 4 some not,
1 it could not be measured."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[1] / "cluster"), str(HERE.parents[1] / "vm"), str(HERE.parent)]

from durability import drbd  # noqa: E402
from repl import run  # noqa: E402
from vms import Unavailable  # noqa: E402
from vms.image import image  # noqa: E402


def main():
    try:
        image()
    except Unavailable as reason:
        print(f"not measured beside DRBD: {reason}")
        return 0
    return run.main(__doc__, drbd.FIGURES, HERE.parents[2] / "build/bench/durable.json")


if __name__ == "__main__":
    sys.exit(main())
