#!/usr/bin/python3
"""How long a promotion takes after the death of the primary, on hosts made of namespaces.

Writes build/bench/promotion.json and prints a table. Needs root and some 8 GB below the scratch folder of the lab.
Exit status: 0 the goal is met, 4 it is not, 1 it could not be measured."""

import argparse
import os
import re
import statistics
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[1] / "cluster"), str(HERE.parent)]

from lab import Lab, wait_until  # noqa: E402
from lab.dovecot import VMAIL_UID  # noqa: E402
from repl import report  # noqa: E402
from repl.peers import MAIL_ONLY  # noqa: E402

RESULT = HERE.parents[2] / "build/bench/promotion.json"
FOLDERS_OF_A_USER = 10
HEADER = "3 V1763800000 N3 G{:032x}\n1 :1763800001.M1P1.mx1\n2 :1763800002.M2P1.mx1\n"


def seed(root, folders):
    """Empty folders, each with its list of UIDs; returns the paths of the lists below root."""
    lists = []
    for number in range(folders):
        user, folder = divmod(number, FOLDERS_OF_A_USER)
        path = root / "example.org" / f"user{user}" / (f".Folder{folder}" if folder else "")
        for part in ("cur", "new", "tmp"):
            (path / part).mkdir(parents=True)
            os.chown(path / part, VMAIL_UID, VMAIL_UID)
        uidlist = path / "dovecot-uidlist"
        uidlist.write_text(HEADER.format(number))
        os.chown(uidlist, VMAIL_UID, VMAIL_UID)
        os.chown(path, VMAIL_UID, VMAIL_UID)
        lists.append(uidlist.relative_to(root))
    return lists


def level_pair(lab, folders):
    """mx1 primary, mx2 its level standby, which has prepared itself."""
    lab.boot()
    old, new = lab["mx1"], lab["mx2"]
    lists = seed(old.path(old.mail), folders)
    lab.pki()
    old.daemon.start()
    old.mailtwin("promote")
    old.daemon.wait_status(lambda status: all(store["state"] == "live" for store in status["stores"]), 3600,
                           "the stores are read")
    new.daemon.start()
    lab.wait_level(old, within=3600)
    prepared = len(new.daemon.events("PREPARED"))
    new.daemon.restart()  # its first look for folders is now, not within some minutes
    lab.wait_level(old, within=3600)
    wait_until(lambda: len(new.daemon.events("PREPARED")) > prepared, 600, "mx2 prepares itself", every=1)
    return old, new, lists


def timed_promotion(node, folders, prepared):
    """Seconds of `mailtwin promote`, and those that the folders took of it."""
    began = time.monotonic()
    node.mailtwin("promote", "--force")
    took = time.monotonic() - began
    done = node.daemon.events("IDENTITY")[-1]
    assert f"raised={folders} prepared={prepared} failed=0" in done, done
    return took, float(re.search(r"seconds=([\d.]+)", done).group(1))


def promote(lab, folders):
    """The first promotion, as the kernel left the caches, and a second one right behind it, which has them warm."""
    old, new, lists = level_pair(lab, folders)
    old.halt()
    first = timed_promotion(new, folders, folders)
    for one in lists[::997]:
        assert "mailtwin.gap" in (new.path(new.mail) / one).read_text(), one
    new.mailtwin("demote", "--force")
    again, _ = timed_promotion(new, folders, 0)
    return *first, again


def promotion(scale, rounds=1):
    """(p) promotion of a store with 100,000 folders, UID gap and all."""
    folders = max(1000, int(100_000 * scale))
    took = []
    for _ in range(rounds):
        options = {"size_mb": 1024 + folders * 6 // 100, "state_mb": 2048, "stores": MAIL_ONLY}
        with Lab(["mx1", "mx2"], mkfs=("-N", str(folders * 6 + 20000)), **options) as lab:
            took.append(promote(lab, folders))
    seconds = statistics.median(one[0] for one in took)
    note = (f"from `mailtwin promote --force` to its end, {folders} folders ({folders * 4} directories) with their lists of UIDs; "
            f"{statistics.median(one[1] for one in took):.2f} s of it for the folders. Dovecot can be started then. Caches as the kernel left "
            f"them after the sync; again right behind it, all of them warm, and nothing prepared: {statistics.median(one[2] for one in took):.2f} s")
    return [report.figure("promotion of a store with 100,000 folders", "s", seconds, {}, "<= 2 s", note, at_most=2)]


FIGURES = {"promotion": promotion}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fiftieth of the size: to try the benchmark out")
    parser.add_argument("--rounds", type=int, default=1, help="the median of this many; default: %(default)s")
    parser.add_argument("--json", type=Path, default=RESULT, metavar="FILE", help="default: %(default)s")
    options = parser.parse_args()
    rows = promotion(0.02 if options.quick else 1, options.rounds)
    report.write(options.json, rows)
    print(report.table(rows))
    return 0 if all(row["met"] for row in rows) else 4


if __name__ == "__main__":
    sys.exit(main())
