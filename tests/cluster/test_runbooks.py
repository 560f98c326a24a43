"""The runbooks do what they say: their shell blocks, played as they stand, on hosts in the trouble they are for."""

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest
import test_queue as queued

from lab import attack, mail
from lab.host import STATE, STORE
from lab.mta import CONFIG_DIR, Postfix, Smtp
from lab.slapd import Slapd, person
from lab.wait import wait_until
from runbook import REPOSITORY, Page

ANN = "ann@example.org"
# A new machine: folders of its own where the runbook writes. Nothing of it reaches the machine below.
NEW_MACHINE = f"""
mkdir -p /tmp/new
mount -t tmpfs new /tmp/new
for folder in etc var/lib; do
    mkdir -p /tmp/new/$folder/up /tmp/new/$folder/work
    mount -t overlay -o lowerdir=/$folder,upperdir=/tmp/new/$folder/up,workdir=/tmp/new/$folder/work new /$folder
done
rm -rf /etc/mailtwin /var/lib/mailtwin
mkdir -p /srv/vmail
mount --bind {STORE}/vmail /srv/vmail
"""


@pytest.fixture
def page():
    """page(lab, path) is Page(lab, path), closed after the test."""
    pages = []

    def make(lab, path):
        pages.append(Page(lab, path))
        return pages[-1]
    yield make
    for one in pages:
        one.close()


def deliver(lab, name, count=3):
    with lab.lmtp(name) as lmtp:
        return [lmtp.deliver(ANN) for _ in range(count)]


def is_pair(lab, primary, standby):
    """A primary and its level standby, equal."""
    lab[primary].daemon.wait_role("primary")
    lab[standby].daemon.wait_role("standby")
    lab.wait_level(lab[primary], [lab[standby]])
    lab.compare(lab[primary], lab[standby])


def test_the_loss_statement_is_read_as_the_page_says(pair, page):
    deliver(pair, "mx1")
    pair.level(pair["mx1"])
    pair["mx1"].halt()
    pair["mx2"].mailtwin("promote", "--force")
    assert page(pair, "runbooks/loss-statement.md").play(set()) == 1


def test_promote_by_hand_moves_the_role_of_a_living_primary(pair, page):
    deliver(pair, "mx1")
    assert page(pair, "runbooks/promote-by-hand.md").play({"alive", "finally"}) == 6
    deliver(pair, "mx2")
    pair.level(pair["mx2"])
    is_pair(pair, "mx2", "mx1")


def test_promote_by_hand_takes_over_from_a_dead_primary(pair, page):
    deliver(pair, "mx1")
    pair.level(pair["mx1"])
    pair["mx1"].halt()

    def power_returns(_line, node, _script):
        if pair[node].space is None:
            deliver(pair, "mx2")
            pair[node].boot()
    assert page(pair, "runbooks/promote-by-hand.md").play({"finally"}, power_returns) == 5
    is_pair(pair, "mx2", "mx1")


def test_returning_primary_gives_what_it_had_alone(pair, page):
    known = deliver(pair, "mx1")
    pair.level(pair["mx1"])
    pair.network.cut(pair["mx1"], pair["mx2"])
    alone = deliver(pair, "mx1", 5)
    pair["mx1"].mailtwin("barrier", "--timeout", "1s", check=False)
    pair["mx1"].halt()
    pair["mx2"].mailtwin("promote", "--force")
    pair["mx2"].dovecot.start()
    pair["mx1"].boot()
    pair.network.heal(pair["mx1"], pair["mx2"])
    assert page(pair, "runbooks/returning-primary.md").play() == 4
    assert mail.missing(known + alone, pair["mx2"].path(pair["mx2"].mail)) == []
    is_pair(pair, "mx2", "mx1")


@pytest.mark.long
def test_returning_primary_has_each_mail_of_its_queue_delivered_once(make_lab, page):
    """Also the one that both had, and for one recipient of two the one that the other has got."""
    lab = queued.start(make_lab, long_ids=False)
    old, new = lab["mx1"], lab["mx2"]
    with Smtp(old) as smtp:
        shared = smtp.send("shared", queued.LATE)
        old.postfix.wait_waiting({"deferred": 1})
        lab.level(old)
        lab.network.cut(old, new)
        alone = smtp.send("alone", queued.LATE)
        both = smtp.send("both", queued.LATE, 5000, others=[queued.DONE])
    old.postfix.wait_waiting({"deferred": 3})
    old.mailtwin("barrier", "--timeout", "1s", check=False)
    old.postfix.stop()
    old.halt()
    new.mailtwin("promote", "--force")
    new.dovecot.start()
    new.postfix.configure()
    new.postfix.start()
    new.postfix.wait_waiting({})
    new.run("mount", "--bind", CONFIG_DIR, "/etc/postfix")
    old.boot()
    lab.network.heal(old, new)
    assert page(lab, "runbooks/returning-primary.md").play({"queue"}) == 7
    wait_until(lambda: new.postfix.log().count("status=sent") == 3, 30, new.postfix.log)
    new.postfix.wait_waiting({})
    found = mail.idents(new.path(new.mail))
    copies = {name: sorted(os.fsdecode(path).split("/")[-3] for path in found[name]) for name in (shared, alone, both)}
    assert copies == {shared: ["late"], alone: ["late"], both: ["done", "late"]}
    text = Path(os.fsdecode(found[alone][0])).read_text()
    assert text.startswith("Return-Path: <sender@lab.invalid>\n") and text.count("\nReceived: ") == 3, text


def test_standby_behind_sees_a_pair_level_again(pair, page):
    pair["mx2"].daemon.freeze()
    deliver(pair, "mx1")

    def thaw(_line, node, _script):
        if node == "mx2":
            pair["mx2"].daemon.thaw()
    page(pair, "runbooks/standby-behind.md").play((), thaw)
    is_pair(pair, "mx1", "mx2")


def test_dumps_shows_makes_and_restores(make_lab, page):
    data = f"{STORE}/web"
    stores = {"mail": {"kind": "maildir", "path": f"{STORE}/vmail"},
              "webdb": {"kind": "dump", "command": f"cat {data}", "restore": f"tee {data}"}}
    lab = make_lab(stores=stores)
    primary = lab.start(dovecot=False)
    primary.path(data).write_text("one")
    assert page(lab, "runbooks/dumps.md").play() == 3
    lab.level(primary)
    lab.same(primary)
    primary.halt()
    lab["mx2"].mailtwin("promote", "--force")
    assert lab["mx2"].path(data).read_text() == "one"


def test_disk_full_brings_a_stalled_journal_back(pair, page):
    primary = pair["mx1"]
    primary.fill_disk(STATE)
    deliver(pair, "mx1", 200)

    def space_is_made(_line, _node, script):
        if "apt-get clean" in script:
            primary.free_disk(STATE)
    page(pair, "runbooks/disk-full.md").play((), space_is_made)
    is_pair(pair, "mx1", "mx2")


def test_power_loss_of_the_primary_is_made_good(pair, page):
    deliver(pair, "mx1")
    pair.level(pair["mx1"])
    pair["mx1"].power_cut()
    page(pair, "runbooks/power-loss.md").play()
    deliver(pair, "mx1")
    pair.level(pair["mx1"])
    is_pair(pair, "mx1", "mx2")


def test_unreadable_finds_a_bad_file_and_sees_it_mended(pair, page):
    """One file that the disk does not give holds up nothing else, and is counted until it is gone."""
    primary = pair["mx1"]
    with open(f"{primary.path(primary.other)}/bad", "wb") as file:
        for piece in range(10):
            os.pwrite(file.fileno(), b"x" * 4096, piece * 65536)
    primary.dovecot.stop()
    primary.daemon.stop()
    primary.damage(f"{primary.other}/bad")
    primary.daemon.start()
    primary.dovecot.start()
    primary.run("mv", f"{primary.other}/bad", f"{primary.files}/bad")
    deliver(pair, "mx1", 20)
    pair.level(primary)
    wait_until(lambda: primary.daemon.status()["unreadable"] == 1, 20, "the bad file is counted")
    assert "event=UNREADABLE" in primary.daemon.log()

    def mend(_line, _node, script):
        if "verify" in script:
            primary.run("rm", f"{primary.files}/bad")
    page(pair, "runbooks/unreadable.md").play((), mend)
    is_pair(pair, "mx1", "mx2")


def test_standby_differs_finds_what_somebody_did_there_and_mends_it(pair, page):
    deliver(pair, "mx1", 5)
    pair.level(pair["mx1"])
    standby = pair["mx2"]
    standby.path(standby.mail).joinpath("extra").write_text("nobody sent this")
    assert pair["mx1"].mailtwin("verify", check=False).returncode == 1
    assert page(pair, "runbooks/standby-differs.md").play() == 6
    is_pair(pair, "mx1", "mx2")


@pytest.fixture
def new_pair(make_lab):
    """Two machines as they come: mail on mx1, nothing of mailtwin but its programs."""
    lab = make_lab(["mx1", "mx2"])
    lab.config_inside = "/etc/mailtwin/mailtwin.conf"
    lab.boot()
    for host in lab.hosts.values():
        host.run("sh", "-ec", NEW_MACHINE)
        host.run("systemd-sysusers", "/run/repo/deploy/sysusers.d/mailtwin.conf")
        host.run("systemd-tmpfiles", "--create", "/run/repo/deploy/tmpfiles.d/mailtwin.conf")
    lab["mx1"].dovecot.start()
    deliver(lab, "mx1")
    return lab


def set_up(lab, page, path):
    """Plays it; the host's own name decides, as on a real machine. How many blocks."""
    count = page(lab, path).play((), env={})
    lab["mx1"].daemon.wait_peer("mx2", "connected")
    lab.level(lab["mx1"])
    is_pair(lab, "mx1", "mx2")
    return count


def test_a_pair_is_set_up_as_the_readme_has_it(new_pair, page):
    assert set_up(new_pair, page, "README.md") == 1


# What the pair of set-up-a-pair.md has besides: a state directory that can be watched, and where pages look for files.
REAL_SERVERS = """
mount -t tmpfs -o mode=700 state /var/lib/mailtwin
mkdir -p /tmp/new/doc/up /tmp/new/doc/work
mount -t overlay -o lowerdir=/usr/share/doc,upperdir=/tmp/new/doc/up,workdir=/tmp/new/doc/work new /usr/share/doc
install -D -t /usr/share/doc/mailtwin/dovecot /run/repo/deploy/dovecot/90-mailtwin.conf
ln -sf /run/lab/dovecot.conf /etc/dovecot/dovecot.conf
cp -r /etc/postfix/postfix-files* /run/lab/postfix
mount --bind /run/lab/postfix /etc/postfix
sqlite3 /srv/roster.db "create table people (name text); insert into people values ('ann')"
"""
PLUGIN_IS_INSTALLED = """mail_plugin_dir = /run/lab/modules
!include_try /etc/dovecot/conf.d/90-mailtwin.conf
"""


@pytest.fixture
def real_servers(new_pair, page):
    """A pair as set-up-a-pair.md leaves it; Postfix, slapd and a database as they come."""
    for host in new_pair.hosts.values():
        host.postfix, host.slapd = Postfix(host, long_ids=True), Slapd(host)
        host.run("mkdir", "-p", host.postfix.queue)
        host.postfix.configure()
        host.run("sh", "-ec", REAL_SERVERS)
        host.dovecot.with_plugin()  # for its file
        host.dovecot.extra = PLUGIN_IS_INSTALLED
        host.slapd.install()
        host.slapd.start()
    primary = new_pair["mx1"]
    primary.slapd.fill()
    primary.slapd.add(person("ann"))
    primary.dovecot.stop()
    primary.dovecot.start()
    primary.postfix.start()
    assert set_up(new_pair, page, "runbooks/set-up-a-pair.md") == 10
    return new_pair


def findings(host):
    checks = json.loads(host.mailtwin("check", "--json", check=False).stdout)["checks"]
    return {one["name"]: one["state"] for one in checks}


def check_durable(lab):
    """What the page promises is so."""
    primary, standby = lab["mx1"], lab["mx2"]
    gate = wait_until(lambda: [row for row in primary.daemon.status()["gates"] if row["released"] == 2], 20,
                      lambda: f"two mails went through the gate: {primary.daemon.status()['gates']}")
    assert gate[0]["unprotected"] == 0 and gate[0]["refused"] > 0, gate
    assert (findings(primary)["postfix"], findings(primary)["dovecot"]) == ("ok", "ok")
    inbox = [text for file in standby.path(standby.mail).glob("example.org/ann/new/*") for text in [file.read_text()]]
    assert [sum(f"Subject: {subject}\n" in text for text in inbox) for subject in
            ("through the gate", "held by Postfix")] == [1, 1]
    with lab.imap("mx1", ANN) as client, ThreadPoolExecutor(1) as pool:
        standby.daemon.freeze("store")
        answer = pool.submit(client.do, "create", "New")
        early = wait([answer], 0.5).done
        standby.daemon.thaw("store")
        answer.result(20)
    assert not early, "an OK did not wait for the standby"
    wait_until(lambda: standby.slapd.login("ann", "pass-ann"), 20, "the account is on the standby's server")
    versions = json.loads(standby.mailtwin("dump", "list", "roster", "--json").stdout)["stores"][0]["versions"]
    assert len(versions) == 1


def test_a_pair_and_durable_mode_are_set_up_seen_to_work_and_undone_as_written(real_servers, page):
    lab = real_servers
    primary = lab["mx1"]

    def look(_line, node, script):
        if node == "mx1" and "disable --now mailtwin-gate" in script:
            check_durable(lab)
    assert page(lab, "runbooks/set-up-durable-mode.md").play({"directory", "dump", "undo"}, look, env={}) == 24
    with Smtp(primary) as smtp:
        ident = smtp.send("without the gate", ANN)
    primary.postfix.wait_waiting({})
    assert len(mail.idents(primary.path(primary.mail)).get(ident, [])) == 1


@pytest.mark.long
def test_a_pair_in_durable_mode_changes_roles_as_written(real_servers, page):
    lab = real_servers
    primary, standby = lab["mx1"], lab["mx2"]
    page(lab, "runbooks/set-up-durable-mode.md").play({"directory", "dump"}, env={})
    primary.run("sqlite3", "/srv/roster.db", "insert into people values ('bob')")
    assert page(lab, "runbooks/promote-by-hand.md").play({"alive", "durable", "finally"}, env={}) == 9
    wait_until(lambda: standby.daemon.status()["gates"][0]["released"] == 1, 20, "the mail went through the gate of mx2")
    for host in (primary, standby):
        inbox = [file.read_text() for file in host.path(host.mail).glob("example.org/ann/new/*")]
        assert sum("Subject: from mx2\n" in text for text in inbox) == 1
    assert standby.run("sqlite3", "/srv/roster.db", "select name from people order by name").stdout.split() == ["ann", "bob"]
    assert standby.slapd.login("ann", "pass-ann")
    assert findings(standby)["postfix"] == findings(standby)["dovecot"] == "ok"


def test_what_is_installed_is_complete(tmp_path):
    """DESTDIR and PREFIX hold, and the unit names the program that was installed."""
    subprocess.run(["make", "install", f"DESTDIR={tmp_path}", "PREFIX=/usr"], cwd=REPOSITORY, check=True,
                   capture_output=True)
    names = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    assert {"usr/sbin/mailtwin", "usr/sbin/mailtwin-replicatord", "usr/lib/sysusers.d/mailtwin.conf",
            "usr/lib/systemd/system/mailtwin-replicatord.service", "usr/share/man/man8/mailtwin-replicatord.8",
            "usr/share/man/man5/mailtwin.conf.5", "usr/share/doc/mailtwin/runbooks/disk-full.md",
            "usr/share/bash-completion/completions/mailtwin"} <= names
    assert all(name.startswith("usr/") for name in names)
    unit = (tmp_path / "usr/lib/systemd/system/mailtwin-replicatord.service").read_text()
    assert "ExecStart=/usr/sbin/mailtwin-replicatord" in unit


def test_accidental_delete_brings_back_a_mail_a_folder_and_a_user(pair, page):
    """Each step on its own damage."""
    primary = pair["mx1"]
    kept = deliver(pair, "mx1", 6)
    with pair.imap("mx1", ANN) as client:
        client.do("create", '"Projects"')
        client.select()
        client.uid("MOVE", client.uids()[:3], '"Projects"')
        client.view()
    pair.level(primary)

    def damage(case):
        with pair.imap("mx1", ANN) as client:
            client.select()
            if case == "folder":
                client.do("delete", '"Projects"')
            elif case == "mail":
                client.uid("STORE", client.uids()[:1], "+FLAGS", "(\\Deleted)")
                client.do("expunge")
        if case == "user":
            primary.run("rm", "-rf", f"{primary.mail}/example.org/ann")
        pair.level(primary)
    for case in ("mail", "folder", "user"):
        damage(case)
        assert mail.missing(kept, primary.path(primary.mail)) != []
        page(pair, "runbooks/accidental-delete.md").play({case})
        assert mail.missing(kept, primary.path(primary.mail)) == []
    is_pair(pair, "mx1", "mx2")


def test_lost_mail_claim_finds_what_was_deleted_and_gives_it_back(pair, page):
    kept = deliver(pair, "mx1", 2)
    pair.level(pair["mx1"])
    with pair.imap("mx1", ANN) as client:
        client.select()
        client.uid("STORE", client.uids()[:1], "+FLAGS", "(\\Deleted)")
        client.do("expunge")
    pair.level(pair["mx1"])
    assert len(mail.missing(kept, pair["mx1"].path(pair["mx1"].mail))) == 1
    page(pair, "runbooks/lost-mail-claim.md").play({"deleted"})
    assert mail.missing(kept, pair["mx1"].path(pair["mx1"].mail)) == []


@pytest.mark.parametrize("case, blocks", [("meant", 3), ("mistake", 3)])
def test_ransomware_is_released_or_discarded(guarded, page, case, blocks):
    primary, standby = guarded["mx1"], guarded["mx2"]
    kept = deliver(guarded, "mx1", 300)
    guarded.level(primary)
    primary.run("sh", "-c", f"find {primary.mail} -type f -path '*/new/*' -exec sh -c 'for f; do rm -f $f; done' sh {{}} +")
    wait_until(lambda: standby.daemon.status()["mass_change"] is not None, 30, "the guard closes")
    assert page(guarded, "runbooks/ransomware.md").play({case}) == blocks
    guarded.level(primary)
    assert (mail.missing(kept, primary.path(primary.mail)) == []) == (case == "mistake")
    is_pair(guarded, "mx1", "mx2")


def what_a_client_knows(lab, name):
    """Of all of Ann's folders: UIDVALIDITY, UIDs, flags, bytes; and what she subscribed to."""
    with lab.imap(name, ANN) as client:
        subscribed = sorted(client.do("lsub"))
        return client.view(), {folder: client.bytes(folder) for folder in client.folders()}, subscribed


def test_after_an_attack_clients_find_all_as_it_was(guarded, page):
    """All files of the mailboxes are encrypted in two passes, control files first, in their places and under
    new names."""
    primary, standby = guarded["mx1"], guarded["mx2"]
    deliver(guarded, "mx1", 250)
    with guarded.imap("mx1", ANN) as client:
        client.do("create", '"Projects"')
        client.do("subscribe", '"Projects"')
        client.select()
        uids = client.uids()
        client.uid("MOVE", uids[:40], '"Projects"')
        client.uid("STORE", uids[40:60], "+FLAGS", "(\\Seen $Work)")
        client.uid("STORE", uids[60:70], "+FLAGS", "(\\Flagged Later)")
    deliver(guarded, "mx1", 10)  # in new, and in no list yet
    sieve = f"{primary.mail}/example.org/ann/.dovecot.sieve"
    primary.path(sieve).write_text("keep;\n")
    guarded.level(primary)
    known = what_a_client_knows(guarded, "mx1")
    guarded.level(primary)
    first = attack.begin(primary)
    guarded.level(primary)
    for file in first:  # somebody sees them, and flags them
        file.rename(file.with_name(file.name + "F"))
    guarded.level(primary)
    attack.encrypt(primary)
    wait_until(lambda: standby.daemon.status()["mass_change"] is not None, 30, "the guard closes")

    def machine_goes_off(_line, _node, script):
        if "promote" in script:
            primary.halt()
    assert page(guarded, "runbooks/ransomware.md").play({"attack"}, machine_goes_off) == 6
    assert what_a_client_knows(guarded, "mx2") == known
    assert standby.path(sieve).read_text() == "keep;\n"
    assert [one for one in attack.files(standby) if one.name.endswith(attack.SUFFIX)] == []
