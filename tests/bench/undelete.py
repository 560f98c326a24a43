"""Undelete: how long it takes until a deleted folder of 10,000 mails is back on the primary, each mail durably. Prints a list
of figures as the other suites do; `--mails N` measures a smaller one."""

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "cluster"))

from lab import Lab, mail  # noqa: E402
from lab.wait import wait_until  # noqa: E402

GOAL = 5.0  # seconds for 10,000 mails
USER = "example.org/user0"


def names(folder):
    return {file.name for file in (folder / "cur").glob("*")} if folder.is_dir() else set()


def undelete(mails):
    """Seconds of `mailtwin retained restore` for one folder."""
    with Lab(["mx1", "mx2"], size_mb=1024) as lab:
        primary, standby = lab["mx1"], lab["mx2"]
        lab.boot()
        mail.seed(primary.path(primary.mail), 1, 1, mails)
        primary.run("sh", "-ec", f"cd {primary.mail}/{USER}; mkdir .Folder1; chown $(stat -c %u cur) .Folder1; "
                                 "mv cur new tmp .Folder1")
        lab.start(dovecot=False)
        lab.wait_level(primary, [standby], within=300)
        folder = primary.path(primary.mail) / USER / ".Folder1"
        before = names(folder)
        assert len(before) == mails
        primary.run("rm", "-rf", f"{primary.mail}/{USER}/.Folder1")
        wait_until(lambda: not (standby.path(standby.mail) / USER / ".Folder1").exists()
                   or standby.daemon.status()["mass_change"] is not None, 60, "the folder is gone there too")
        if standby.daemon.status()["mass_change"] is not None:
            standby.mailtwin("retained", "release", "--yes")
        lab.wait_level(primary, [standby], within=300)
        begun = time.monotonic()
        result = json.loads(standby.mailtwin("retained", "restore", "--user", USER, "--folder", "Folder1", "--yes", "--json",
                                             within=300).stdout)
        took = time.monotonic() - begun
        assert result["restored"] == mails and names(folder) == before, result
        return took


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--mails", type=int, default=10000)
    mails = parser.parse_args().mails
    took = undelete(mails)
    print(json.dumps([{"figure": f"undelete of one folder of {mails} mails", "unit": "s", "ours": round(took, 2), "peers": {},
                       "ratio": None, "goal": GOAL, "met": took <= GOAL,
                       "note": "mailtwin retained restore on the standby, until each mail is durable on the primary"}], indent=2))


if __name__ == "__main__":
    main()
