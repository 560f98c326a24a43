"""Promotion by hand, and what becomes of a primary that comes back."""

import json
import os

import pytest
from lab import config, mail
from lab.host import STATE, STORE
from lab.imap import pop3_uidls
from lab.load import ANN, BOB, Mix
from lab.wait import wait_until


def kill_primary_and_promote(lab, old, new):
    """All of the old primary dies at once; the standby takes over with its own Dovecot."""
    old.halt()
    new.mailtwin("promote", "--force")
    new.daemon.wait_role("primary")
    new.dovecot.start()


def work(lab, name):
    """Mail, flags, folders and gaps in the UIDs for ann."""
    with lab.lmtp(name) as lmtp:
        for _ in range(12):
            lmtp.deliver(ANN)
    with lab.imap(name, ANN) as client:
        client.select()
        client.uid("STORE", client.uids()[1:5:3], "+FLAGS", "(\\Seen $Label)")
        folder = f'"Kept{len(client.folders())}"'
        client.do("create", folder)
        client.uid("COPY", client.uids()[2:4], folder)
        client.uid("STORE", client.uids()[:1] + client.uids()[-1:], "+FLAGS", "(\\Deleted)")
        client.do("expunge")


def test_a_client_sees_the_same_uids_after_a_promotion(pair):
    old, new = pair["mx1"], pair["mx2"]
    work(pair, "mx1")
    with pair.imap("mx1", ANN) as client:
        known = client.view()
    uidls = pop3_uidls(old, ANN)
    pair.level(old)
    kill_primary_and_promote(pair, old, new)
    with pair.imap("mx2", ANN) as client:
        assert client.view() == known
    assert pop3_uidls(new, ANN) == uidls
    with pair.lmtp("mx2") as lmtp:
        fresh = lmtp.deliver(ANN)
    with pair.imap("mx2", ANN) as client:
        validity, mails = client.identity()
    newest = max(mails)
    assert validity == known["INBOX"][0] and mails[newest][0] == fresh.ident
    assert newest > max(known["INBOX"][1])


def test_what_a_barrier_covered_survives_the_death_of_the_primary(pair):
    old, new = pair["mx1"], pair["mx2"]
    safe = []

    def barrier(delivered):
        if old.mailtwin("barrier", "--timeout", "10s", check=False).returncode == 0:
            safe.append(delivered)
    with Mix(old, seed=31, rate=20) as mix:
        mix.lmtp.after = barrier
        mix.wait_steps(25)
        old.halt()
    new.mailtwin("promote", "--force")
    new.daemon.wait_role("primary")
    safe = [one for one in safe if one.user == BOB]
    assert len(safe) >= 3, "the load was too short to show anything"
    assert mail.missing(safe, new.path(new.mail)) == []


def test_a_planned_change_of_roles_and_back(pair):
    one, other = pair["mx1"], pair["mx2"]
    for old, new in ((one, other), (other, one)):
        work(pair, old.name)
        with pair.imap(old.name, ANN) as client:
            known = client.view()
        old.dovecot.stop()
        pair.level(old)
        old.mailtwin("demote")
        new.mailtwin("promote")
        new.daemon.wait_role("primary")
        new.dovecot.start()
        new.daemon.wait_peer(old.name, "connected")
        pair.level(new)
        with pair.imap(new.name, ANN) as client:
            assert client.view() == known
        pair.level(new)  # the server wrote as the client looked
        pair.same(new)


def test_async_stores_hand_the_role_over_only_when_a_standby_has_everything(make_lab):
    stores = {name: {**keys, "durability": "async"} for name, keys in config.default_stores(STORE).items()}
    lab = make_lab(["mx1", "mx2"], stores=stores)
    old, new = lab.start(), lab["mx2"]
    assert "ASYNC, no standby is waited for; mx2 has everything" in old.mailtwin("status").stdout
    new.daemon.freeze("store")
    with lab.lmtp("mx1") as lmtp:
        sent = [lmtp.deliver(ANN) for _ in range(5)]
    assert old.mailtwin("barrier", "--timeout", "10s").returncode == 0, "nobody waits for the standby"
    waits = old.run("timeout", "2", f"{lab.build_inside}/mailtwin", "demote", env=lab.environment(old), check=False)
    assert waits.returncode == 124 and old.daemon.status()["role"] == "primary", waits
    new.daemon.freeze()
    refused = old.mailtwin("demote", check=False, within=90)
    assert refused.returncode == 3 and "no standby follows" in refused.stderr, refused
    status = old.daemon.status()
    assert status["state"] == "async" and status["degraded_since"] is None and status["no_standby_since"], status
    assert [store["protection"] for store in status["stores"]] == ["async", "async"]
    said = old.mailtwin("status").stdout
    assert "NOT SAFE since" in said and "example.org/ann 5" in said, said
    assert not old.daemon.events("REFUSING") and not old.daemon.events("DEGRADED")
    new.daemon.thaw()
    old.daemon.wait_peer("mx2", "connected")
    old.dovecot.stop()
    old.mailtwin("demote", within=90)
    old.halt()
    new.mailtwin("promote", "--force")
    new.daemon.wait_role("primary")
    assert mail.missing(sent, new.path(new.mail)) == []


def test_a_primary_that_returns_with_nothing_of_its_own_becomes_the_standby(pair):
    old, new = pair["mx1"], pair["mx2"]
    work(pair, "mx1")
    pair.level(old)
    kill_primary_and_promote(pair, old, new)
    work(pair, "mx2")
    old.boot()
    old.daemon.start()
    old.daemon.wait_role("standby")
    new.daemon.wait_peer("mx1", "connected")
    pair.level(new)
    pair.same(new)


def test_of_two_primaries_a_resync_takes_the_data_of_the_one_it_names(make_lab):
    """Two histories, and a standby of the one that is to be given the other."""
    lab = make_lab(names=("mx1", "mx2", "mx3"))
    first = lab.start("mx1", dovecot=False)
    standby, other = lab["mx2"], lab["mx3"]
    (first.path(first.files) / "of mx1").write_text("x")
    lab.level(first)
    other.daemon.stop()
    other.run("sh", "-ec", f"rm -rf {STATE}/* {other.files}/* {other.files}/.mailtwin {other.mail}/* {other.mail}/.mailtwin")
    for host in (first, standby):
        lab.network.cut(host, other)
    other.daemon.start()
    other.mailtwin("promote")
    other.daemon.wait_role("primary")
    (other.path(other.files) / "of mx3").write_text("y")
    for host in (first, standby):
        lab.network.heal(host, other)
    standby.mailtwin("resync", "--from", "mx3", "--yes", within=120)
    other.daemon.wait_peer("mx2", "connected")
    lab.level(other, [standby])
    assert (standby.path(standby.files) / "of mx3").exists() and not (standby.path(standby.files) / "of mx1").exists()
    lab.compare(other, standby)
    assert (first.path(first.files) / "of mx1").exists()


def test_an_older_epoch_is_refused_and_steps_down(pair):
    """Both act as primary while the link is cut; the older one ends by itself."""
    old, new = pair["mx1"], pair["mx2"]
    work(pair, "mx1")
    pair.level(old)
    pair.network.cut(old, new)
    new.mailtwin("promote", "--force")
    new.daemon.wait_role("primary")
    assert new.daemon.status()["epoch"] > old.daemon.status()["epoch"]
    pair.network.heal(old, new)
    old.daemon.wait_status(lambda status: status.get("role", "primary") != "primary", 60, "the older primary steps down")
    assert old.daemon.events("DEPOSED"), old.daemon.log()
    assert new.daemon.status()["role"] == "primary"
    old.dovecot.stop()
    new.daemon.wait_peer("mx1", "connected")
    pair.level(new)
    pair.same(new)


def trail(host):
    """The acts of the node, as mailtwin audit shows them."""
    return [json.loads(line) for line in host.mailtwin("audit", "--json").stdout.splitlines()]


def acts(host, event, **fields):
    return [one for one in trail(host) if one["event"] == event
            and all(one.get(key) == value for key, value in fields.items())]


def test_what_moves_a_role_or_overwrites_is_in_the_audit_trail(pair):
    old, new = pair["mx1"], pair["mx2"]
    work(pair, "mx1")
    pair.level(old)
    assert old.mailtwin("demote", "--force", "--reason", "new disks\nuid=7").returncode == 0
    assert new.mailtwin("promote", "--reason", "mx1 gets new disks").returncode == 0
    old.dovecot.stop()
    new.daemon.wait_peer("mx1", "connected")
    refused = new.mailtwin("resync", "--yes", check=False)
    assert refused.returncode == 3
    [asked] = acts(old, "CONTROL", order="demote")
    assert (asked["uid"], asked["by"], asked["reason"]) == ("0", "root", "new disks\nuid=7")
    assert len(acts(old, "ORDER_END", order="demote", result="done", pid=asked["pid"])) == 1
    assert [one["role"] for one in acts(old, "ROLE")][-2:] == ["primary", "standby"]
    [asked] = acts(new, "CONTROL", order="promote")
    assert asked["reason"] == "mx1 gets new disks"
    assert acts(new, "ROLE", role="primary")
    [ended] = acts(new, "ORDER_END", order="resync")
    assert ended["result"] == "REFUSED" and "is the primary" in ended["error"]
    # a node that takes over by force, and the one that hears of it
    assert old.mailtwin("promote", "--force", "--reason", "test").returncode == 0
    new.daemon.wait_status(lambda status: status.get("role", "primary") != "primary", 60, "it steps down")
    wait_until(lambda: acts(new, "DEPOSED", by="mx1"), 10, "it says so")
    # the trail outlives the daemon, and an order that it died of has no end
    before = trail(old)
    old.daemon.kill9()
    assert trail(old) == before


def test_a_takeover_does_not_wait_for_room_for_its_record(pair):
    old, new = pair["mx1"], pair["mx2"]
    work(pair, "mx1")
    pair.level(old)
    new.daemon.stop()
    trail_file = new.path(STATE) / "audit.log"
    trail_file.unlink()
    trail_file.mkdir()  # the state goes on: only the trail cannot be written
    new.daemon.start()
    old.halt()
    assert new.mailtwin("promote", "--force").returncode == 0
    lost = new.daemon.events("AUDIT_LOST")
    assert any("order=promote" in line for line in map(str, lost)), lost
    trail_file.rmdir()
    new.mailtwin("demote", "--force")
    assert acts(new, "ORDER_END", order="demote", result="done")


def test_a_new_primary_is_followed_at_once_although_the_old_ones_session_hangs(make_lab):
    """The old primary's store role stands still and its network role goes on: the link looks alive for ever."""
    lab = make_lab(["mx1", "mx2", "mx3"])
    old, new, third = lab.start(), lab["mx2"], lab["mx3"]
    work(lab, "mx1")
    lab.level(old)
    old.dovecot.stop()
    old.daemon.freeze("store")
    new.mailtwin("promote", "--force")
    new.daemon.wait_peer("mx3", "connected", 10)
    new.dovecot.start()
    work(lab, "mx2")
    lab.level(new, [third])
    lab.same(new, [third])
    assert third.daemon.status()["epoch"] == new.daemon.status()["epoch"]
    old.daemon.thaw("store")
    old.daemon.wait_role("standby")
    new.daemon.wait_peer("mx1", "connected")
    lab.level(new)
    lab.same(new)


def test_promoting_beside_a_living_primary_is_refused(pair):
    done = pair["mx2"].mailtwin("promote", check=False)
    assert done.returncode == 3 and "--force" in done.stdout + done.stderr, done
    assert pair["mx2"].daemon.status()["role"] == "standby"
    pair.level(pair["mx1"])
    pair.same(pair["mx1"])


def raw_mailbox(lab, primary):
    """A mailbox that is on every disk; from now on the primary's writes nothing by itself, so that a power cut
    takes what nobody synced, however slowly the scenario gets there."""
    root = primary.path(primary.mail) / "example.org/raw"
    for part in ("tmp", "new", "cur"):
        (root / part).mkdir(parents=True)
    lab.level(primary)
    primary.sync()
    primary.remount(STORE, "rw,commit=300")


def deliver_unsynced(primary):
    """A mail whose name is on a standby's disk, and not yet on the primary's."""
    root = primary.path(primary.mail) / "example.org/raw"
    (root / "tmp/1.M1.raw").write_text("Message-ID: <raw@lab>\n\nnobody called fsync\n")
    os.rename(root / "tmp/1.M1.raw", root / "new/1.M1.raw")
    primary.mailtwin("barrier", "--timeout", "10s")
    return "example.org/raw/new/1.M1.raw"


@pytest.fixture
def unsynced(pair):
    raw_mailbox(pair, pair["mx1"])
    return deliver_unsynced(pair["mx1"])


def test_what_the_primary_loses_with_its_power_is_brought_back(pair, unsynced):
    primary, standby = pair["mx1"], pair["mx2"]
    primary.power_cut()
    assert not (primary.path(primary.mail) / unsynced).exists(), "the lab did not lose what it should"
    primary.daemon.start()
    primary.daemon.wait_recovered()
    pair.level(primary)
    assert (primary.path(primary.mail) / unsynced).read_text().endswith("fsync\n")
    assert (standby.path(standby.mail) / unsynced).exists()
    assert primary.daemon.events("BROUGHT_BACK"), primary.daemon.log()
    pair.same(primary)


def test_what_the_primary_lost_stays_held_until_a_node_that_may_have_it_answers(pair, unsynced):
    primary, standby = pair["mx1"], pair["mx2"]
    standby.daemon.stop()
    primary.power_cut()
    for end in (primary.daemon.kill9, primary.daemon.stop, lambda: None):  # of the daemon, in the same boot
        primary.daemon.start()
        primary.daemon.wait_status(lambda status: status.get("held", 0) > 0, 30, "nothing is held")
        end()
    held = json.loads(primary.mailtwin("held", "--json").stdout)["names"]
    assert {"store": "mail", "path": unsynced, "kind": "lost", "nodes": ["mx2"]} in held
    standby.daemon.start()
    primary.daemon.wait_recovered()
    pair.level(primary)
    assert (primary.path(primary.mail) / unsynced).read_text().endswith("fsync\n")
    pair.same(primary)


def test_who_lacks_what_the_primary_lost_is_fed_after_another_gave_it_back(make_lab):
    lab = make_lab(names=("mx1", "mx2", "mx3"))
    primary = lab.start("mx1", dovecot=False)
    lacks, has = lab["mx2"], lab["mx3"]
    raw_mailbox(lab, primary)
    lacks.daemon.stop()
    lost = deliver_unsynced(primary)
    primary.power_cut()
    has.daemon.stop()
    assert not (primary.path(primary.mail) / lost).exists(), "the lab did not lose what it should"
    primary.daemon.start()
    lacks.daemon.start()
    primary.daemon.wait_peer("mx2", "connected")
    names = json.loads(primary.mailtwin("held", "--json").stdout)["names"]
    assert {"store": "mail", "path": lost, "kind": "lost", "nodes": ["mx3"]} in names
    later = primary.path(primary.files) / "later"
    later.write_text("after the loss\n")
    assert primary.mailtwin("barrier", "--timeout", "2s", check=False).returncode != 0
    assert not (lacks.path(lacks.files) / "later").exists(), "fed before the loss was made good"
    has.daemon.start()
    primary.daemon.wait_recovered()
    lab.level(primary)
    for event in ("SUSPECT", "BROUGHT_BACK"):
        assert primary.daemon.events(event), event
    assert not primary.daemon.events("GIVEN_UP")
    for host in lab.hosts.values():
        assert (host.path(host.mail) / lost).read_text().endswith("fsync\n")
        assert (host.path(host.files) / "later").exists()
    lab.same(primary)


def test_what_nobody_can_give_back_is_given_up_by_an_operator(pair, unsynced):
    primary, standby = pair["mx1"], pair["mx2"]
    standby.daemon.stop()
    primary.power_cut()
    primary.daemon.start()
    primary.daemon.wait_status(lambda status: status.get("held", 0) > 0, 30, "nothing is held")
    assert primary.mailtwin("held", "--give-up", check=False).returncode == 3  # it asks, and nobody answers
    primary.mailtwin("held", "--give-up", "--yes")
    primary.daemon.wait_recovered()
    assert primary.daemon.events("GIVEN_UP")
    standby.daemon.start()
    pair.level(primary)
    assert not (standby.path(standby.mail) / unsynced).exists()
    pair.same(primary)


def test_a_power_cut_of_the_primary_under_load_loses_no_accepted_mail(pair):
    primary = pair["mx1"]
    with Mix(primary, seed=33) as mix:
        mix.wait_steps(80)
        primary.power_cut()
    primary.daemon.start()
    primary.dovecot.start()
    primary.daemon.wait_recovered()
    pair.level(primary)
    assert mail.missing(mix.kept(), primary.path(primary.mail)) == []
    pair.same(primary)


def test_a_power_cut_of_the_standby_under_load(pair):
    primary, standby = pair["mx1"], pair["mx2"]
    with Mix(primary, seed=34) as mix:
        for _ in range(3):
            mix.wait_steps(40)
            standby.power_cut()
            standby.daemon.start()
    pair.level(primary)
    pair.same(primary)
