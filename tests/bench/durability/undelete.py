"""How long it takes until a deleted folder is back on the primary, each mail durable."""

import json
import time

from lab import Lab, mail
from lab.wait import wait_until
from repl import report

MAILS = 10000
USER = "example.org/user0"


def names(folder):
    return {file.name for file in (folder / "cur").glob("*")} if folder.is_dir() else set()


def _undelete(mails):
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


def undelete(scale):
    """Undelete: one folder of 10,000 mails, removed on the primary."""
    mails = max(200, int(MAILS * scale))
    note = "mailtwin retained restore on the standby, until each mail is durable on the primary"
    return [report.figure(f"undelete of one folder of {mails} mails", "s", _undelete(mails), {}, "<= 5 s", note, at_most=5)]


FIGURES = {"undelete": undelete}
