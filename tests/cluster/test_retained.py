"""What was deleted on the primary is found on the standby and comes back; a mass change pauses the standby."""

import json
import time

import pytest

from lab import attack, mail
from lab.load import ANN, BOB
from lab.wait import wait_until


def found(host, *filters):
    """The retained objects that fit, as mailtwin retained list tells them."""
    return json.loads(host.mailtwin("retained", "list", "--json", *filters).stdout)["objects"]


def restore(host, *filters):
    return json.loads(host.mailtwin("retained", "restore", "--yes", "--json", *filters).stdout)


def deliver(lab, user, count, level=True):
    """Mails that the standby has: one that came and went between two shipments never was there to be kept."""
    with lab.lmtp("mx1") as lmtp:
        mails = [lmtp.deliver(user) for _ in range(count)]
    if level:
        lab.level(lab["mx1"])
    return mails


def expunge(lab, user, uids, folder="INBOX"):
    with lab.imap("mx1", user) as client:
        client.select(folder)
        client.uid("STORE", uids, "+FLAGS", "(\\Deleted)")
        client.do("expunge")


def test_an_expunged_mail_is_found_by_its_subject_and_comes_back_once(pair):
    primary, standby = pair["mx1"], pair["mx2"]
    mails = deliver(pair, ANN, 5)
    with pair.imap("mx1", ANN) as client:
        client.select()
        uids = client.uids()
        client.uid("STORE", uids[:1], "+FLAGS", "(\\Seen \\Flagged)")
        known = client.identity()[1]
    expunge(pair, ANN, uids[1:2])
    pair.level(primary)
    ident = mails[1].ident
    [row] = found(standby, "--user", ANN, "--since", "1h", "--message-id", ident)
    assert row["why"] == "deleted" and row["from"] == "sender@lab.invalid" and row["folder"] == ""
    number = ident.split("-")[-1].split("@")[0]
    assert [one["id"] for one in found(standby, "--subject", f"MESSAGE {number}")] == [row["id"]]
    assert found(primary) == []
    assert "Nothing has been changed" in standby.mailtwin("retained", "restore", row["id"], "--plan").stdout
    assert restore(standby, row["id"], "--reason", "Ann wants it back")["restored"] == 1
    assert restore(standby, row["id"])["restored"] == 0
    trail = [json.loads(line) for line in standby.mailtwin("audit", "--json").stdout.splitlines()]
    [asked, _] = [one for one in trail if one["event"] == "CONTROL" and one["order"] == "retained-give"]
    assert (asked["reason"], asked["by"], asked["objects"]) == ("Ann wants it back", "root", "1")
    assert [one["created"] for one in trail if one["event"] == "ORDER_END"] == ["1", "0"]
    with pair.imap("mx1", ANN) as client:
        now = client.identity()[1]
    back = [uid for uid, (one, _) in now.items() if one == ident]
    assert len(back) == 1 and back[0] > max(known) and len(now) == 5
    pair.level(primary)
    pair.same(primary)


def test_a_deleted_folder_comes_back_with_its_uids(pair):
    primary, standby = pair["mx1"], pair["mx2"]
    deliver(pair, ANN, 12)
    with pair.imap("mx1", ANN) as client:
        client.do("create", '"Projects"')
        client.select()
        uids = client.uids()
        client.uid("COPY", uids[:8], '"Projects"')
        client.select("Projects")
        client.uid("STORE", client.uids()[:3], "+FLAGS", "(\\Seen \\Answered)")
        client.uid("STORE", client.uids()[3:4], "+FLAGS", "(\\Deleted)")  # a gap in the UIDs
        client.do("expunge")
        client.select()
        client.uid("STORE", uids, "+FLAGS", "(\\Deleted)")  # the folder has the only copies
        client.do("expunge")
        known = client.identity("Projects")
        pair.level(primary)  # what was gone again before the standby heard of it, it cannot keep
        client.select()
        client.do("delete", '"Projects"')
    pair.level(primary)
    rows = found(standby, "--user", ANN, "--folder", "Projects")
    assert all(row["folder"] == "Projects" and "TRASHED" not in row["path"] for row in rows)
    assert not [row for row in found(standby) if "TRASHED" in row["path"]]
    standby.daemon.restart()
    primary.daemon.wait_peer("mx2", "connected")
    result = restore(standby, "--user", ANN, "--folder", "Projects", "--since", "1h")
    assert result["restored"] >= 7 and result["failed"] == 0 and result["refused"] == 0, (result, rows)
    with pair.imap("mx1", ANN) as client:
        validity, mails = client.identity("Projects")
        assert validity == known[0]
        assert {uid: mails.get(uid) for uid in known[1]} == known[1]
    pair.level(primary)
    pair.same(primary)


def remove_mailbox(host, user):
    name, domain = user.split("@")
    home = f"{host.mail}/{domain}/{name}"
    assert host.path(home).is_dir(), sorted(host.path(host.mail).rglob("*"))
    host.run("rm", "-rf", home)


def test_an_rm_of_a_mailbox_is_undone(pair):
    primary, standby = pair["mx1"], pair["mx2"]
    kept = deliver(pair, BOB, 20)
    with pair.imap("mx1", BOB) as client:
        client.do("create", '"Old"')
        client.select()
        client.uid("MOVE", client.uids()[:5], '"Old"')
        client.view()
    pair.level(primary)
    remove_mailbox(primary, BOB)
    pair.level(primary)
    begun = time.monotonic()
    assert restore(standby, "--user", BOB)["restored"] >= 20
    assert time.monotonic() - begun < 60
    assert mail.missing(kept, primary.path(primary.mail)) == []
    with pair.imap("mx1", BOB) as client:
        assert len(client.identity()[1]) == 15 and len(client.identity("Old")[1]) == 5


def paused(host):
    return host.daemon.status()["mass_change"] is not None


def is_spoilt(file):
    """A file that a promotion has to raise, and nobody can read."""
    text = file.read_bytes()
    return {"dovecot-uidlist": not text.startswith(b"3 V"), "dovecot-uidvalidity": len(text) > 64}.get(file.name, False)


def test_ransomware_closes_the_guard_and_the_standby_keeps_the_originals(guarded, monkeypatch):
    monkeypatch.setattr(attack, "SUFFIX", ".verschlüsselt")
    primary, standby = guarded["mx1"], guarded["mx2"]
    kept = deliver(guarded, ANN, 400) + deliver(guarded, BOB, 200)
    guarded.level(primary)
    attack.encrypt(primary)
    wait_until(lambda: paused(standby), 30, "the guard closes")
    status = standby.daemon.status()
    assert status["mass_change"]["state"] == "closed" and status["stores"][0]["state"] == "paused"
    assert "retained release" in status["mass_change"]["why"]
    wait_until(lambda: "event=MASS_CHANGE " in standby.daemon.log(20000), 10, "the event is told")
    primary.daemon.wait_status(lambda now: now["state"] == "degraded", 30, "the primary is degraded")
    # over a restart, too
    standby.daemon.restart()
    primary.daemon.wait_status(lambda now: now["state"] == "degraded", 30, "the primary is degraded")
    assert paused(standby)
    lost = mail.missing(kept, standby.path(standby.mail))
    assert len(lost) <= len(kept) * 0.21
    retained = {row["message_id"].strip("<>") for row in found(standby) if "message_id" in row}
    assert {one.ident for one in lost} <= retained
    # the way back: the standby has what is good
    primary.halt()
    spoilt = any(is_spoilt(file) for file in attack.files(standby))  # some came before the guard closed
    promoted = standby.mailtwin("promote", "--force", check=False)
    assert (promoted.returncode, "IDENTITY_STUCK" in promoted.stderr) == ((4, True) if spoilt else (0, False))
    standby.daemon.wait_role("primary")
    assert not paused(standby)
    result = restore(standby, "--since", "1h", "--replace", "--suffix", attack.SUFFIX)
    assert (result["failed"], result["refused"], result["not_put_back"]) == (0, 0, [])
    assert mail.missing(kept, standby.path(standby.mail)) == []


def test_what_is_released_goes_on_and_what_is_discarded_comes_back(guarded):
    primary, standby = guarded["mx1"], guarded["mx2"]
    kept = deliver(guarded, ANN, 300)
    guarded.level(primary)
    for turn in ("release", "discard"):
        with guarded.imap("mx1", ANN) as client:
            client.select()
            uids = client.uids()
        expunge(guarded, ANN, uids[:150] if turn == "release" else uids)
        wait_until(lambda: paused(standby), 30, "the guard closes")
        fresh = deliver(guarded, BOB, 1, level=False)
        standby.mailtwin("retained", turn, "--yes")
        wait_until(lambda: not paused(standby), 10, "it goes on")
        guarded.level(primary)
        assert mail.missing(fresh, standby.path(standby.mail)) == []
        if turn == "release":
            assert len(mail.missing(kept, standby.path(standby.mail))) == 150
    assert len(mail.missing(kept, primary.path(primary.mail))) <= 150
    guarded.level(primary)
    guarded.same(primary)
    refused = standby.mailtwin("retained", "release", "--yes", check=False)
    assert refused.returncode == 3 and "not paused" in refused.stderr


def encrypt_list(lab):
    """What attackers do to INBOX's list of UIDs, before anybody looks at it."""
    primary = lab["mx1"]
    path = primary.path(primary.mail) / "example.org/ann/dovecot-uidlist"
    with open(path, "r+b") as file:
        file.write(b"\xd1\x07" * 200)
    lab.level(primary)
    return path


def test_an_encrypted_list_comes_back_under_a_running_mail_server_or_is_named(pair):
    primary, standby = pair["mx1"], pair["mx2"]
    deliver(pair, ANN, 5)
    with pair.imap("mx1", ANN) as client:
        known = client.identity()
        pair.level(primary)
        encrypt_list(pair)
        assert restore(standby, "--user", ANN, "--since", "1h")["not_put_back"] == []
        assert client.identity() == known  # this process has read the folder before
    deliver(pair, ANN, 1)
    with pair.imap("mx1", ANN) as client:
        validity, mails = client.identity()
    assert validity == known[0] and {uid: mails.get(uid) for uid in known[1]} == known[1]
    assert len(mails) == 6 and max(mails) > max(known[1]) + 1000  # what was given out since is passed over
    pair.level(primary)
    # too late: the server has begun a new one
    path = encrypt_list(pair)
    for file in path.parent.glob("dovecot.*"):  # nor an index that would know the UIDVALIDITY
        file.unlink()
    with pair.imap("mx1", ANN) as client:
        assert client.identity()[0] != validity
    pair.level(primary)
    done = standby.mailtwin("retained", "restore", "--user", ANN, "--since", "1h", "--replace", "--yes", check=False)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "not put back: example.org/ann/dovecot-uidlist: the mail server has begun a new list" in done.stdout
    pair.level(primary)
    pair.same(primary)


def test_files_that_are_emptied_close_the_guard_and_come_back_with_their_identity(guarded):
    """Messages and all control files truncated where they stand; the administrator's mistake is taken back."""
    primary, standby = guarded["mx1"], guarded["mx2"]
    deliver(guarded, ANN, 250)
    with guarded.imap("mx1", ANN) as client:
        client.select()
        client.uid("STORE", client.uids()[:3], "+FLAGS", "(\\Seen $Work)")
        client.do("subscribe", "INBOX")
        known, content = client.view(), client.bytes()
    guarded.level(primary)
    primary.dovecot.stop()
    attack.empty(primary, ANN)
    wait_until(lambda: paused(standby), 30, "the guard closes")
    result = json.loads(standby.mailtwin("retained", "discard", "--yes", "--json").stdout)
    assert (result["failed"], result["refused"], result["not_put_back"]) == (0, 0, [])
    primary.dovecot.start()
    with guarded.imap("mx1", ANN) as client:
        assert client.view() == known and client.bytes() == content
        assert client.do("lsub") != [None]
    guarded.level(primary)
    guarded.same(primary)


@pytest.mark.parametrize("act", ["flags", "moves", "copies"])
def test_normal_life_does_not_close_the_guard(guarded, act):
    primary, standby = guarded["mx1"], guarded["mx2"]
    deliver(guarded, ANN, 250)
    with guarded.imap("mx1", ANN) as client:
        client.do("create", '"Other"')
        client.select()
        uids = client.uids()
        if act == "flags":
            client.uid("STORE", uids, "+FLAGS", "(\\Seen)")
            client.uid("STORE", uids, "-FLAGS", "(\\Seen)")
        elif act == "moves":
            client.uid("MOVE", uids, '"Other"')
        else:
            client.uid("COPY", uids, '"Other"')
            client.uid("STORE", uids, "+FLAGS", "(\\Deleted)")
            client.do("expunge")
    guarded.level(primary)
    assert not paused(standby)
    assert [row for row in found(standby) if row["why"] == "deleted" and "message_id" in row] == []
