"""Where stores may lie, and where not; and comparing what lies there."""

import os
import subprocess

import pytest
from lab import mail
from lab.chaos import MaildirWriter
from lab.config import default_stores
from lab.host import STORE
from lab.load import BOB, Mix


@pytest.mark.parametrize("fs", ["xfs", pytest.param("btrfs", marks=pytest.mark.long)])
def test_other_filesystems(make_lab, fs):
    lab = make_lab(fs=fs)
    primary = lab.start()
    with Mix(primary, seed=71) as mix:
        mix.wait_steps(60)
        lab["mx2"].daemon.kill9()
        lab["mx2"].daemon.ensure()
        mix.wait_steps(20)
    lab.level(primary)
    lab.same(primary)


def test_stores_on_the_root_filesystem_among_unrelated_traffic(make_lab):
    """Both stores lie on one filesystem with everything else: each daemon sees the other's work too."""
    lab = make_lab(place="/run/lab/store")
    primary = lab.start()
    noise = MaildirWriter(lab.directory / "noise", seed=72)
    with Mix(primary, seed=73) as mix:
        for _ in range(3):
            for _ in range(100):
                noise.step()
            mix.wait_steps(20)
    lab.level(primary)
    lab.same(primary)
    assert mail.missing(mix.kept(), lab["mx2"].path(lab["mx2"].mail)) == []


def test_a_filesystem_that_cannot_be_watched_is_refused(make_lab):
    lab = make_lab(["mx1"])
    lab.boot()
    host = lab["mx1"]
    lab.pki()
    host.run("sh", "-ec", "mkdir -p /srv/l /srv/u/u /srv/u/w /srv/ovl; mount -t tmpfs u /srv/u; mkdir /srv/u/u /srv/u/w;"
             "mount -t overlay o -o lowerdir=/srv/l,upperdir=/srv/u/u,workdir=/srv/u/w /srv/ovl; mkdir /srv/ovl/vmail")
    lab.configure(host, lab.text.replace(host.mail, "/srv/ovl/vmail"))
    host.daemon.spawn()
    assert host.daemon.process.wait(30) == 2, host.daemon.log()
    assert "/srv/ovl/vmail" in host.daemon.log() and "overlay" in host.daemon.log(), host.daemon.log()


def test_a_store_that_is_not_mounted_is_not_an_empty_store(pair):
    primary, standby = pair["mx1"], pair["mx2"]
    with pair.lmtp("mx1") as lmtp:
        history = [lmtp.deliver(BOB) for _ in range(10)]
    primary.dovecot.stop()
    pair.level(primary)
    primary.daemon.stop()
    primary.run("sh", "-ec", f"mount -t tmpfs t /srv/store; mkdir {primary.mail} {primary.files}")
    primary.daemon.spawn()
    assert primary.daemon.process.wait(30) != 0, "it took an empty folder for the store"
    assert mail.missing(history, standby.path(standby.mail)) == []
    primary.run("umount", "/srv/store")
    primary.daemon.start()
    pair.level(primary)
    pair.same(primary)


# --- verify ---

def first_mail(host):
    root = host.path(host.mail)
    return sorted(path for path in root.rglob("*") if path.parent.name in ("new", "cur"))[0]


def rot(path):
    """Other bytes, all else the same: what only a comparison of contents sees."""
    facts = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


PLANTED = {
    "bytes": rot,
    "a mail less": lambda path: path.unlink(),
    "a mail more": lambda path: (path.parent / "1.extra").write_text("nobody sent this"),
    "mode": lambda path: path.chmod(0o777),
    "owner": lambda path: os.chown(path, 1, 1),
    "an attribute": lambda path: os.setxattr(path, "user.planted", b"x"),
    "a folder less": lambda path: subprocess.run(["rm", "-r", path.parent.parent], check=True),
}


@pytest.fixture
def with_mail(pair):
    with pair.lmtp("mx1") as lmtp:
        for _ in range(5):
            lmtp.deliver(BOB)
    pair.level(pair["mx1"])
    return pair


def test_verify_finds_planted_differences_and_repair_mends_them(with_mail):
    lab = with_mail
    primary, standby = lab["mx1"], lab["mx2"]
    lab.same(primary)
    for name, plant in PLANTED.items():
        plant(first_mail(standby))
        done = primary.mailtwin("verify", "--content", check=False, within=60)
        assert done.returncode not in (0, 2), f"verify does not see {name}: {done}"
        primary.mailtwin("verify", "--content", "--repair", "--yes", check=False, within=60)
        lab.level(primary)
        lab.same(primary)
    assert len(mail.idents(primary.path(primary.mail))) == 5


@pytest.mark.long
def test_each_store_is_compared_by_schedule_all_contents_in_parts(make_lab):
    """Half of the directories each time. The date of the last proof decides, also behind a restart; a byte that
    rotted on the standby is told."""
    stores = {name: {**keys, "verify-every": "2s", "verify-contents": "4s"}
              for name, keys in default_stores(STORE).items()}
    lab = make_lab(stores=stores)
    primary, standby = lab.start(), lab["mx2"]

    def last(what):
        return [(store["last_verify"] or {}).get(what) for store in primary.daemon.status()["stores"]]

    with lab.lmtp("mx1") as lmtp:
        for _ in range(5):
            lmtp.deliver(BOB)
    lab.wait_until(lambda: all(last("at")), 60, "both stores are compared")
    before = last("at")
    primary.daemon.restart()
    lab.level(primary)
    lab.wait_until(lambda: all(new > old for new, old in zip(last("at"), before)), 60, "and again")
    lab.wait_until(lambda: all(last("contents_since")), 60, "all contents are compared")
    assert not primary.daemon.events("VERIFY_DIFFERS")
    rot(first_mail(standby))
    lab.wait_until(lambda: primary.daemon.events("VERIFY_DIFFERS"), 60, "the rotten mail is told")
    assert "another content" in primary.daemon.events("VERIFY_DIFFERS")[0]
    primary.mailtwin("verify", "--content", "--repair", "--yes", check=False, within=60)
    lab.level(primary)
    lab.same(primary)


def test_mail_does_not_wait_for_a_comparison_of_contents(make_lab):
    """At this rate reading the one file takes more than a minute."""
    lab = make_lab(settings={"verify-rate": "64K"})
    primary = lab.start()
    primary.path(primary.mail).joinpath("large").write_bytes(os.urandom(6 << 20))
    lab.level(primary)
    with lab.lmtp("mx1") as lmtp:
        comparison = primary.spawn(f"{lab.build_inside}/mailtwin", "verify", "--content", log="verify.log",
                                   env=lab.environment(primary))
        lab.wait_until(lambda: any(store["verify"] for store in primary.daemon.status()["stores"]), 20, "it compares")
        for _ in range(20):
            lmtp.deliver(BOB)
            primary.mailtwin("barrier", within=10)
        assert comparison.running()
    lab["mx2"].daemon.stop()
    assert comparison.wait(20) == 1
