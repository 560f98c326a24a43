"""What a primary that was replaced has alone comes back: once, marked, and nothing else changes."""

import json
import os

import pytest
from lab import mail
from lab.load import ANN, BOB
from lab.wait import wait_until

MARK = "$Salvaged"


def counts(host):
    return host.daemon.status()["salvage"]


def listed(host, *arguments):
    return json.loads(host.mailtwin("salvage", "list", "--json", *arguments).stdout)


def final(host, epoch):
    said = json.loads(host.mailtwin("loss", "show", str(epoch), "--json").stdout)
    return said if said["state"] == "final" else None


def isolate(lab, old, new):
    """From now on what the primary takes reaches nobody."""
    lab.level(old)
    lab.network.cut(old, new)


def replace(lab, old, new):
    """The primary is gone; the standby takes over and is used."""
    old.halt()
    new.mailtwin("promote", "--force")
    new.daemon.wait_role("primary")
    new.dovecot.start()


def come_back(lab, old, new):
    old.boot()
    lab.network.heal(old, new)
    old.daemon.start()


def wait_salvaged(lab, old, new, within=60):
    old.daemon.wait_role("standby", within)
    new.daemon.wait_peer(old.name, "connected", within)
    old.daemon.wait_status(lambda status: status["salvage"]["waiting"] == 0, within, "all is delivered")
    lab.level(new)


def view(lab, host, user):
    with lab.imap(host.name, user) as client:
        return client.view()


def by_ident(seen):
    """{Message-ID: [(folder, uid, flags)]}"""
    found = {}
    for folder, (_, mails) in seen.items():
        for uid, (ident, flags) in mails.items():
            found.setdefault(ident, []).append((folder, uid, flags))
    return found


def first_mails(lab):
    with lab.lmtp("mx1") as lmtp:
        return [lmtp.deliver(ANN) for _ in range(8)]


def alone(lab):
    """On the isolated primary: mail to two users, flags, an expunge, a folder, a script."""
    with lab.lmtp("mx1") as lmtp:
        fresh = [lmtp.deliver(user) for user in (ANN, BOB, ANN, ANN)]
    with lab.imap("mx1", ANN) as client:
        client.select()
        uids = client.uids()
        client.uid("STORE", uids[:1], "+FLAGS", "(\\Flagged Mine)")
        client.uid("STORE", uids[-1:], "+FLAGS", "(\\Seen Later)")
        client.do("create", '"Own"')
        client.uid("COPY", uids[1:2], '"Own"')
        client.uid("STORE", uids[2:3], "+FLAGS", "(\\Deleted)")
        client.do("expunge")
    (lab["mx1"].path(lab["mx1"].files) / "script").write_text("keep")
    os.setxattr(lab["mx1"].path(lab["mx1"].files) / "script", "user.author", b"ann")
    lab["mx1"].mailtwin("barrier", "--timeout", "1s", check=False)  # all of it is in the journal; nobody else has it
    lab["mx1"].sync()
    return fresh


def used_meanwhile(lab):
    with lab.lmtp("mx2") as lmtp:
        fresh = [lmtp.deliver(user) for user in (ANN, BOB)]
    with lab.imap("mx2", ANN) as client:
        client.select()
        client.uid("STORE", client.uids()[3:5], "+FLAGS", "(\\Seen)")
    return fresh


def check_view(before, after, fresh):
    """Each known mail has its UID, each of the old primary's is there once, marked."""
    for folder, (validity, mails) in before.items():
        assert after[folder][0] == validity
        for uid, (ident, _) in mails.items():
            assert after[folder][1][uid][0] == ident
    found = by_ident(after)
    for one in fresh:
        (folder, uid, flags), = found[one.ident]
        assert folder == "INBOX" and MARK in flags
        assert uid > max(before["INBOX"][1], default=0)
    return found


def test_what_a_replaced_primary_had_alone_is_delivered_and_the_rest_is_listed(pair):
    old, new = pair["mx1"], pair["mx2"]
    known = first_mails(pair)
    isolate(pair, old, new)
    fresh = alone(pair)
    replace(pair, old, new)
    meanwhile = used_meanwhile(pair)
    before = {user: view(pair, new, user) for user in (ANN, BOB)}
    come_back(pair, old, new)
    wait_salvaged(pair, old, new)
    after = {user: view(pair, new, user) for user in (ANN, BOB)}
    found = check_view(before[ANN], after[ANN], [one for one in fresh if one.user == ANN])
    check_view(before[BOB], after[BOB], [one for one in fresh if one.user == BOB])
    assert any("Later" in flags for _, _, flags in found[fresh[-1].ident])
    assert [folder for folder, _, _ in found[known[1].ident]] .count("Own") == 1
    assert (new.path(new.files) / "script").read_text() == "keep"
    assert os.getxattr(new.path(new.files) / "script", "user.author") == b"ann"
    kinds = sorted(item["kind"] for item in listed(old)["items"])
    assert kinds == ["expunge", "flags"]
    epoch = new.daemon.status()["epoch"]
    said = wait_until(lambda: final(new, epoch), 20, "the loss statement is final")
    assert said["found"]["messages"] == 5 and said["found"]["expunges"] == said["found"]["flag_changes"] == 1
    folders = {(one["user"], one["folder"]): one for one in said["found"]["folders"] if one["store"] == "mail"}
    assert {place: (one["messages"], one["flag_changes"], one["expunges"]) for place, one in folders.items()} == {
        ("example.org/ann", ""): (3, 1, 1), ("example.org/bob", ""): (1, 0, 0), ("example.org/ann", "Own"): (1, 0, 0)}
    assert folders["example.org/ann", "Own"]["others"] == 1  # it was made there
    assert sum(one["others"] for one in said["found"]["folders"]) == said["found"]["others"]
    text = new.mailtwin("loss", "show", str(epoch)).stdout
    assert "  3 messages, 1 change of flags, 1 expunge in mail example.org/ann INBOX\n" in text
    assert "  1 other change in files\n" in text
    assert mail.missing(known + fresh + meanwhile, new.path(new.mail)) == []
    pair.same(new)


def test_a_folder_renamed_meanwhile_gets_the_mail_under_its_new_name(pair):
    old, new = pair["mx1"], pair["mx2"]
    with pair.imap("mx1", ANN) as client:
        client.do("create", '"Work"')
        client.do("create", '"Gone"')
        for folder in ("Work", "Gone"):
            client.do("append", f'"{folder}"', None, None, b"Message-ID: <first@%s>\r\n\r\nx\r\n" % folder.encode())
            client.select(folder)
    isolate(pair, old, new)
    with pair.imap("mx1", ANN) as client:
        for folder in ("Work", "Gone"):
            client.do("append", f'"{folder}"', "(\\Answered)", None, b"Message-ID: <alone@%s>\r\n\r\nx\r\n" % folder.encode())
            client.select(folder)
    replace(pair, old, new)
    with pair.imap("mx2", ANN) as client:
        client.do("rename", '"Work"', '"Job"')
        client.do("delete", '"Gone"')
    come_back(pair, old, new)
    wait_salvaged(pair, old, new)
    found = by_ident(view(pair, new, ANN))
    (folder, _, flags), = found["alone@Work"]
    assert folder == "Job" and {MARK, "\\Answered"} <= flags
    (folder, _, flags), = found["alone@Gone"]
    assert folder == "Gone" and MARK in flags
    pair.same(new)


def test_what_is_listed_is_applied_or_dropped_by_command(pair):
    old, new = pair["mx1"], pair["mx2"]
    known = first_mails(pair)
    script = old.path(old.files) / "script"
    script.write_text("before")
    isolate(pair, old, new)
    alone(pair)
    replace(pair, old, new)
    (new.path(new.files) / "script").write_text("of mx2")
    come_back(pair, old, new)
    wait_salvaged(pair, old, new)
    items = {item["kind"]: item for item in listed(old)["items"]}
    assert sorted(items) == ["expunge", "file", "flags"]
    assert (new.path(new.files) / "script").read_text() == "of mx2"
    assert old.mailtwin("salvage", "apply", items["flags"]["id"], check=False).returncode == 3
    old.mailtwin("salvage", "apply", items["flags"]["id"], "--plan")
    assert listed(old)["counts"]["listed"] == 3
    for kind in ("flags", "file", "expunge"):
        old.mailtwin("salvage", "apply", items[kind]["id"], "--yes")
    found = by_ident(view(pair, new, ANN))
    (_, _, flags), = found[known[0].ident]
    assert {"\\Flagged", "Mine"} <= flags
    assert known[2].ident not in found
    assert (new.path(new.files) / "script").read_text() == "keep"
    assert os.getxattr(new.path(new.files) / "script", "user.author") == b"ann"
    assert listed(old)["items"] == []
    old.mailtwin("salvage", "drop", items["file"]["id"].partition("/")[0], "--yes")
    assert listed(old, "--all")["items"] == []
    pair.level(new)
    pair.same(new)


def test_a_list_that_does_not_fit_into_one_answer_is_shown_whole(pair):
    old, new = pair["mx1"], pair["mx2"]
    first_mails(pair)
    isolate(pair, old, new)
    names = [f"file{number:04}" for number in range(1100)]
    for name in names:
        (old.path(old.files) / name).write_text(name)
    old.mailtwin("barrier", "--timeout", "1s", check=False)  # all of it is in the journal; nobody else has it
    old.sync()
    replace(pair, old, new)
    come_back(pair, old, new)
    wait_salvaged(pair, old, new)
    whole = listed(old, "--all")
    assert whole["more"] == 0 and sorted(item["path"] for item in whole["items"]) == names
    lines = old.mailtwin("salvage", "list", "--all").stdout.splitlines()
    assert [line.split()[-1] for line in lines[:len(names)]] == [item["path"] for item in whole["items"]]


def folders(lab, host):
    with lab.imap(host.name, ANN) as client:
        for folder in ("Work", "Box", "Gone", "Busy"):
            client.do("create", f'"{folder}"')
            for number in range(3):
                text = b"Message-ID: <%d@%s>\r\n\r\nx\r\n" % (number, folder.encode())
                client.do("append", f'"{folder}"', None, None, text)
            client.select(folder)


def folders_changed(lab, host):
    with lab.imap(host.name, ANN) as client:
        client.do("rename", '"Work"', '"Job"')
        client.select("Box")
        client.uid("STORE", client.uids()[:1], "+FLAGS", "(\\Flagged Later)")
        client.uid("MOVE", client.uids()[:1], '"Job"')
        client.do("delete", '"Gone"')
        client.do("delete", '"Busy"')
    host.mailtwin("barrier", "--timeout", "1s", check=False)  # all of it is in the journal; nobody else has it
    host.sync()


def test_a_folder_renamed_or_removed_and_a_mail_moved_alone_are_so_by_command(pair):
    old, new = pair["mx1"], pair["mx2"]
    folders(pair, old)
    before = view(pair, old, ANN)
    isolate(pair, old, new)
    folders_changed(pair, old)
    replace(pair, old, new)
    with pair.imap("mx2", ANN) as client:
        client.do("append", '"Busy"', None, None, b"Message-ID: <new@Busy>\r\n\r\nx\r\n")
    come_back(pair, old, new)
    wait_salvaged(pair, old, new)
    kinds = [item["kind"] for item in listed(old)["items"]]
    assert kinds.count("rename") == 2 and kinds.count("removal") == 2
    assert "Gone" in view(pair, new, ANN) and "Job" not in view(pair, new, ANN)
    with pair.imap("mx2", ANN) as reader:  # has it open meanwhile
        reader.select("Work")
        said = old.mailtwin("salvage", "apply", listed(old)["items"][0]["id"].rpartition("/")[0], "--yes").stdout
    assert "refused: something has come into it since the two nodes parted" in said
    after = view(pair, new, ANN)
    assert "Work" not in after and "Gone" not in after
    assert after["Job"][0] == before["Work"][0]
    known = {uid: ident for uid, (ident, _) in before["Work"][1].items()}
    mails = {uid: ident for uid, (ident, _) in after["Job"][1].items()}
    assert {uid: mails[uid] for uid in known} == known
    (uid,) = set(mails) - set(known)
    assert uid > max(known) and mails[uid] == "0@Box" and {"\\Flagged", "Later"} <= after["Job"][1][uid][1]
    assert sorted(ident for ident, _ in after["Box"][1].values()) == ["1@Box", "2@Box"]
    assert "new@Busy" in [ident for ident, _ in after["Busy"][1].values()]
    (left,) = listed(old)["items"]
    assert left["kind"] == "removal" and left["path"].endswith(".Busy") and left["state"] == "refused"
    old.mailtwin("salvage", "drop", left["id"], "--yes")
    pair.level(new)
    retained = (old.path(old.mail) / ".mailtwin" / "retained").rglob("*,S=*")
    assert {path.read_bytes().partition(b"@Gone>")[0] for path in retained} >= {b"Message-ID: <%d" % n for n in range(3)}
    pair.same(new)


def test_two_returns_in_a_row_bring_each_mail_once_and_the_same_return_twice_adds_nothing(pair):
    one, two = pair["mx1"], pair["mx2"]
    known = first_mails(pair)
    fresh = []
    for old, new in ((one, two), (two, one)):
        isolate(pair, old, new)
        with pair.lmtp(old.name) as lmtp:
            fresh += [lmtp.deliver(ANN) for _ in range(3)]
        replace(pair, old, new)
        come_back(pair, old, new)
        wait_salvaged(pair, old, new)
        before = view(pair, new, ANN)
        old.reboot()
        old.daemon.start()
        wait_salvaged(pair, old, new)
        assert view(pair, new, ANN) == before
    found = by_ident(view(pair, one, ANN))
    assert all(len(found[mail_.ident]) == 1 for mail_ in known + fresh)
    assert all(MARK in found[mail_.ident][0][2] for mail_ in fresh)
    pair.same(one)


@pytest.mark.long
def test_a_crash_of_either_side_at_any_moment_of_a_salvage_costs_nothing_and_doubles_nothing(pair):
    old, new = pair["mx1"], pair["mx2"]
    known = first_mails(pair)
    isolate(pair, old, new)
    with pair.lmtp("mx1") as lmtp:
        fresh = [lmtp.deliver(user) for user in (ANN, BOB) * 150]
    replace(pair, old, new)
    come_back(pair, old, new)

    def came(number):
        return lambda: len(fresh) - len(mail.missing(fresh, new.path(new.mail))) >= number

    def seen(host, event):
        return lambda: host.daemon.events(event)
    for victim, moment in ((old, seen(old, "SALVAGE_BEGIN")), (old, seen(old, "SALVAGE_KEPT")),
                           (new, seen(new, "SYNC_BEGIN")), (old, seen(old, "SYNC_END")), (new, came(1)),
                           (old, came(2)), (new, came(150)), (old, came(299))):
        wait_until(moment, 60, "the moment of the crash", every=0.001)
        victim.daemon.kill9()
        victim.daemon.start()
    wait_salvaged(pair, old, new)
    for user in (ANN, BOB):
        found = by_ident(view(pair, new, user))
        for one in (one for one in known + fresh if one.user == user):
            (_, _, flags), = found[one.ident]
            assert one in known or MARK in flags
    pair.same(new)
