"""Runs the figures of a benchmark and writes what they found."""

import argparse
import time
import traceback
from pathlib import Path

from . import report


def _arguments(about, figures, result):
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=list(figures), help="this figure; may be repeated")
    parser.add_argument("--quick", action="store_true", help="a fiftieth of the size: to try the benchmark out")
    parser.add_argument("--json", type=Path, default=result, metavar="FILE", help="default: %(default)s")
    return parser.parse_args()


def main(about, figures, result):
    """The exit status."""
    options = _arguments(about, figures, result)
    rows, broken = [], []
    for name in options.only or figures:
        print(f"== {figures[name].__doc__}", flush=True)
        began = time.monotonic()
        try:
            found = figures[name](0.02 if options.quick else 1)
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
