"""Faults under load: whatever breaks, the stores end level and the same, and mail goes on."""

import contextlib
import os
import random
import socket
import ssl
import subprocess
from pathlib import Path

import pytest
from lab import config, mail, netns
from lab.config import PORT
from lab.host import STATE, STORE
from lab.load import ANN, Mix

FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"


def check(lab, primary, mix=None):
    """What must hold after every scenario."""
    lab.level(primary)
    lab.same(primary)
    if mix is not None:
        assert mix.lmtp.errors == 0, "mail was refused"
        for host in lab.standbys(primary):
            assert mail.missing(mix.kept(), host.path(host.mail)) == []


def kill_again_and_again(lab, times, seed):
    dice = random.Random(seed)
    with Mix(lab["mx1"], seed) as mix:
        for _ in range(times):
            mix.wait_steps(dice.randint(1, 25))
            daemon = lab[dice.choice(["mx1", "mx2"])].daemon
            daemon.kill9(dice.choice(["store", "network", "both"]))
            daemon.ensure()
    check(lab, lab["mx1"], mix)


def test_kill_9_of_either_daemon_at_random_moments(pair):
    kill_again_and_again(pair, 20, seed=41)


@pytest.mark.long
@pytest.mark.parametrize("seed", [42, 43, 44])
def test_kill_9_a_hundred_times(pair, seed):
    kill_again_and_again(pair, 100, seed)


@pytest.mark.parametrize("times", [1, pytest.param(5, marks=pytest.mark.long)])
def test_the_link_is_cut_and_heals(pair, times):
    primary, standby = pair["mx1"], pair["mx2"]
    with Mix(primary, seed=51) as mix:
        for _ in range(times):
            pair.network.cut(primary, standby)
            primary.daemon.wait_status(lambda status: primary.daemon.peer("mx2", status).get("state") != "connected",
                                       60, "the loss of the peer is noticed")
            mix.wait_steps(30)
            pair.network.heal(primary, standby)
            primary.daemon.wait_peer("mx2", "connected")
    check(pair, primary, mix)


@pytest.mark.parametrize("deaf", [pytest.param("mx1", marks=pytest.mark.long), "mx2"])
def test_the_link_is_cut_in_one_direction(pair, deaf):
    primary = pair["mx1"]
    other = pair["mx2" if deaf == "mx1" else "mx1"]
    with Mix(primary, seed=52) as mix:
        pair.network.cut_one_way(other, pair[deaf])
        primary.daemon.wait_status(lambda status: primary.daemon.peer("mx2", status).get("state") != "connected",
                                   60, "the loss of the peer is noticed")
        mix.wait_steps(20)
        pair.network.heal_one_way(other, pair[deaf])
        primary.daemon.wait_peer("mx2", "connected")
    check(pair, primary, mix)


@pytest.mark.parametrize("role", ["store", "network"])
@pytest.mark.parametrize("name", ["mx1", "mx2"])
def test_a_daemon_is_frozen_and_thawed(pair, name, role):
    with Mix(pair["mx1"], seed=53) as mix:
        pair[name].daemon.freeze(role)
        mix.wait_steps(40)
        pair[name].daemon.thaw(role)
        mix.wait_steps(10)
    check(pair, pair["mx1"], mix)


def test_a_standby_that_confirms_late_is_told(make_lab):
    lab = make_lab(settings={"ack-late": "500ms"})
    primary = lab.start()
    assert not primary.daemon.events("ACK_LATE")
    lab["mx2"].daemon.freeze("store")
    (primary.path(primary.mail) / "late").write_text("x")
    lab.wait_until(lambda: primary.daemon.events("ACK_LATE"), 30, "the event tells of it")
    lab["mx2"].daemon.thaw("store")
    lab.level(primary)
    lab.same(primary)


def test_a_full_disk_below_the_standbys_store(pair):
    primary, standby = pair["mx1"], pair["mx2"]
    with Mix(primary, seed=54) as mix:
        standby.fill_disk(STORE)
        mix.wait_steps(40)
        standby.daemon.wait_status(lambda _: bool(standby.daemon.events("APPLY_STALLED")), 60, "APPLY_STALLED")
        standby.daemon.wait_status(lambda status: status["stores"][0]["state"] == "paused", 60, "the status says so")
        standby.free_disk(STORE)
        mix.wait_steps(10)
    check(pair, primary, mix)
    assert standby.daemon.events("APPLY_RESUMED")
    assert {store["state"] for store in standby.daemon.status()["stores"]} == {"live"}


@pytest.mark.parametrize("name", ["mx1", "mx2"])
def test_a_full_disk_below_state_dir(pair, name):
    primary, hurt = pair["mx1"], pair[name]
    event = {"mx1": "JOURNAL", "mx2": "APPLY"}[name]
    with Mix(primary, seed=55) as mix:
        hurt.fill_disk(STATE)
        mix.wait_steps(40)
        hurt.daemon.wait_status(lambda _: bool(hurt.daemon.events(f"{event}_STALLED")), 60, f"{event}_STALLED")
        hurt.free_disk(STATE)
        mix.wait_steps(10)
    check(pair, primary, mix)
    assert hurt.daemon.events(f"{event}_RESUMED")


@pytest.mark.long
@pytest.mark.parametrize("name", ["mx1", "mx2"])
def test_a_full_disk_below_state_dir_that_copies_on_writing(make_lab, name):
    """There the last word of a commit can be refused: the daemon ends, to be started again."""
    lab = make_lab(fs="btrfs")
    primary, hurt = lab.start(), lab[name]

    def goes_on():
        hurt.daemon.ensure()
        return primary.mailtwin("barrier", "--timeout", "2s", check=False).returncode == 0

    with Mix(primary, seed=65) as mix:
        hurt.fill_disk(STATE)
        mix.wait_steps(40)
        hurt.free_disk(STATE)
        lab.wait_until(goes_on, 120, "it goes on")
        mix.wait_steps(10)
    check(lab, primary, mix)


def test_a_standbys_store_that_becomes_read_only(pair):
    primary, standby = pair["mx1"], pair["mx2"]
    with Mix(primary, seed=56) as mix:
        standby.run("sync", "-f", STORE)
        pair.wait_until(lambda: standby.run("mount", "-o", "remount,ro", STORE, check=False).returncode == 0, 30,
                        "no file is open for writing")
        mix.wait_steps(20)
        standby.remount(STORE, "rw")
        standby.daemon.ensure()
        mix.wait_steps(10)
    check(pair, primary, mix)


def test_a_certificate_of_another_authority_is_refused(pair):
    primary, standby = pair["mx1"], pair["mx2"]
    good = standby.directory / "pki"
    standby.daemon.stop()
    os.rename(good, standby.directory / "pki.good")
    config.certificates([standby])
    standby.daemon.start()
    with Mix(primary, seed=57) as mix:
        mix.wait_steps(20)
        primary.daemon.wait_status(lambda _: bool(primary.daemon.events("TLS_FAILED")), 60, "TLS_FAILED")
        assert primary.daemon.peer("mx2").get("state") != "connected"
        standby.daemon.stop()
        subprocess.run(["rm", "-r", good], check=True)
        os.rename(standby.directory / "pki.good", good)
        standby.daemon.start()
        primary.daemon.wait_peer("mx2", "connected")
    check(pair, primary, mix)


def test_another_nodes_certificate_does_not_make_a_node(pair):
    """mx1's papers in mx2's hands: the name in the certificate is what counts."""
    primary, standby = pair["mx1"], pair["mx2"]
    standby.daemon.stop()
    for file in ("node.pem", "node.key"):
        os.rename(standby.directory / "pki" / file, standby.directory / "pki" / f"good.{file}")
        subprocess.run(["cp", primary.directory / "pki" / file, standby.directory / "pki" / file], check=True)
    standby.daemon.spawn()
    with Mix(primary, seed=58) as mix:
        mix.wait_steps(20)
    assert primary.daemon.peer("mx2").get("state") != "connected"
    standby.daemon.kill9()
    for file in ("node.pem", "node.key"):
        os.rename(standby.directory / "pki" / f"good.{file}", standby.directory / "pki" / file)
    standby.daemon.start()
    check(pair, primary, mix)


# --- what strangers, and members gone bad, may send ---

def hello_tls(host):
    """A stranger's TLS: no certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with contextlib.suppress(OSError):
        with context.wrap_socket(host.connect(PORT)) as sock:
            sock.sendall(b"\0" * 1000)
            sock.recv(100)


def throw(host, data):
    """Bytes, and whatever comes back."""
    with contextlib.suppress(OSError), host.connect(PORT, timeout=5) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(1000):
            pass


def throw_as_member(lab, source, target, data):
    """A member's papers, then bytes where frames should be."""
    pki = source.directory / "pki"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(pki / "node.pem", pki / "node.key")
    with contextlib.suppress(OSError):
        raw = netns.connect(source.space.pid, (target.address, PORT), 10)
        with context.wrap_socket(raw) as sock:
            sock.sendall(data)
            sock.settimeout(0.5)
            while sock.recv(4096):
                pass


def test_garbage_on_the_port_is_survived(pair):
    primary, standby = pair["mx1"], pair["mx2"]
    dice = random.Random(61)
    pids = {host: host.daemon.pids("store") for host in (primary, standby)}
    with Mix(primary, seed=61) as mix:
        for host in (primary, standby):
            hello_tls(host)
            for size in (0, 1, 5, 100, 70000):
                throw(host, dice.randbytes(size))
                throw(host, b"\x16\x03\x01" + dice.randbytes(size))
            throw(host, b"GET / HTTP/1.0\r\n\r\n")
        for size in (0, 1, 11, 12, 13, 1000, 600000):
            throw_as_member(pair, standby, primary, dice.randbytes(size))
            throw_as_member(pair, primary, standby, b"\0" * size)
        throw_as_member(pair, standby, primary, b"\xff\xff\xff\xff" + bytes(20))
        mix.wait_steps(10)
    assert {host: host.daemon.pids("store") for host in (primary, standby)} == pids
    check(pair, primary, mix)


# --- clocks, crowds, interruptions ---

def fake_clock(offset):
    """Environment for a program whose clock is off. The stamps on files stay the kernel's."""
    assert Path(FAKETIME).exists(), "package faketime is missing"
    return {"LD_PRELOAD": FAKETIME, "FAKETIME": offset, "NO_FAKE_STAT": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


@pytest.mark.long
def test_the_primarys_clock_is_set_back_between_two_runs(make_lab):
    """Set back twice. The kernel's stamps on files do not follow the daemon's clock here: they all seem to be of
    the future, as those of old files do after a real step back."""
    lab = make_lab()
    primary = lab.start(pki_env=fake_clock("-2d"))
    with Mix(primary, seed=62) as mix:
        for offset in ("-1h", "-2h"):
            mix.wait_steps(20)
            primary.daemon.stop()
            primary.daemon.start(env=fake_clock(offset))
            mix.wait_steps(20)
        past = primary.path(primary.files) / "past"
        past.write_text("written long ago")
        os.utime(past, (1, 1))
    check(lab, primary, mix)


@pytest.mark.parametrize("name", ["mx1", pytest.param("mx2", marks=pytest.mark.long)])
def test_a_clock_is_set_back_an_hour_under_the_running_daemon(pair, name):
    """By its own watch, some seconds after its start: the stamps on files stay the kernel's."""
    primary, hurt = pair["mx1"], pair[name]

    def has_gone_back():
        hurt.mailtwin("verify", check=False)  # an order, of which the log tells
        times = [line.split("time=")[1].split()[0] for line in hurt.daemon.events("CONTROL")]
        return times[-1] < times[0]

    hurt.daemon.stop()
    hurt.daemon.start(env={**fake_clock("-1h"), "FAKETIME_START_AFTER_SECONDS": "3"})
    with Mix(primary, seed=64) as mix:
        mix.wait_steps(20)
        pair.wait_until(has_gone_back, 60, "the daemon's clock has gone back")
        mix.wait_steps(40)
    check(pair, primary, mix)


@contextlib.contextmanager
def small_event_queue(events):
    """Queues opened meanwhile hold that many events."""
    knob = Path("/proc/sys/fs/fanotify/max_queued_events")
    before = knob.read_text()
    knob.write_text(str(events))
    try:
        yield
    finally:
        knob.write_text(before)


def test_events_that_the_kernel_dropped_are_made_up_for(pair):
    primary = pair["mx1"]
    primary.daemon.stop()
    with small_event_queue(100):
        primary.daemon.start()
    with Mix(primary, seed=63) as mix:
        primary.daemon.freeze("store")
        mix.wait_steps(200, within=120)
        primary.daemon.thaw("store")
        mix.wait_steps(10)
    check(pair, primary, mix)
    assert primary.daemon.events("OVERFLOW"), primary.daemon.log()


def test_the_standby_reboots_in_the_middle_of_the_initial_sync(make_lab):
    """Both sides show how far it is; `resync`, ordered there in the end, returns when the standby is level."""
    lab = make_lab(nodes={"mx2": {"bandwidth": "1M"}})
    primary, standby = lab["mx1"], lab["mx2"]
    lab.boot()
    mail.seed(primary.path(primary.mail), users=20, folders=3, mails=50, size=4000, dense=True)
    lab.pki()
    primary.daemon.start()
    primary.mailtwin("promote")
    primary.dovecot.start()
    standby.daemon.start()

    for least, most in (0.1, 0.5), (0.2, 0.9):
        def half_done(status, least=least, most=most):
            here = standby.daemon.peer("mx1", status).get("resync")
            there = primary.daemon.peer("mx2").get("resync")
            return here and there and least <= here["done"] <= most and status["sync"] == "unfinished"
        standby.daemon.wait_status(half_done, 60, "the sync is under way, and both nodes show it")
        standby.reboot()
        standby.daemon.start()
    said = standby.mailtwin("resync", "--from", "mx1", "--yes", within=120).stdout
    assert said.startswith("mx2 is level with mx1 after "), said
    assert standby.daemon.status()["sync"] == "none"
    with lab.lmtp("mx1") as lmtp:
        lmtp.deliver(ANN)
    check(lab, primary)


def test_the_primary_reboots_in_the_middle_of_the_first_look(make_lab):
    lab = make_lab()
    primary = lab["mx1"]
    lab.boot()
    mail.seed(primary.path(primary.mail), users=60, folders=5, mails=30, size=500)
    lab.pki()
    for host in lab.hosts.values():
        host.daemon.start()
    primary.mailtwin("promote")
    primary.reboot()
    primary.daemon.start()
    primary.daemon.wait_role("primary")
    check(lab, primary)
