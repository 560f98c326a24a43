"""Streaming: what users and programs do on the primary is on the standby, exactly."""

import os
import shutil
import subprocess

import pytest
from lab import mail
from lab.chaos import MaildirWriter
from lab.load import ANN, BOB, Mix

NAMES = {"cluster", "node", "role", "epoch", "history", "stores", "peers", "barrier"}
STORE_NAMES = {"name", "kind", "path", "state", "last_verify", "verify"}
PEER_NAMES = {"node", "state", "seq", "received_seq", "durable_seq", "lag_seconds", "lag_bytes", "lag_messages",
              "lag_complete", "ack_seconds"}


def test_mail_and_what_users_do_with_it_arrives(pair):
    primary, standby = pair["mx1"], pair["mx2"]
    with pair.lmtp("mx1") as lmtp:
        history = [lmtp.deliver(user) for user in (ANN, BOB) for _ in range(10)]
    pair.level(primary)
    pair.same(primary)
    assert mail.missing(history, standby.path(standby.mail)) == []
    with pair.imap("mx1", ANN) as client:
        for step in imap_work(client):
            step()
            pair.level(primary)
            pair.same(primary)


def imap_work(client):
    """One act of a user after another."""
    client.select()
    first, second, third, fourth = client.uids()[:4]
    return [
        lambda: client.uid("STORE", [first, second], "+FLAGS", "(\\Seen $Important)"),
        lambda: client.do("create", '"Work"'),
        lambda: client.do("subscribe", '"Work"'),
        lambda: client.uid("COPY", [first, third], '"Work"'),
        lambda: client.uid("MOVE", [fourth], '"Work"'),
        lambda: client.uid("STORE", [second], "+FLAGS", "(\\Deleted)"),
        lambda: client.do("expunge"),
        lambda: client.do("rename", '"Work"', '"Done"'),
        lambda: client.do("create", '"Done.Old"'),
        lambda: client.do("rename", '"Done"', '"Archive"'),
        lambda: client.do("delete", '"Archive.Old"'),
        lambda: client.do("delete", '"Archive"'),
    ]


def test_the_mix_of_everything_ends_level_and_same(pair):
    primary = pair["mx1"]
    with Mix(primary, seed=21) as mix:
        mix.wait_steps(150)
    pair.level(primary)
    pair.same(primary)
    assert mail.missing(mix.kept(), pair["mx2"].path(pair["mx2"].mail)) == []


def test_a_barrier_means_on_the_standbys_disk(pair):
    """The standby loses its power the moment the barrier opened."""
    primary, standby = pair["mx1"], pair["mx2"]
    with pair.lmtp("mx1") as lmtp:
        history = [lmtp.deliver(ANN) for _ in range(20)]
    assert primary.mailtwin("barrier", "--timeout", "10s").returncode == 0
    standby.power_cut()
    assert mail.missing(history, standby.path(standby.mail)) == []
    standby.daemon.start()
    pair.level(primary)
    pair.same(primary)


def test_a_barrier_without_a_standby_does_not_lie(pair):
    primary, standby = pair["mx1"], pair["mx2"]
    standby.daemon.kill9()
    primary.daemon.wait_status(lambda status: primary.daemon.peer("mx2", status).get("state") != "connected", 30,
                               "the peer is gone")
    with pair.lmtp("mx1") as lmtp:
        lmtp.deliver(ANN)
    done = primary.mailtwin("barrier", "--timeout", "1s", check=False)
    assert done.returncode in (1, 4), done
    standby.daemon.ensure()
    assert primary.mailtwin("barrier", "--timeout", "30s", check=False, within=60).returncode in (0, 4)
    pair.level(primary)
    pair.same(primary)


def test_status_has_the_fields_scripts_rely_on(pair):
    one, other = pair["mx1"].daemon.status(), pair["mx2"].daemon.status()
    for status in (one, other):
        assert status.keys() >= NAMES, status
        assert all(store.keys() >= STORE_NAMES for store in status["stores"]), status
        assert {store["name"] for store in status["stores"]} == {"mail", "files"}
    assert (one["role"], other["role"]) == ("primary", "standby")
    assert one["history"] == other["history"] and one["epoch"] == other["epoch"] >= 1
    peer = pair["mx1"].daemon.peer("mx2", one)
    assert peer.keys() >= PEER_NAMES and peer["durable_seq"] == peer["seq"], peer
    words = pair["mx1"].mailtwin("status").stdout
    assert "mx2" in words and "primary" in words, words


def test_mode_and_owner_of_the_stores_root(pair):
    primary, standby = pair["mx1"], pair["mx2"]
    root = primary.path(primary.files)
    os.chmod(root, 0o2750)
    os.chown(root, 1, 12)
    pair.level(primary)
    pair.same(primary)
    facts = standby.path(standby.files).stat()
    assert (facts.st_mode & 0o7777, facts.st_uid, facts.st_gid) == (0o2750, 1, 12)


def seq(pair):
    return pair["mx1"].daemon.peer("mx2")["seq"]


def test_renaming_a_folder_of_many_mails_is_one_record(pair):
    primary = pair["mx1"]
    writer = MaildirWriter(primary.path(primary.mail) / "example.org/many", seed=3)
    for _ in range(1500):
        writer.deliver(size=100)
    pair.level(primary)
    before = seq(pair)
    domain = primary.path(primary.mail) / "example.org"
    os.rename(domain / "many", domain / "renamed")
    pair.level(primary)
    assert seq(pair) - before == 1
    pair.same(primary)


def test_a_folder_moved_into_and_out_of_the_store(pair):
    primary = pair["mx1"]
    outside = primary.path(primary.other)
    inside = primary.path(primary.mail) / "example.org"
    writer = MaildirWriter(outside / "mover", seed=4)
    for _ in range(50):
        writer.deliver()
    (inside).mkdir(exist_ok=True)
    os.rename(outside / "mover", inside / "mover")
    pair.level(primary)
    pair.same(primary)
    os.rename(inside / "mover", outside / "gone")
    pair.level(primary)
    pair.same(primary)
    os.rename(outside / "gone", primary.path(primary.files) / "other-store")
    (primary.path(primary.files) / "other-store/cur/note").write_text("in the files store now")
    pair.level(primary)
    pair.same(primary)


def test_a_clean_stop_and_start_needs_no_scan(pair):
    primary = pair["mx1"]
    with Mix(primary, seed=5) as mix:
        mix.wait_steps(20)
    primary.dovecot.stop()
    pair.level(primary)
    sweeps = len(primary.daemon.events("SWEEP_BEGIN"))
    primary.daemon.restart()
    pair.wait_level(primary)
    assert len(primary.daemon.events("SWEEP_BEGIN")) == sweeps, primary.daemon.log()
    primary.dovecot.start()
    with pair.lmtp("mx1") as lmtp:
        lmtp.deliver(BOB)
    pair.level(primary)
    pair.same(primary)


def test_what_changed_while_the_daemon_was_down_is_found(pair):
    primary = pair["mx1"]
    pair.level(primary)
    sweeps = len(primary.daemon.events("SWEEP_BEGIN"))
    primary.daemon.stop()
    with Mix(primary, seed=6) as mix:
        mix.wait_steps(60)
    primary.daemon.start()
    pair.level(primary)
    pair.same(primary)
    assert len(primary.daemon.events("SWEEP_BEGIN")) > sweeps


def test_what_changed_behind_a_clean_stop_and_is_not_on_the_disk_yet_is_found(pair):
    """The daemon that starts writes it out, under the rules that it runs by, and sees that there was something."""
    primary = pair["mx1"]
    folder = primary.path(primary.mail) / "quiet"
    folder.mkdir()
    (folder / "a").write_text("x")
    pair.level(primary)
    sweeps = len(primary.daemon.events("SWEEP_BEGIN"))
    primary.daemon.stop()
    (folder / "a").rename(folder / "b")
    primary.daemon.start()
    pair.level(primary)
    pair.same(primary)
    assert len(primary.daemon.events("SWEEP_BEGIN")) > sweeps


def test_a_standby_that_was_stopped_catches_up_from_the_journal(pair):
    primary, standby = pair["mx1"], pair["mx2"]
    standby.daemon.stop()
    with Mix(primary, seed=7) as mix:
        mix.wait_steps(60)
    syncs = len(primary.daemon.events("SYNC_BEGIN"))
    standby.daemon.start()
    pair.level(primary)
    pair.same(primary)
    assert len(primary.daemon.events("SYNC_BEGIN")) == syncs


def test_a_standby_that_was_away_longer_than_the_journal_is_resynced(make_lab):
    lab = make_lab(settings={"journal-max": "1M"}, mkfs=("-N", "65536"))
    primary = lab.start()
    lab["mx2"].daemon.stop()
    writer = MaildirWriter(primary.path(primary.mail) / "example.org/long", seed=8)

    def trimmed(status):
        for _ in range(1000):
            writer.deliver(size=10)
        return status["journal"]["oldest"] > primary.daemon.peer("mx2", status)["durable_seq"] + 1
    primary.daemon.wait_status(trimmed, 120, "the journal no longer reaches back")
    lab.wait_until(lambda: primary.daemon.events("JOURNAL_TRIMMED"), 60, "the event tells of it")
    lab["mx2"].daemon.start()
    lab.level(primary)
    lab.same(primary)


def test_two_standbys_follow_one_primary(make_lab):
    lab = make_lab(["mx1", "mx2", "mx3"])
    primary = lab.start()
    with Mix(primary, seed=9) as mix:
        mix.wait_steps(30)
        lab["mx3"].daemon.kill9()
        mix.wait_steps(30)
        lab["mx3"].daemon.ensure()
        mix.wait_steps(10)
    lab.level(primary)
    lab.same(primary)


def test_a_standby_feeds_another(make_lab):
    lab = make_lab(["mx1", "mx2", "dr"], nodes={"dr": {"follow": "mx2", "durability": "async"}})
    primary, middle, last = (lab[name] for name in ("mx1", "mx2", "dr"))
    lab.start()
    with Mix(primary, seed=10) as mix:
        mix.wait_steps(40)
        last.daemon.kill9()
        mix.wait_steps(20)
        last.daemon.ensure()
        mix.wait_steps(20)
    lab.level(primary)
    lab.same(primary)
    middle.daemon.wait_status(lambda status: lab.is_level(middle, status, "dr"), 60, "level with dr")
    lab.compare(primary, last)
    assert primary.daemon.peer("dr")["direction"] == "none"


def test_a_large_file_changed_in_place_and_a_sparse_one(pair):
    primary = pair["mx1"]
    root = primary.path(primary.files)
    with open(root / "large", "wb") as file:
        for block in range(40):
            file.write(bytes([block]) * (1 << 20))
    with open(root / "sparse", "wb") as file:
        file.truncate(8 << 30)
        file.seek(4 << 30)
        file.write(b"middle")
    pair.level(primary)
    with open(root / "large", "r+b") as file:
        file.seek(20 << 20)
        file.write(b"changed in place")
    pair.level(primary)
    large, sparse = (pair["mx2"].path(pair["mx2"].files) / name for name in ("large", "sparse"))
    assert subprocess.run(["cmp", root / "large", large], check=False).returncode == 0
    assert sparse.stat().st_size == 8 << 30 and sparse.stat().st_blocks * 512 < 1 << 20
    (root / "sparse").unlink()  # comparing its bytes would take long
    pair.level(primary)
    pair.same(primary)


def test_a_store_that_is_emptied_and_filled_again(pair):
    primary = pair["mx1"]
    with Mix(primary, seed=12) as mix:
        mix.wait_steps(40)
    primary.dovecot.stop()
    shutil.rmtree(primary.path(primary.mail) / "example.org")
    pair.level(primary)
    pair.same(primary)
    primary.dovecot.start()
    with pair.lmtp("mx1") as lmtp:
        lmtp.deliver(ANN)
    pair.level(primary)
    pair.same(primary)
