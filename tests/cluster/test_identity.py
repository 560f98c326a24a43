"""What clients know of their folders stays true when another node takes over: UIDs, UIDVALIDITY, UIDLs,
modification sequences, quotas."""

import re

import pytest
from lab import wait_until
from lab.imap import pop3_uidls
from lab.load import ANN, BOB

COMPLAINTS = ("Broken", "reappeared", "Corrupted", "Duplicate", "next_uid was lowered", "rror:")


def promoted(old, new):
    """All of the old primary dies at once; the standby takes over with its own Dovecot."""
    old.halt()
    new.mailtwin("promote", "--force")
    new.daemon.wait_role("primary")
    new.dovecot.start()


def deliver(lab, name, user, count):
    with lab.lmtp(name) as lmtp:
        return [lmtp.deliver(user) for _ in range(count)]


def has_no_complaints(host):
    log = host.log_text("dovecot.log")
    assert not [line for line in log.splitlines() if any(word in line for word in COMPLAINTS)]


def number(name, lines):
    found = re.search(rf"{name} (\d+)", " ".join(lines))
    assert found, lines
    return int(found.group(1))


class Raw:
    """IMAP as it is said on the wire: what imaplib keeps to itself counts here."""

    def __init__(self, client):
        self.imap = client.imap

    def say(self, command):
        """All lines up to the tagged one."""
        tag = self.imap._new_tag()
        self.imap.send(tag + b" " + command.encode() + b"\r\n")
        lines = []
        while not lines or not lines[-1].startswith(tag.decode()):
            lines.append(self.imap.readline().decode().rstrip())
        assert f"{tag.decode()} OK" in lines[-1], lines
        return lines


def resynced(client, folder, validity, modseq):
    """What a client hears that comes back with what it knew."""
    raw = Raw(client)
    raw.say("ENABLE QRESYNC")
    return raw.say(f'SELECT "{folder}" (QRESYNC ({validity} {modseq}))')


def test_no_uid_that_only_the_dead_primary_gave_is_given_again(pair):
    old, new = pair["mx1"], pair["mx2"]
    deliver(pair, "mx1", ANN, 5)
    with pair.imap("mx1", ANN) as client:
        client.do("create", "Kept")
        client.select()
        client.uid("COPY", client.uids()[:2], "Kept")
    pair.level(old)
    pair.network.cut(old, new)
    deliver(pair, "mx1", ANN, 3)  # they never reach the standby, but the client has seen them
    with pair.imap("mx1", ANN) as client:
        known = client.view()
    uidls = pop3_uidls(old, ANN)
    promoted(old, new)
    deliver(pair, "mx2", ANN, 4)
    with pair.imap("mx2", ANN) as client:
        client.select()
        client.uid("COPY", client.uids()[:1], "Kept")
        now = client.view()
    for folder, (validity, mails) in known.items():
        assert now[folder][0] == validity, folder
        again = {uid: row for uid, row in now[folder][1].items() if uid in mails}
        assert all(row[0] == mails[uid][0] for uid, row in again.items()), folder
        fresh = set(now[folder][1]) - set(mails)
        assert fresh and min(fresh) > max(mails) + 1000, folder
    later = pop3_uidls(new, ANN)
    assert later[:5] == uidls[:5] and not set(later[5:]) & set(uidls)
    has_no_complaints(new)


def test_a_planned_change_of_roles_leaves_no_gap(pair):
    old, new = pair["mx1"], pair["mx2"]
    deliver(pair, "mx1", ANN, 3)
    with pair.imap("mx1", ANN) as client:
        client.select()
    old.dovecot.stop()
    pair.level(old)
    old.mailtwin("demote")
    new.mailtwin("promote")
    new.daemon.wait_role("primary")
    new.dovecot.start()
    deliver(pair, "mx2", ANN, 1)
    with pair.imap("mx2", ANN) as client:
        client.select()
        assert client.uids() == [1, 2, 3, 4]
    (done,) = new.daemon.events("IDENTITY")
    assert "gap=0 " in done and "failed=0" in done
    has_no_complaints(new)


def prepare(pair, node):
    """What the node writes beforehand is written, and was looked at since the last change."""
    told = len(node.daemon.events("PREPARED"))
    node.daemon.restart()
    pair.level(pair["mx1"])
    wait_until(lambda: len(node.daemon.events("PREPARED")) > told, 60, f"{node.name} prepares itself", every=0.1)


@pytest.mark.parametrize("planned, prepared", [(True, False), (False, False), (False, True)],
                         ids=["switchover", "failover", "failover_prepared"])
def test_a_client_with_qresync_misses_no_change(pair, planned, prepared):
    old, new = pair["mx1"], pair["mx2"]
    deliver(pair, "mx1", ANN, 6)
    with pair.imap("mx1", ANN) as client:
        raw = Raw(client)
        raw.say("ENABLE QRESYNC")
        raw.say("SELECT INBOX")
        for turn in range(20):  # the sequence of the old primary is far above that of a new index
            raw.say(f"UID STORE 1 {'+-'[turn % 2]}FLAGS (\\Flagged)")
        known = raw.say("STATUS INBOX (HIGHESTMODSEQ UIDVALIDITY)")
    modseq, validity = number("HIGHESTMODSEQ", known), number("UIDVALIDITY", known)
    old.dovecot.stop()
    pair.level(old)
    if prepared:
        prepare(pair, new)
    if planned:
        old.mailtwin("demote")
        new.mailtwin("promote")
        new.daemon.wait_role("primary")
        new.dovecot.start()
    else:
        promoted(old, new)
    with pair.imap("mx2", ANN) as other:  # of another client, while the first is away
        other.select()
        other.uid("STORE", [3], "+FLAGS", "(\\Seen)")
        other.uid("STORE", [5], "+FLAGS", "(\\Deleted)")
        other.do("expunge")
    with pair.imap("mx2", ANN) as client:
        heard = resynced(client, "INBOX", validity, modseq)
    (done,) = new.daemon.events("IDENTITY")
    assert not prepared or "prepared=0 " not in done, done
    assert number("HIGHESTMODSEQ", heard) > modseq
    assert [line for line in heard if "UID 3 " in line and "\\Seen" in line], heard
    (gone,) = [line for line in heard if "VANISHED (EARLIER)" in line]
    assert re.search(r"EARLIER\) (.*,)?5(,|:|$)", gone), gone
    has_no_complaints(new)


def test_the_sequence_goes_on_rising_on_the_way_there_and_back(pair):
    one, other = pair["mx1"], pair["mx2"]
    deliver(pair, "mx1", ANN, 2)
    before = 0
    for old, new in ((None, one), (one, other), (other, one)):
        if old is not None:
            old.dovecot.stop()
            pair.level(old)
            old.mailtwin("demote")
            new.mailtwin("promote")
            new.daemon.wait_role("primary")
            new.dovecot.start()
            new.daemon.wait_peer(old.name, "connected")
        with pair.imap(new.name, ANN) as client:
            raw = Raw(client)
            raw.say("ENABLE QRESYNC")
            raw.say("SELECT INBOX")
            raw.say("UID STORE 1 +FLAGS (\\Seen)")
            raw.say("UID STORE 1 -FLAGS (\\Seen)")
            now = number("HIGHESTMODSEQ", raw.say("STATUS INBOX (HIGHESTMODSEQ)"))
        assert now > before
        before = now
        has_no_complaints(new)


def validity_of(client, folder):
    return number("UIDVALIDITY", Raw(client).say(f'STATUS "{folder}" (UIDVALIDITY)'))


def test_a_folder_made_in_what_was_lost_and_made_again_is_another_one(pair):
    old, new = pair["mx1"], pair["mx2"]
    with pair.imap("mx1", ANN) as client:
        client.do("create", "Old")
        validity_of(client, "Old")
    pair.level(old)
    pair.network.cut(old, new)
    with pair.imap("mx1", ANN) as client:
        client.do("delete", "Old")
        for folder in ("Fresh", "Old"):
            client.do("create", folder)
        lost = {folder: validity_of(client, folder) for folder in ("Fresh", "Old")}
    promoted(old, new)
    with pair.imap("mx2", ANN) as client:
        assert validity_of(client, "Old") != lost["Old"]  # the one from before is there
        client.do("delete", "Old")
        for folder in ("Old", "Fresh"):
            client.do("create", folder)
        now = {folder: validity_of(client, folder) for folder in ("Fresh", "Old")}
    assert not set(now.values()) & set(lost.values())
    assert min(now.values()) > max(lost.values())
    has_no_complaints(new)


def test_folders_are_told_apart_by_their_guid_and_not_by_their_name(pair):
    old, new = pair["mx1"], pair["mx2"]
    deliver(pair, "mx1", ANN, 2)
    with pair.imap("mx1", ANN) as client:
        client.do("create", "Work")
        client.select()
        client.uid("COPY", client.uids(), "Work")
    pair.level(old)
    home = "example.org/ann"
    was = (new.path(new.mail) / home / ".Work" / "cur").stat().st_ino
    with pair.imap("mx1", ANN) as client:
        client.do("rename", "Work", "Done")
        client.do("create", "Work")
        client.select()
        client.uid("COPY", client.uids()[:1], "Work")
        client.do("create", "Gone")
        client.do("delete", "Gone")
        client.do("create", "Gone")
        known = client.view()
    pair.level(old)
    pair.same(old)
    assert (new.path(new.mail) / home / ".Done" / "cur").stat().st_ino == was  # it moved, nothing was made anew
    guids = {folder: guid_of(new, home, folder) for folder in ("Work", "Done", "Gone")}
    assert len(set(guids.values())) == 3
    promoted(old, new)
    with pair.imap("mx2", ANN) as client:
        assert client.view() == known
    assert guids == {folder: guid_of(new, home, folder) for folder in ("Work", "Done", "Gone")}
    has_no_complaints(new)


def guid_of(host, home, folder):
    text = (host.path(host.mail) / home / f".{folder}" / "dovecot-uidlist").read_text()
    return re.search(r"^3 .*\bG([0-9a-f]{32})", text).group(1)


def test_the_quota_is_counted_anew(pair):
    one, other = pair["mx1"], pair["mx2"]
    quota = "plugin {\n  quota_rule = *:storage=10M\n}\n"
    one.dovecot.stop()
    one.dovecot.start(quota)
    deliver(pair, "mx1", BOB, 4)
    usage = lambda host: re.search(r"STORAGE\s+(\d+).*MESSAGE\s+(\d+)", " ".join(
        host.dovecot.doveadm("quota", "get", "-u", BOB).stdout.split())).groups()
    assert usage(one)[1] == "4"
    one.dovecot.stop()
    pair.level(one)
    promoted(one, other)
    other.dovecot.stop()
    other.dovecot.start(quota)
    deliver(pair, "mx2", BOB, 3)
    assert usage(other)[1] == "7"
    other.dovecot.stop()
    one.boot()
    one.daemon.start()
    other.daemon.wait_peer("mx1", "connected")
    pair.level(other)
    other.mailtwin("demote")
    one.mailtwin("promote")
    one.daemon.wait_role("primary")
    one.dovecot.start(quota)  # its own maildirsize said 4
    assert usage(one)[1] == "7"
