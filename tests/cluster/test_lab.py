"""The lab itself: what the other scenarios rely on is shown to work, and to fail."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path

import pytest

from lab import LabTimeout, compare, disk, mail, netns, proc, wait_until
from lab.chaos import FilesChaos, MaildirWriter
from lab.host import STATE, STORE
from lab.imap import ImapLoad, pop3_uidls
from lab.lmtp import LmtpLoad
from lab.load import ANN, BOB, Mix



@pytest.fixture
def booted(make_lab):
    lab = make_lab(["mx1", "mx2"])
    lab.boot()
    return lab


def packet_arrives(source, target):
    """Sends datagrams from host to host."""
    with netns.inside(target.space.pid):
        there = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with netns.inside(source.space.pid):
        here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with there, here:
        there.bind((target.address, 9000))
        there.settimeout(0.3)
        here.sendto(b"hello", (target.address, 9000))
        try:
            return there.recv(10) == b"hello"
        except TimeoutError:
            return False


def test_hosts_see_themselves_and_each_other_only(booted):
    one = booted["mx1"]
    assert one.run("hostname").stdout.strip() == "mx1"
    assert packet_arrives(one, booted["mx2"])
    links = one.run("ip", "-o", "link").stdout
    assert len(links.splitlines()) == 2, links
    processes = one.run("ps", "-e", "-o", "args=").stdout.splitlines()
    assert len(processes) == 2, processes  # process 1 and ps


def test_a_cut_is_silent_and_heals(booted):
    one, other = booted["mx1"], booted["mx2"]
    booted.network.cut(one, other)
    assert not packet_arrives(one, other) and not packet_arrives(other, one)
    booted.network.heal(one, other)
    assert packet_arrives(one, other) and packet_arrives(other, one)


def test_a_one_way_cut_lets_the_other_way_through(booted):
    one, other = booted["mx1"], booted["mx2"]
    booted.network.cut_one_way(other, one)
    assert packet_arrives(one, other) and not packet_arrives(other, one)


def test_a_power_cut_loses_what_was_not_synced_and_nothing_else(booted):
    one = booted["mx1"]
    before = one.run("cat", "/proc/sys/kernel/random/boot_id").stdout
    kept, lost = one.path(f"{STORE}/kept"), one.path(f"{STORE}/lost")
    kept.write_text("kept")
    one.sync()
    lost.write_text("lost")
    one.power_cut()
    assert one.path(f"{STORE}/kept").read_text() == "kept"
    assert not one.path(f"{STORE}/lost").exists()
    assert one.run("cat", "/proc/sys/kernel/random/boot_id").stdout != before


def test_a_reboot_keeps_all_and_leaves_nothing_running(booted):
    one = booted["mx1"]
    one.spawn("sleep", "600", log="sleep.out").pid  # noqa: B018 waits for the start
    one.path(f"{STORE}/kept").write_text("kept")
    one.reboot()
    assert one.path(f"{STORE}/kept").read_text() == "kept"
    assert one.space.processes() == []
    assert packet_arrives(one, booted["mx2"])


def test_a_disk_can_be_filled_freed_and_made_read_only(booted):
    one = booted["mx1"]
    for place in (STORE, STATE):
        one.fill_disk(place)
        with pytest.raises(OSError, match="No space left"):
            one.path(f"{place}/more").write_bytes(bytes(100000))
        one.free_disk(place)
        one.path(f"{place}/more").write_bytes(bytes(100000))
    one.remount(STORE, "ro")
    with pytest.raises(OSError, match="Read-only"):
        one.path(f"{STORE}/more").unlink()
    one.remount(STORE, "rw")
    one.path(f"{STORE}/more").unlink()


@pytest.mark.parametrize("fs", ["xfs", "btrfs"])
def test_other_filesystems_boot(make_lab, fs):
    lab = make_lab(["mx1"], fs=fs)
    lab.boot()
    kind = lab["mx1"].run("findmnt", "-no", "FSTYPE", STORE).stdout.strip()
    assert kind == fs


def loop_in_use(device):
    return Path(f"/sys/dev/block/{device}/loop").exists()


def test_nothing_is_left_behind(make_lab):
    lab = make_lab(["mx1"])
    lab.boot()
    space, devices = lab["mx1"].space, [lab["mx1"].device(place) for place in (STORE, STATE)]
    assert all(loop_in_use(device) for device in devices)
    lab.close()
    wait_until(lambda: not any(loop_in_use(device) for device in devices), 10, "a loop device is left")
    assert not lab.directory.exists() and not Path(f"/proc/{space.pid}").exists()


def test_a_killed_harness_leaves_no_process_mount_or_loop_device(tmp_path):
    script = ("import sys; sys.path.insert(0, %r)\nfrom lab import Lab\nlab = Lab(['mx1']); lab.boot()\n"
              "print(lab.directory, lab['mx1'].space.pid, lab['mx1'].device('/srv/store'), flush=True)\nsys.stdin.read()\n") % str(Path(__file__).parent)
    harness = subprocess.Popen(["/usr/bin/python3", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               env={**os.environ, "MAILTWIN_LAB_DIR": str(tmp_path)}, text=True)
    folder, pid, device = harness.stdout.readline().split()
    assert loop_in_use(device)
    harness.kill()
    harness.wait()
    wait_until(lambda: not loop_in_use(device) and not Path(f"/proc/{pid}").exists(), 20,
               "the killed harness left something")
    shutil.rmtree(folder)


def test_dovecot_takes_and_shows_mail(booted):
    one = booted["mx1"]
    one.dovecot.start()
    with LmtpLoad(one, [ANN, BOB]) as load:
        wait_until(lambda: len(load.history) >= 50, 20, "fifty deliveries")
    assert load.errors == 0
    assert mail.missing(load.history, one.path(one.mail)) == []
    with booted.imap("mx1", ANN) as client:
        validity, mails = client.identity()
        assert validity > 0 and {ident for ident, _ in mails.values()} == {d.ident for d in load.history
                                                                            if d.user == ANN}
    assert len(pop3_uidls(one, ANN)) == len(mails)
    one.dovecot.stop()
    wait_until(lambda: one.space.processes() == [], 20, "something of Dovecot is left")


def test_the_history_is_checked_for_real(booted):
    one = booted["mx1"]
    one.dovecot.start()
    with booted.lmtp("mx1") as lmtp:
        history = [lmtp.deliver(ANN) for _ in range(3)]
    victim = mail.idents(one.path(one.mail))[history[1].ident][0]
    os.unlink(victim)
    assert mail.missing(history, one.path(one.mail)) == [history[1]]


def test_imap_load_does_all_it_can(booted):
    one = booted["mx1"]
    one.dovecot.start()
    with booted.lmtp("mx1") as lmtp:
        for _ in range(20):
            lmtp.deliver(ANN)
    with ImapLoad(one, ANN, seed=3) as load:
        wait_until(lambda: load.done >= 80, 60, lambda: f"eighty acts, {load.done} done, {load.errors} errors")
    assert load.errors == 0, load.last_error


# --- compare ---

def plant(root):
    """One of each: what the comparison must see."""
    FilesChaos(root, seed=7)
    (root / "dir/sub").mkdir(parents=True)
    (root / "dir/file").write_bytes(b"content")
    (root / "dir/empty").write_bytes(b"")
    os.link(root / "dir/file", root / "dir/sub/same")
    (root / "twin1").write_bytes(b"x")
    os.link(root / "twin1", root / "twin2")
    os.symlink("target", root / "link")
    os.mkfifo(root / "fifo")
    os.setxattr(root / "dir/file", "user.lab", b"1")
    subprocess.run(["setfacl", "-m", "u:1:r--", root / "dir/empty"], check=True)
    subprocess.run(["setfacl", "-d", "-m", "u:1:r--", root / "dir/sub"], check=True)


def rewrite_same_time(path, data):
    facts = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def break_links(root):
    os.unlink(root / "twin2")
    shutil.copy2(root / "twin1", root / "twin2")


def swap_link_target(root):
    os.unlink(root / "link")
    os.symlink("elsewhere", root / "link")
    shutil.copystat(root.parent / "one/link", root / "link", follow_symlinks=False)


def become_directory(root):
    os.unlink(root / "fifo")
    os.mkdir(root / "fifo")


DIFFERENCES = {
    "a name less": lambda root: os.unlink(root / "dir/empty"),
    "a name more": lambda root: (root / "dir/more").write_bytes(b""),
    "an odd name more": lambda root: (root / "dir/\udcff\nx").write_bytes(b""),
    "bytes": lambda root: rewrite_same_time(root / "dir/file", b"Content"),
    "size": lambda root: rewrite_same_time(root / "dir/file", b"content+"),
    "mode": lambda root: os.chmod(root / "dir/file", 0o600),
    "mode of a directory": lambda root: os.chmod(root / "dir", 0o700),
    "owner": lambda root: os.chown(root / "dir/file", 1, -1),
    "group": lambda root: os.chown(root / "dir/file", -1, 1),
    "owner of a symlink": lambda root: os.chown(root / "link", 1, 1, follow_symlinks=False),
    "mtime": lambda root: os.utime(root / "dir/file", ns=(0, (root / "dir/file").stat().st_mtime_ns + 1)),
    "xattr": lambda root: os.setxattr(root / "dir/file", "user.lab", b"2"),
    "xattr more": lambda root: os.setxattr(root / "dir", "user.lab", b""),
    "ACL": lambda root: subprocess.run(["setfacl", "-m", "u:1:rw-", root / "dir/empty"], check=True),
    "default ACL": lambda root: subprocess.run(["setfacl", "-k", root / "dir/sub"], check=True),
    "symlink target": swap_link_target,
    "type": become_directory,
    "hard links broken": break_links,
}


@pytest.fixture
def copies(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    plant(one)
    subprocess.run(["cp", "-a", one, other], check=True)
    return one, other


@pytest.mark.parametrize("name", DIFFERENCES)
def test_compare_sees(copies, name):
    one, other = copies
    assert compare.differences(one, other, "files") == []
    DIFFERENCES[name](other)
    assert compare.differences(one, other, "files") != []


def test_compare_finds_a_faithful_copy_the_same_after_chaos(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    chaos = FilesChaos(one, seed=11, limit=80)
    acts = {chaos.step() for _ in range(400)}
    assert acts == {act.__name__ for act in chaos.acts}
    assert any(stat.S_ISFIFO(os.lstat(path).st_mode) for path in one.rglob("*"))
    subprocess.run(["cp", "-a", "--sparse=always", one, other], check=True)
    assert compare.differences(one, other, "files") == []
    FilesChaos(other, seed=12).append()
    assert compare.differences(one, other, "files") != []


def test_compare_leaves_out_of_a_maildir_what_is_rebuilt_and_no_more(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    for root in (one, other):
        writer = MaildirWriter(root / "ann", seed=1)
    os.unlink(writer.deliver())
    for name in ("tmp/1700000000.M1.mx1", "cur/dovecot-uidlist.lock", "dovecot.index.log", "dovecot-uidlist.lock", "maildirsize"):
        (other / "ann" / name).write_bytes(b"x")
        assert compare.differences(one, other, "maildir") == [], name
        assert compare.differences(one, other, "files") != [], name
        (other / "ann" / name).unlink()
    for name in ("cur/mail", "cur/1.M1.lock", "new/5", "tmp/sieve", ".Keys.lock", "dovecot-uidlist", "dovecot-keywords",
                 "dovecot.indexes", "subscriptions"):
        (other / "ann" / name).write_bytes(b"x")
        assert compare.differences(one, other, "maildir") != [], name
        (other / "ann" / name).unlink()


# --- waiting ---

def test_waiting_ends_with_the_condition_or_in_time(booted):
    began = time.monotonic()
    with pytest.raises(LabTimeout, match="never"):
        wait_until(lambda: False, 0.05, "never")
    assert time.monotonic() - began < 5
    with netns.inside(booted.network.switch.pid):
        pass
    assert disk.fill_name("/x") == "/x/ballast"


def test_the_mix_works_without_errors(booted):
    """What its parts do is copied faithfully by rsync, and the comparison sees it."""
    one, other = booted["mx1"], booted["mx2"]
    one.dovecot.start()
    with Mix(one, seed=2) as mix:
        mix.wait_steps(60)
    assert mix.imap.errors == mix.lmtp.errors == 0, mix.imap.last_error
    one.dovecot.stop()
    subprocess.run(["cp", "-a", "--sparse=always", f"{one.path(one.place)}/.", other.path(other.place)], check=True)
    booted.compare(one, other)
    assert mail.missing(mix.kept(), other.path(other.mail)) == []
    os.unlink(mail.idents(other.path(other.mail))[mix.kept()[0].ident][0])
    with pytest.raises(AssertionError, match="only in the first"):
        booted.compare(one, other)


def test_a_frozen_process_can_be_thawed_killed_and_lose_its_power(booted):
    one = booted["mx1"]
    for _ in range(2):
        sleeper = one.spawn("sleep", "600", log="sleep.out")
        os.kill(sleeper.pid, signal.SIGSTOP)
        wait_until(lambda s=sleeper: proc.stopped(s.pid), 10, "it stands still")
        sleeper.kill()
        assert sleeper.wait(10) == 128 + signal.SIGKILL
        os.kill(one.spawn("sleep", "600", log="sleep.out").pid, signal.SIGSTOP)
        one.power_cut()
