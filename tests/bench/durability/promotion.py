"""How long a promotion takes after the death of the primary. Some 8 GB below the scratch folder of the lab."""

import os
import re
import time

from lab import Lab, wait_until
from lab.dovecot import VMAIL_UID
from repl import report
from repl.peers import MAIL_ONLY

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
    return *first, again, promote_in_doubt(lab, old, new, folders)


def promote_in_doubt(lab, back, dying, folders):
    """The dead one comes back as a standby, its daemon is killed while it receives, and then its primary dies: what its
    index may lack is looked for on the disk."""
    back.boot()
    back.daemon.start()
    lab.wait_level(dying, within=3600)
    back.daemon.kill9()
    dying.halt()
    back.daemon.start()
    return timed_promotion(back, folders, 0)[0]


def promotion(scale):
    """Promotion of a store with 100,000 folders, UID gap and all."""
    folders = max(1000, int(100_000 * scale))
    options = {"size_mb": 1024 + folders * 6 // 100, "state_mb": 2048, "stores": MAIL_ONLY}
    with Lab(["mx1", "mx2"], mkfs=("-N", str(folders * 6 + 20000)), **options) as lab:
        took, of_folders, again, doubt = promote(lab, folders)
    note = (f"from `mailtwin promote --force` to its end, {folders} folders ({folders * 4} directories) with their lists of UIDs; "
            f"{of_folders:.2f} s of it for the folders. Dovecot can be started then. Caches as the kernel left them after the "
            f"sync; again right behind it, all of them warm, and nothing prepared: {again:.2f} s; of a standby whose daemon was "
            f"killed before, which looks on the disk for what its index may lack: {doubt:.2f} s")
    return [report.figure("promotion of a store with 100,000 folders", "s", took, {}, "<= 2 s", note, at_most=2)]


FIGURES = {"promotion": promotion}
