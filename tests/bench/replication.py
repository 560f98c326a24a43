#!/usr/bin/python3
"""Replication beside its peers, on hosts made of namespaces, in one run on one machine.

Writes build/bench/replication.json and prints a table; docs/benchmarks.md keeps the last one. Needs root.
Exit status: 0 all goals met, 4 some not, 1 it could not be measured."""

import argparse
import sys
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[1] / "cluster"), str(HERE.parent)]

from repl import report  # noqa: E402
from repl.figures import FIGURES  # noqa: E402

RESULT = HERE.parents[2] / "build/bench/replication.json"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=list(FIGURES), help="this figure; may be repeated")
    parser.add_argument("--quick", action="store_true", help="a fiftieth of the size: to try the benchmark out")
    parser.add_argument("--json", type=Path, default=RESULT, metavar="FILE", help="default: %(default)s")
    return parser.parse_args()


def main():
    options = arguments()
    rows, broken = [], []
    for name in options.only or FIGURES:
        print(f"== {FIGURES[name].__doc__}", flush=True)
        began = time.monotonic()
        try:
            found = FIGURES[name](0.02 if options.quick else 1)
        except Exception:  # one figure that cannot be measured does not take the others with it
            traceback.print_exc()
            broken.append(name)
            continue
        print(report.table(found), f"   {time.monotonic() - began:.0f} s", sep="\n", flush=True)
        rows += found
    report.write(options.json, rows)
    print(report.table(rows))
    print(f"{sum(row['met'] for row in rows)} of {len(rows)} goals met"
          + (f", not measured: {', '.join(broken)}" if broken else ""))
    if broken:
        return 1
    return 0 if all(row["met"] for row in rows) else 4


if __name__ == "__main__":
    sys.exit(main())
