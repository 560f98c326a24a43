"""A directory on both nodes: every change arrives, as it is; what one server cannot take holds up nothing else."""

import json
import re
import threading

import pytest
from lab.slapd import ADMIN, BASE, MAILTWIN, PEOPLE, Directoryd, Slapd, person, store
from lab.space import CommandFailed
from lab.wait import wait_until
from runbook import Page

OVER_LDAPI = {"directory": {"kind": "ldap", "uri": "ldapi://%2frun%2fldapi", "base": BASE}}
STORES = {"mail": {"kind": "maildir", "path": "/srv/store/vmail"}, "directory": store()}


class Pair:
    """mx1 the primary and mx2 its standby, each with a slapd and mailtwin-directoryd."""

    def __init__(self, make_lab, extra=True, keys=None, stores=None, accounts=None):
        stores = stores or {**STORES, "directory": store(**(keys or {}))}
        self.lab = make_lab(["mx1", "mx2"], stores=stores, settings={"directory-user": "nobody"}, state_mb=256)
        self.one, self.other = self.lab["mx1"], self.lab["mx2"]
        accounts = {"mx1": ADMIN, "mx2": ADMIN, **(accounts or {})}
        self.slapd = {"mx1": Slapd(self.one, account=accounts["mx1"]),
                      "mx2": Slapd(self.other, extra=extra, account=accounts["mx2"])}
        self.daemon = {name: Directoryd(self.lab[name]) for name in self.slapd}
        self.lab.start(dovecot=False)
        for name, slapd in self.slapd.items():
            slapd.install()
            slapd.start()
        self.slapd["mx1"].fill()

    def start(self):
        for daemon in self.daemon.values():
            daemon.start()
        self.daemon["mx1"].wait_mode("capture")
        self.level()
        return self

    @property
    def here(self):
        return self.slapd["mx1"]

    @property
    def there(self):
        return self.slapd["mx2"]

    @staticmethod
    def spool(host):
        """The texts of all its files."""
        return [file.read_text() for file in host.path("/srv/state/spool/directory").glob("??/*.entry")]

    def clock(self):
        """Now, as servers write it."""
        return [self.one.run("date", "-u", "+%Y%m%d%H%M%SZ").stdout.strip()]

    def barrier(self):
        self.one.mailtwin("barrier", "--timeout", "20s", "directory", within=30)

    @staticmethod
    def protected(host):
        """A standby follows this primary."""
        host.daemon.wait_status(lambda status: status.get("state") == "protected", 20, "a standby follows")

    def level(self, within=20):
        """Both servers have the same entries, to the last attribute."""
        self.barrier()
        seen = []

        def same():
            seen[:] = [self.here.entries(), self.there.entries()]
            return seen[0] == seen[1]
        wait_until(same, within, lambda: "\n".join(f"{dn}: {seen[0].get(dn)} != {seen[1].get(dn)}" for dn in
                   sorted({*seen[0], *seen[1]}) if seen[0].get(dn) != seen[1].get(dn)) + self.daemon["mx2"].log(),
                   every=0.05)


def acts(host):
    """Both trails of the node, as mailtwin audit shows them."""
    return [json.loads(line) for line in host.mailtwin("audit", "--json").stdout.splitlines()]


@pytest.fixture
def pair(make_lab):
    return Pair(make_lab).start()


def test_every_kind_of_change_arrives_with_ids_times_and_passwords(pair):
    here = pair.here
    here.add(person("ann", description=[" leading", "zwölf"]) + person("bob", userPassword="{SSHA}kept as it is"))
    pair.level()
    ids = here.uuids()
    here.replace(f"uid=ann,{PEOPLE}", "userPassword", "other")
    here.modify(f"dn: uid=bob,{PEOPLE}\nchangetype: modify\nadd: mail\nmail: second@example.org\n-\n"
                "delete: cn\n-\nadd: cn\ncn: Robert\n")
    here.rename(f"uid=bob,{PEOPLE}", "uid=rob")
    for title in ("by herself", "and again"):
        here.modify_as("ann", "other", f"dn: uid=ann,{PEOPLE}\nchangetype: modify\nreplace: title\ntitle: {title}\n")
        pair.level()
    assert here.entries()[f"uid=ann,{PEOPLE}"]["modifiersName"] == [f"uid=ann,{PEOPLE}"]
    assert here.uuids().keys() == ids.keys() == pair.there.uuids().keys()
    assert pair.there.login("ann", "other") and not pair.there.login("ann", "pass-ann")
    here.delete(f"uid=ann,{PEOPLE}")
    here.add(person("ann"))
    pair.level()
    assert pair.there.uuids() == here.uuids() != ids


def test_a_subtree_moves_without_being_made_anew(pair):
    here = pair.here
    here.add(f"dn: ou=sales,{PEOPLE}\nobjectClass: organizationalUnit\nou: sales\n\n"
             f"dn: ou=staff,{BASE}\nobjectClass: organizationalUnit\nou: staff\n\n"
             f"dn: cn=a,ou=sales,{PEOPLE}\nobjectClass: device\ncn: a\n\n"
             f"dn: cn=b,cn=a,ou=sales,{PEOPLE}\nobjectClass: device\ncn: b\n\n")
    pair.level()
    ids = here.uuids()
    here.rename(f"ou=sales,{PEOPLE}", "ou=vendors", f"ou=staff,{BASE}")
    pair.level()
    assert here.uuids().keys() == ids.keys()
    assert f"cn=b,cn=a,ou=vendors,ou=staff,{BASE}" in pair.there.entries()
    for old, new in (("a", "spare"), ("b", "c")):  # names that change hands at once
        here.add(f"dn: cn={old},{PEOPLE}\nobjectClass: device\ncn: {old}\n\n")
    pair.level()
    pair.daemon["mx2"].stop()
    here.rename(f"cn=a,{PEOPLE}", "cn=x")
    here.rename(f"cn=b,{PEOPLE}", "cn=a")
    here.rename(f"cn=x,{PEOPLE}", "cn=b")
    pair.barrier()
    pair.daemon["mx2"].start()
    pair.level()
    assert pair.daemon["mx2"].status()["refused"] == 0
    assert not any("ou=sales" in text for text in pair.spool(pair.one)), "what was below has its new name in the spool"
    here.delete(f"cn=b,cn=a,ou=vendors,ou=staff,{BASE}", f"cn=a,ou=vendors,ou=staff,{BASE}",
                f"ou=vendors,ou=staff,{BASE}")
    pair.level()


def test_what_one_server_cannot_take_is_told_and_the_rest_goes_on(make_lab):
    pair = Pair(make_lab, extra=False).start()
    pair.here.add(person("odd", objectClass=["inetOrgPerson", "extraThing"], extraText="x"))
    pair.here.add(person("plain"))
    pair.here.add(f"dn: cn=below,uid=odd,{PEOPLE}\nobjectClass: device\ncn: below\n\n")
    status = pair.daemon["mx2"].wait(lambda status: status.get("refused") == 2, 10, "two refused")
    problem = next(problem for problem in status["problems"] if problem["code"] != 32)
    assert problem["dn"] == f"uid=odd,{PEOPLE}" and "extra" in problem["why"]
    wait_until(lambda: f"uid=plain,{PEOPLE}" in pair.there.entries(), 10, "plain arrives")
    wait_until(lambda: len(pair.daemon["mx2"].events("DIR_REFUSED")) == 2, 10, "both are told")
    shown = pair.other.mailtwin("directory", "status", check=False)
    assert shown.returncode == 4 and "uid=odd" in shown.stdout
    pair.here.modify(f"dn: uid=odd,{PEOPLE}\nchangetype: modify\ndelete: extraText\n-\n"
                     "delete: objectClass\nobjectClass: extraThing\n")
    pair.level()
    assert pair.daemon["mx2"].status()["refused"] == 0
    assert pair.other.mailtwin("directory", "status").returncode == 0


def test_what_the_standbys_server_forbids_is_told_entry_by_entry_until_it_is_allowed(make_lab):
    """Its account lacks the right to write to one subtree: result code 50."""
    pair = Pair(make_lab, stores=OVER_LDAPI, accounts={"mx2": MAILTWIN})
    all_rights = f'to * by dn.exact="{MAILTWIN}" manage by * read'
    vault = f"ou=vault,{BASE}"
    pair.there.allow(all_rights)
    pair.start()
    pair.here.add(f"dn: {vault}\nobjectClass: organizationalUnit\nou: vault\n\n" +
                  "".join(f"dn: cn={name},{vault}\nobjectClass: device\ncn: {name}\n\n" for name in ("old", "left")))
    pair.level()
    pair.there.allow(f'to dn.subtree="{vault}" by dn.exact="{MAILTWIN}" read by * read', all_rights)
    pair.here.add(f"dn: cn=new,{vault}\nobjectClass: device\ncn: new\n\n")
    pair.here.replace(f"cn=old,{vault}", "description", "changed")
    pair.here.delete(f"cn=left,{vault}")
    pair.here.add(person("plain"))
    daemon = pair.daemon["mx2"]
    status = daemon.wait(lambda status: status.get("refused") == 3, 10, "three are forbidden")
    assert {problem["dn"]: problem["code"] for problem in status["problems"]} == {
        f"cn={name},{vault}": 50 for name in ("new", "old", "left")}
    assert all("Insufficient access" in problem["why"] for problem in status["problems"])
    wait_until(lambda: f"uid=plain,{PEOPLE}" in pair.there.entries(), 10, "plain arrives")
    assert {"code=50"} == {word for line in daemon.events("DIR_REFUSED") for word in line.split() if word.startswith("code=")}
    shown = pair.other.mailtwin("directory", "status", check=False)
    assert shown.returncode == 4 and f"cn=new,{vault}" in shown.stdout
    pair.there.allow(all_rights)
    pair.other.mailtwin("directory", "retry", "directory")
    pair.level()
    assert daemon.status()["refused"] == 0 and len(daemon.events("DIR_ACCEPTED")) == 3


def test_a_server_that_died_and_a_lost_cookie_lose_and_delete_nothing(pair):
    here = pair.here
    here.add("".join(person(f"p{i}") for i in range(20)))
    pair.level()
    here.kill9()
    here.start()
    here.add(person("late"))
    here.delete(f"uid=p3,{PEOPLE}")
    pair.level()
    pair.daemon["mx1"].stop()
    here.delete(f"uid=p4,{PEOPLE}")
    here.add(person("later"))
    alone = pair.one.mailtwin("barrier", "--timeout", "1s", "directory", check=False)
    assert alone.returncode == 1 and "directory" in alone.stderr, "a barrier nobody stands for is not safe"
    cookie = pair.one.path("/srv/state/directory/directory.cookie")
    cookie.unlink()
    pair.daemon["mx1"].start()
    pair.level()
    wait_until(cookie.exists, 10, "the cookie is saved")
    pair.daemon["mx1"].kill9()
    here.delete(f"uid=p5,{PEOPLE}")
    cookie.write_text(re.sub(r"csn=.*", "csn=20200101000000.000000Z#000000#001#000000", cookie.read_text()))
    pair.daemon["mx1"].start()
    pair.level()
    assert f"uid=p6,{PEOPLE}" in pair.there.entries()
    lost = next(file for file in pair.one.path("/srv/state/spool/directory").glob("??/*.entry") if "uid=p7," in file.read_text())
    lost.unlink()
    pair.one.mailtwin("directory", "retry", "directory")
    wait_until(lost.exists, 10, "the lost file is written again")
    pair.level()


def test_a_deletion_that_a_killed_server_told_nobody_of_is_not_missed(pair):
    """It has no change number of it either: none of its entries does."""
    pair.here.add(person("ann") + person("bob") + person("carl"))
    pair.level()
    daemon = pair.daemon["mx1"]
    pair.here.stop()  # it has noted its change number
    pair.here.start()
    daemon.wait_mode("capture")
    pair.level()
    daemon.stop()  # as one whose connection ended before it was told
    pair.here.delete(f"uid=bob,{PEOPLE}")
    pair.here.kill9()
    pair.here.start()
    daemon.start()
    pair.level()
    assert f"uid=bob,{PEOPLE}" not in pair.there.entries()
    assert any("entries=1" in line for line in daemon.events("DIR_REMOVED")), daemon.log()


def test_a_directory_that_came_up_without_most_of_its_entries_deletes_nothing(pair):
    here = pair.here
    here.add("".join(person(f"p{i}") for i in range(30)))
    pair.level()
    pair.daemon["mx1"].stop()
    here.delete(*[f"uid=p{i},{PEOPLE}" for i in range(25)])
    pair.one.path("/srv/state/directory/directory.cookie").unlink()
    pair.daemon["mx1"].start()
    pair.daemon["mx1"].wait(lambda status: status.get("held_back") == 25, 10, "the guard")
    here.add(person("meanwhile"))
    pair.barrier()
    wait_until(lambda: f"uid=meanwhile,{PEOPLE}" in pair.there.entries(), 10, "other changes go on")
    assert f"uid=p1,{PEOPLE}" in pair.there.entries()
    pair.one.mailtwin("directory", "release", "directory", "--yes", "--reason", "they left")
    pair.level()
    assert f"uid=p1,{PEOPLE}" not in pair.there.entries()
    trail = acts(pair.one)
    events = [one["event"] for one in trail]
    assert events.index("DIR_GUARD") < events.index("DIR_REMOVED"), events
    [asked] = [one for one in trail if one["event"] == "CONTROL" and one.get("order") == "release"]
    assert (asked["reason"], asked["by"], asked["uid"]) == ("they left", "root", "0")
    [removed] = [one for one in trail if one["event"] == "DIR_REMOVED"]
    assert removed["entries"] == "25" and removed["program"] == "directoryd"
    [ended] = [one for one in trail if one["event"] == "ORDER_END" and one.get("order") == "release"]
    assert (ended["result"], ended["released"]) == ("done", "25")
    assert [one["time"] for one in trail] == sorted(one["time"] for one in trail)


def secrets(slapd):
    return {dn: values["userPassword"] for dn, values in slapd.entries("(userPassword=*)").items()}


SHOWN = (f'to attrs=userPassword by dn.exact="{MAILTWIN}" read by anonymous auth by * none', "to * by * read")
HIDDEN = ("to attrs=userPassword by anonymous auth by * none", "to * by * read")


def reading_pair(make_lab):
    """The primary's server gives the account of mailtwin-directoryd what it has to read, and no more."""
    pair = Pair(make_lab, stores=OVER_LDAPI, accounts={"mx1": MAILTWIN})
    pair.here.allow(*SHOWN)
    return pair.start()


def test_passwords_that_the_server_ceased_to_show_stay_on_the_standby(make_lab):
    pair = reading_pair(make_lab)
    here, there, daemon = pair.here, pair.there, pair.daemon["mx1"]
    here.add("".join(person(f"p{i}") for i in range(30)))
    pair.level()
    had = secrets(there)
    assert len(had) == 30
    wait_until(pair.one.path("/srv/state/directory/directory.cookie").exists, 10, "the cookie is saved")
    here.allow(*HIDDEN)
    here.modify("\n".join(f"dn: uid=p{i},{PEOPLE}\nchangetype: modify\nreplace: title\ntitle: changed\n" for i in range(30)))
    here.add(person("late"))
    daemon.wait(lambda status: status.get("hidden") == 30, 10, "thirty are kept")
    pair.barrier()
    wait_until(lambda: f"uid=late,{PEOPLE}" in there.entries(), 10, "other changes go on")
    assert all(there.entries()[dn]["title"] == ["changed"] for dn in had)
    assert secrets(there) == had
    shown = pair.one.mailtwin("directory", "status", check=False)
    assert shown.returncode == 4 and "directory release" in shown.stdout
    [event] = daemon.events("DIR_HIDDEN")
    assert "attribute=userPassword" in event
    daemon.stop()
    assert not pair.one.path("/srv/state/directory/directory.cookie").exists(), "a restart asks for everything"
    daemon.start()
    daemon.wait(lambda status: status.get("hidden") == 30, 10, "thirty are kept again")
    here.allow(*SHOWN)
    daemon.wait(lambda status: status.get("blind") is False and status["state"] == "live", 20, "the right is back")
    pair.level()
    assert len(secrets(there)) == 31 and there.login("late", "pass-late")
    assert pair.one.mailtwin("directory", "status").returncode == 0


def test_an_account_made_while_passwords_are_not_shown_gets_its_own_when_they_are(make_lab):
    pair = reading_pair(make_lab)
    pair.here.add(person("ann"))
    pair.level()
    pair.here.allow(*HIDDEN)
    pair.here.add(person("bob"))
    pair.daemon["mx1"].wait(lambda status: status.get("blind"), 10, "what ann had is not shown")
    pair.barrier()
    assert pair.there.login("ann", "pass-ann")
    pair.here.allow(*SHOWN)
    pair.daemon["mx1"].wait(lambda status: status.get("blind") is False and status["state"] == "live", 10, "it is again")
    pair.level()
    assert pair.there.login("bob", "pass-bob")


def test_a_password_that_is_taken_away_goes_and_many_or_the_last_one_with_an_administrators_word(make_lab):
    pair = reading_pair(make_lab)
    here, daemon = pair.here, pair.daemon["mx1"]
    many = [f"p{i}" for i in range(12)]
    here.add("".join(person(name) for name in ["ann", "bob", *many]))
    pair.level()

    def take(*names):
        here.modify("\n".join(f"dn: uid={name},{PEOPLE}\nchangetype: modify\ndelete: userPassword\n" for name in names))

    def release(count):
        daemon.wait(lambda status: status.get("hidden") == count, 10, f"{count} are kept")
        pair.barrier()
        assert len(secrets(pair.there)) == len(secrets(here)) + count
        pair.one.mailtwin("directory", "release", "directory", "--yes", "--reason", "they use keys now")
        daemon.wait(lambda status: status.get("blind") is False and status["state"] == "live", 10, "they are released")
        pair.level()
    take("ann")
    pair.level()
    assert len(secrets(pair.there)) == 13
    take(*many)  # ten go in an hour, hers was the first
    release(3)
    assert list(secrets(pair.there)) == [f"uid=bob,{PEOPLE}"]
    here.add(person("carl"))
    take("carl")  # the word was for all up to then
    pair.level()
    take("bob")  # nobody beside it shows one any more
    release(1)
    assert secrets(pair.there) == {}


def test_an_account_made_a_second_before_the_crash_can_log_in_afterwards(make_lab):
    pair = Pair(make_lab, extra=False).start()
    pair.here.add(person("odd", objectClass=["inetOrgPerson", "extraThing"], extraText="x"))
    pair.here.add(person("fresh"))
    pair.barrier()
    pair.one.halt()
    pair.other.mailtwin("promote", "--force")
    pair.other.daemon.wait_role("primary")
    status = pair.daemon["mx2"].wait_mode("capture")
    assert status["level"]["position"] > 0 and status["kept"] == 1
    assert pair.there.login("fresh", "pass-fresh")
    pair.there.add(person("next"))
    pair.other.mailtwin("barrier", "directory", check=False)
    texts = pair.spool(pair.other)
    for name in ("odd", "fresh", "next"):
        assert any(f"dn: uid={name}," in text for text in texts), name
    old = pair.one
    old.boot()
    pair.here.start()
    old.daemon.start()
    pair.daemon["mx1"].start()
    pair.daemon["mx1"].wait_mode("apply")
    wait_until(lambda: f"uid=next,{PEOPLE}" in pair.here.entries(), 20, lambda: pair.daemon["mx1"].log())
    assert f"uid=odd,{PEOPLE}" in pair.here.entries()


def test_a_node_promoted_while_its_daemon_was_away_gives_its_server_what_the_spool_has_first(make_lab):
    pair = Pair(make_lab, keys={"mailbox": "%{uid}"}).start()
    pair.here.add(person("ann") + person("bob"))
    pair.level()
    pair.daemon["mx2"].stop()
    pair.here.add(person("fresh"))
    pair.here.replace(f"uid=ann,{PEOPLE}", "userPassword", "newer")
    pair.here.delete(f"uid=bob,{PEOPLE}")
    pair.barrier()
    pair.one.halt()
    left = pair.other.mailtwin("promote", "--force", check=False)
    assert left.returncode == 4 and "mailtwin-directoryd does not answer" in left.stdout + left.stderr
    assert "accounts" not in left.stdout, "what is not level is not counted"
    pair.daemon["mx2"].start()
    assert "0 mailboxes without an account, 2 accounts" in pair.other.mailtwin("promote").stdout
    pair.daemon["mx2"].wait_mode("capture")
    assert pair.there.login("fresh", "pass-fresh") and pair.there.login("ann", "newer")
    assert f"uid=bob,{PEOPLE}" not in pair.there.entries()


class Registrar(threading.Thread):
    """Makes an account, has it journalled (nothing waits for the standby), then its mailbox; the next, until the host dies."""

    def __init__(self, pair, vmail):
        super().__init__(daemon=True)
        self.pair, self.vmail, self.made = pair, vmail, 0

    def run(self):
        try:
            while True:
                self.pair.here.add(person(f"m{self.made}"))
                self.pair.one.mailtwin("barrier", "--timeout", "10s", "directory")
                (self.vmail / f"m{self.made}").mkdir()
                self.made += 1
        except (CommandFailed, OSError, AttributeError):
            return  # the host is gone


class Clerk(threading.Thread):
    """Makes one account after the other and remembers which the server took."""

    def __init__(self, slapd, name):
        super().__init__(daemon=True)
        self.slapd, self.name, self.made, self.ended = slapd, name, [], False

    def run(self):
        while not self.ended:
            uid = f"{self.name}{len(self.made)}"
            self.slapd.add(person(uid))
            self.made.append(uid)

    def wait_more(self, count):
        until = len(self.made) + count
        wait_until(lambda: len(self.made) >= until, 60, f"{count} more accounts of {self.name} are made", every=0.01)

    def end(self):
        self.ended = True
        self.join()


class Demotion(threading.Thread):
    """The order on mx1, under way."""

    def __init__(self, pair):
        super().__init__(daemon=True)
        self.pair, self.done = pair, None
        self.start()

    def run(self):
        self.done = self.pair.one.mailtwin("demote", within=120, check=False)

    def wait(self):
        self.join()
        assert self.done.returncode == 0, self.done.stderr


def test_what_a_server_took_before_a_demotion_is_on_the_node_promoted_next(pair):
    """Clients write to the end and beyond, and the daemon stands still for a while: what was answered before the order, or
    before the daemon could look, is on the other node; what came later is there or only on this server."""
    clerks = [Clerk(pair.here, name) for name in ("ann", "bob")]
    for clerk in clerks:
        clerk.start()
        clerk.wait_more(5)
    pair.daemon["mx1"].process.freeze()
    for clerk in clerks:
        clerk.wait_more(5)
    order = Demotion(pair)
    for clerk in clerks:
        clerk.wait_more(5)
    before = [uid for clerk in clerks for uid in list(clerk.made)]
    pair.daemon["mx1"].process.wake()
    order.wait()
    for clerk in clerks:
        clerk.end()
    pair.other.mailtwin("promote")
    pair.there.add(person("next"))  # at once: nobody takes it for what only a standby has
    there = pair.there.entries()
    assert [uid for uid in before if f"uid={uid},{PEOPLE}" not in there] == []
    late = [uid for clerk in clerks for uid in clerk.made if f"uid={uid},{PEOPLE}" not in there]
    texts = "".join(pair.spool(pair.one))
    assert not any(f"dn: uid={uid}," in texts for uid in late), "what nobody carried away is in the spool"
    wait_until(lambda: f"uid=next,{PEOPLE}" in pair.here.entries(), 20, lambda: pair.daemon["mx1"].log())
    assert f"uid=next,{PEOPLE}" in pair.there.entries()


def test_from_a_demotions_drain_on_nothing_is_captured_that_no_standby_would_have(pair):
    """What a client writes while the standby is waited for comes into the spool when the order was refused, and is saved
    when it was not."""
    def demotion(folder):
        pair.other.daemon.freeze("store")
        (pair.one.path(pair.one.mail) / folder).mkdir()
        order = Demotion(pair)
        pair.daemon["mx1"].wait(lambda status: status.get("state") == "paused", 30, "the directory waits for the role")
        return order
    order = demotion("first")
    pair.here.add(person("early"))
    pair.one.daemon.kill9()
    order.join()
    assert order.done.returncode != 0
    pair.other.daemon.thaw("store")
    pair.one.daemon.start()
    pair.protected(pair.one)
    pair.daemon["mx1"].wait_mode("capture", within=10)
    pair.level()
    order = demotion("second")
    pair.here.add(person("late"))
    pair.other.daemon.thaw("store")
    order.wait()
    pair.daemon["mx1"].wait_mode("apply")
    saved = [file.read_text() for file in pair.one.path("/srv/state/directory/directory.saved").glob("*.entry")]
    assert len(saved) == 1 and "dn: uid=late," in saved[0]
    wait_until(lambda: f"uid=late,{PEOPLE}" not in pair.here.entries(), 20, lambda: pair.daemon["mx1"].log())
    pair.other.mailtwin("promote")
    assert pair.daemon["mx2"].events("DIR_LEVEL"), "the server leads when the order returns"
    assert f"uid=early,{PEOPLE}" in pair.there.entries() and f"uid=late,{PEOPLE}" not in pair.there.entries()


def test_a_primary_whose_directory_cannot_say_what_it_took_is_not_demoted(pair):
    def refused():
        done = pair.one.mailtwin("demote", check=False)
        assert done.returncode == 3 and "--force demotes all the same" in done.stderr, done.stderr
        assert pair.one.daemon.status()["role"] == "primary"
        return done.stderr
    pair.here.stop()
    assert "Can't contact LDAP server" in refused()
    pair.daemon["mx1"].stop()
    assert "mailtwin-directoryd does not run here" in refused()
    barrier = pair.one.mailtwin("barrier", "directory", check=False)
    assert barrier.returncode == 1 and "mailtwin-directoryd does not run here" in barrier.stderr
    pair.here.start()
    pair.here.add(person("unseen"))
    pair.daemon["mx1"].start()
    pair.one.mailtwin("demote")
    pair.other.mailtwin("promote")
    assert f"uid=unseen,{PEOPLE}" in pair.there.entries()


def test_a_daemon_that_missed_two_changes_of_roles_gives_its_server_what_the_spool_has_first(pair):
    """It captured when it went, and the node is the primary when it comes: the other one led in between."""
    pair.here.add(person("ann") + person("bob"))
    pair.level()
    pair.daemon["mx1"].stop()
    pair.one.mailtwin("demote", "--force")
    pair.other.mailtwin("promote")
    pair.there.add(person("newer"))
    pair.there.replace(f"uid=ann,{PEOPLE}", "userPassword", "changed")
    pair.there.delete(f"uid=bob,{PEOPLE}")
    pair.protected(pair.other)
    pair.other.mailtwin("demote")
    assert pair.one.mailtwin("promote", check=False).returncode == 4
    pair.daemon["mx1"].start()
    pair.one.mailtwin("promote")
    assert pair.here.login("newer", "pass-newer") and pair.here.login("ann", "changed")
    assert f"uid=bob,{PEOPLE}" not in pair.here.entries()
    pair.here.add(person("next"))
    pair.protected(pair.one)
    pair.level()


def test_mail_and_directory_of_a_promoted_node_belong_to_one_position(make_lab):
    """An account and then its mail: wherever the standby was cut off, and however far behind its server is, the mail is
    never there without the account."""
    stores = {"mail": {**STORES["mail"], "durability": "async"}, "directory": store(durability="async")}
    pair = Pair(make_lab, stores=stores).start()
    pair.daemon["mx2"].stop()
    registrar = Registrar(pair, pair.one.path(pair.one.mail))
    registrar.start()
    wait_until(lambda: registrar.made >= 30, 60, "the accounts are made")
    pair.one.halt()
    registrar.join()
    pair.daemon["mx2"].start()
    pair.other.mailtwin("promote", "--force")
    pair.daemon["mx2"].wait_mode("capture")
    accounts = pair.there.entries()
    folders = [folder.name for folder in pair.other.path(pair.other.mail).iterdir() if folder.name != ".mailtwin"]
    assert len(folders) >= 20
    assert [name for name in folders if f"uid={name},{PEOPLE}" not in accounts] == []


def test_what_only_the_standby_had_is_saved_before_it_is_replaced(pair):
    """A server that returns with changes nobody else has becomes what the spool says, and keeps a copy."""
    pair.here.add(person("ann") + person("bob"))
    pair.level()
    for text in ("the first time", "only here"):
        pair.daemon["mx2"].stop()
        wait_until(lambda: pair.there.entries()[f"uid=ann,{PEOPLE}"]["modifyTimestamp"] < pair.clock(), 5, "a second passes")
        pair.there.replace(f"uid=ann,{PEOPLE}", "description", text)
        if text != "only here":
            pair.daemon["mx2"].start()
            pair.level()
    pair.there.rename(f"uid=bob,{PEOPLE}", "uid=moved")
    pair.there.add(person("extra"))
    pair.daemon["mx2"].start()
    pair.level()
    saved = [file.read_text() for file in pair.other.path("/srv/state/directory/directory.saved").glob("*.entry")]
    for what in ("description: the first time", "description: only here"):
        assert any(what in text for text in saved), what
    assert any("dn: uid=extra," in text for text in saved)
    replaced = [one for one in acts(pair.other) if one["event"] == "DIR_SAVED"]
    assert len(replaced) == len(saved) and all(one["program"] == "directoryd" for one in replaced)
    assert pair.other.mailtwin("directory", "status").returncode == 0


def test_what_a_power_loss_brought_back_on_a_standby_does_not_outlive_its_promotion(pair):
    """Its server has an entry again that was deleted; the node dies for the primary before anybody could judge it."""
    pair.here.add(person("ann") + person("back"))
    pair.level()
    pair.daemon["mx2"].stop()
    pair.here.delete(f"uid=back,{PEOPLE}")
    pair.barrier()
    pair.lab.network.cut(pair.one, pair.other)
    pair.other.mailtwin("resync", "--yes", "--no-wait")
    pair.other.daemon.wait_status(lambda status: status["sync"] == "ordered", 20, "the spool is not to be relied on")
    pair.daemon["mx2"].start()
    wait_until(lambda: "DIR_COMPARED" in pair.daemon["mx2"].log().split("STARTED")[-1], 20, "mx2 compares")
    pair.lab.network.heal(pair.one, pair.other)
    pair.other.daemon.wait_status(lambda status: status["sync"] == "none", 20, "the spool is complete")
    pair.one.halt()
    pair.other.mailtwin("promote", "--force")
    pair.daemon["mx2"].wait_mode("capture")
    assert f"uid=back,{PEOPLE}" not in pair.there.entries()
    assert pair.there.login("ann", "pass-ann")


def test_mailboxes_without_an_account_and_accounts_without_a_mailbox_are_listed(make_lab):
    """And counted for whoever promotes a node."""
    pair = Pair(make_lab, keys={"mailbox": "example.org/%{uid}"}).start()
    pair.here.add(person("ann") + person("bob"))
    pair.barrier()
    for name in ("ann", "orphan"):
        for folder in ("cur", "new", "tmp"):
            pair.one.run("mkdir", "-p", f"{pair.one.mail}/example.org/{name}/Maildir/{folder}")
    pair.level()
    pair.lab.level(pair.one)
    for host in (pair.one, pair.other):
        done = host.mailtwin("accounts", "--json", check=False)
        found = json.loads(done.stdout)
        assert done.returncode == 4
        assert found["mailboxes_without_account"] == ["example.org/orphan"]
        assert found["accounts_without_mailbox"] == ["example.org/bob"]
    pair.here.add(person("carl"))
    pair.barrier()
    pair.one.halt()
    said = pair.other.mailtwin("promote", "--force").stdout
    assert "1 mailboxes without an account, 2 accounts without a mailbox; mailtwin accounts lists them" in said
    pair.daemon["mx2"].wait_mode("capture")
    pair.other.run("rm", "-r", f"{pair.other.mail}/example.org/orphan")
    pair.there.delete(f"uid=bob,{PEOPLE}", f"uid=carl,{PEOPLE}")
    wait_until(lambda: len(pair.spool(pair.other)) == 3, 10, "both are gone")
    assert pair.other.mailtwin("accounts").returncode == 0
    counts = json.loads(pair.other.mailtwin("promote", "--json").stdout)
    assert (counts["mailboxes_without_account"], counts["accounts_without_mailbox"]) == (0, 0)


def test_a_directory_that_replicates_by_itself_is_only_watched(make_lab):
    stores = {"directory": store(**{"native": "true", "peer-uri": "ldap://10.9.0.2:389"})}
    pair = Pair(make_lab, stores=stores)
    pair.there.fill()
    for daemon in pair.daemon.values():
        daemon.start()
    pair.here.add(person("ann"))
    watching = pair.daemon["mx1"]
    status = watching.wait(lambda status: status.get("is_level") is False and status["state"] == "live", 10, "a lag")
    assert status["mode"] == "watch" and status["lag_seconds"] > 0
    assert not list(pair.one.path("/srv/state/spool/directory").glob("??"))
    assert f"uid=ann,{PEOPLE}" not in pair.there.entries()


def test_servers_that_replicate_by_themselves_are_level_until_that_stops(make_lab):
    pair = Pair(make_lab, stores={"directory": store(**{"native": "true", "peer-uri": "ldap://10.9.0.2:389"})})
    pair.there.replicate("10.9.0.1")
    watching = pair.daemon["mx1"]
    watching.start()
    pair.here.add(person("ann"))
    wait_until(lambda: f"uid=ann,{PEOPLE}" in pair.there.entries(), 10, "syncrepl brings ann")
    status = watching.wait(lambda status: status.get("is_level"), 10, "level")
    assert status["lag_seconds"] == 0 and status["state"] == "live"
    pair.there.replicate(None)
    lags = [0]
    for name in ("bob", "carl"):
        pair.here.add(person(name))
        lags.append(watching.wait(lambda status: status["lag_seconds"] > lags[-1], 10, "the lag grows")["lag_seconds"])
        assert watching.status()["is_level"] is False
    shown = pair.one.mailtwin("directory", "status")
    assert "s apart" in shown.stdout
    pair.there.replicate("10.9.0.1")
    status = watching.wait(lambda status: status.get("is_level"), 20, "level again")
    assert status["lag_seconds"] == 0


def test_changes_behind_a_barrier_are_on_the_standby_whatever_is_killed(pair):
    """Kills either daemon, either server, while accounts are made; what a barrier covered is there."""
    victims = [pair.daemon["mx1"].kill9, pair.daemon["mx2"].kill9, pair.here.kill9, pair.there.kill9]
    starts = [pair.daemon["mx1"].start, pair.daemon["mx2"].start, pair.here.start, pair.there.start]
    for turn in range(8):
        pair.here.add("".join(person(f"t{turn}-{i}") for i in range(5)))
        if turn:
            pair.here.delete(f"uid=t{turn - 1}-0,{PEOPLE}")
            pair.here.rename(f"uid=t{turn - 1}-1,{PEOPLE}", f"uid=renamed-{turn}")
        victims[turn % 4]()
        starts[turn % 4]()
        if turn % 4 != 2:  # the primary's own server has to answer to be asked how far it is
            pair.barrier()
    pair.level()
    ids = pair.here.uuids()
    pair.one.halt()
    pair.other.mailtwin("promote", "--force")
    pair.daemon["mx2"].wait_mode("capture")
    assert pair.there.uuids() == ids


def test_over_a_unix_socket_the_account_of_the_daemon_is_who_logs_in(make_lab):
    """No password anywhere: the server maps the account's number."""
    pair = Pair(make_lab, stores=OVER_LDAPI).start()
    pair.here.add(person("ann"))
    pair.level()
    assert pair.there.login("ann", "pass-ann")


def test_a_server_is_spoken_to_only_when_its_certificate_is_right(make_lab):
    keys = {"uri": "ldap://127.0.0.1:389", "starttls": "true", "ca": "/run/lab/ldap.pem"}
    pair = Pair(make_lab, keys=keys)
    for host in (pair.one, pair.other):
        for name in ("ldap", "strange"):
            host.run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                     "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", f"/run/lab/{name}.key", "-out", f"/run/lab/{name}.pem")
    pair.here.use_tls("/run/lab/ldap.pem", "/run/lab/ldap.pem", "/run/lab/ldap.key")
    pair.there.use_tls("/run/lab/strange.pem", "/run/lab/strange.pem", "/run/lab/strange.key")
    for daemon in pair.daemon.values():
        daemon.start()
    pair.daemon["mx1"].wait_mode("capture")
    status = pair.daemon["mx2"].wait(lambda status: status.get("state") == "failed", 10, "no connection")
    assert "TLS" in status["why"]
    assert pair.there.entries() == {}


def test_the_runbook_mends_a_standby_that_lacked_a_schema(make_lab):
    pair = Pair(make_lab, extra=False, keys={"mailbox": "%{uid}"}).start()
    pair.here.add(person("odd", objectClass=["inetOrgPerson", "extraThing"], extraText="x"))
    pair.daemon["mx2"].wait(lambda status: status.get("refused") == 1, 10, "one refused")

    def mend(_, node, script):
        if "retry" in script:
            pair.there.learn_schema()
    page = Page(pair.lab, "runbooks/directory.md")
    try:
        assert page.play(before=mend) == 6
    finally:
        page.close()
    pair.level()
    assert pair.daemon["mx2"].status()["refused"] == 0


@pytest.mark.long
def test_an_account_that_only_the_old_primary_had_is_kept_and_added_with_its_id(pair):
    """As the runbook returning-primary has it."""
    old, new = pair.one, pair.other
    pair.lab.network.cut(old, new)
    pair.here.add(person("alone"))
    uuid = {dn: one for one, dn in pair.here.uuids().items()}[f"uid=alone,{PEOPLE}"]
    wait_until(lambda: any(uuid in text for text in pair.spool(old)), 20, "the entry is in the spool")
    old.mailtwin("barrier", "--timeout", "1s", check=False)
    old.halt()
    new.mailtwin("promote", "--force")
    pair.daemon["mx2"].wait_mode("capture")
    old.boot()
    pair.lab.network.heal(old, new)
    pair.here.start()
    old.daemon.start()
    pair.daemon["mx1"].start()
    old.daemon.wait_role("standby", 60)
    old.daemon.wait_status(lambda status: status["salvage"]["waiting"] == 0, 60, "all is answered")
    items = json.loads(old.mailtwin("salvage", "list", "--json").stdout)["items"]
    item, = [one for one in items if one["path"].endswith(f"{uuid}.entry")]
    assert (item["store"], item["kind"], item["state"]) == ("directory", "file", "refused")
    kept = old.path(item["kept"]).read_text()
    assert not pair.there.login("alone", "pass-alone")
    pair.there.add(kept, relax=True)
    assert pair.there.login("alone", "pass-alone") and pair.there.uuids()[uuid] == f"uid=alone,{PEOPLE}"
