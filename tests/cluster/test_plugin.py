"""The plugin for Dovecot: what was answered with OK is on the standby, whatever happens next."""

import concurrent.futures
import imaplib
import os
import poplib
import re

import pytest
from lab import config, mail
from lab.barrier import DEGRADED, LATE, REFUSED, FakeBarrier
from lab.dovecot import PASSWORD
from lab.host import STORE
from lab.imap import ImapClient, ImapFailed, Pop
from lab.lmtp import LmtpError
from lab.load import ANN, BOB

SIEVE = """require ["fileinto", "copy", "mailbox"];
fileinto :create :copy "First";
fileinto :create "Second";
"""
FOLDERS = re.compile(r"\.\w+$")


def text(name):
    return f"Subject: {name}\r\nMessage-ID: <{name}>\r\n\r\nhello\r\n".encode()


def seen(root, user="ann"):
    """What a user's Maildir holds, found without Dovecot: {Message-ID: {(folder, flags)}}, and its folders."""
    home = root / "example.org" / user
    found = {}
    for ident, paths in mail.idents(home).items():
        for path in map(os.fsdecode, paths):
            folder = os.path.relpath(path, home).split("/")[0]
            found.setdefault(ident, set()).add((folder if folder.startswith(".") else "INBOX", path.partition(":2,")[2]))
    return found, {name for name in os.listdir(home) if FOLDERS.fullmatch(name)}


# --- what is asked for, and how one sees on a disk that it is there ---

class Work:
    """Ann has three mails, flagged a, b and c, and two folders. Each act is one that is answered once."""

    def __init__(self, lab):
        self.lab = lab
        self.host = lab["mx1"]
        with self.imap() as client:
            for name in ("a", "b", "c"):
                client.do("append", "INBOX", "(\\Flagged)", None, text(name))
            for folder in ("Box", "Old"):
                client.do("create", folder)

    def imap(self):
        return ImapClient(self.host, ANN)

    def ready(self, act):
        """All but the last step of an act; returns that step."""
        return getattr(self, act)()

    def append(self):
        client = self.imap()
        return lambda: client.do("append", "INBOX", None, None, text("new"))

    def _selected(self):
        client = self.imap()
        client.select()
        return client, client.uids()

    def copy(self):
        client, uids = self._selected()
        return lambda: client.uid("COPY", uids[:1], "Box")

    def move(self):
        client, uids = self._selected()
        return lambda: client.uid("MOVE", uids[:1], "Box")

    def store(self):
        client, uids = self._selected()
        return lambda: client.uid("STORE", uids[:1], "+FLAGS", "(\\Answered)")

    def fetch(self):
        client, uids = self._selected()
        return lambda: client.uid("FETCH", uids[:1], "(BODY[])")

    def _marked(self):
        client, uids = self._selected()
        client.uid("STORE", uids[:1], "+FLAGS", "(\\Deleted)")
        return client

    def expunge(self):
        client = self._marked()
        return lambda: client.do("expunge")

    def close(self):
        client = self._marked()
        return lambda: client.do("close")

    def create(self):
        client = self.imap()
        return lambda: client.do("create", "New")

    def rename(self):
        client = self.imap()
        return lambda: client.do("rename", "Old", "New")

    def delete(self):
        client = self.imap()
        return lambda: client.do("delete", "Old")

    def subscribe(self):
        client = self.imap()
        return lambda: client.do("subscribe", "Box")

    def pop3(self):
        pop = Pop(self.host, 20)
        pop.user(ANN)
        pop.pass_(PASSWORD)
        pop.dele(1)
        return pop.quit

    def lmtp(self):
        client = self.lab.lmtp("mx1")
        return lambda: client.deliver(ANN, ident="new")

    def sieve(self):
        self.host.dovecot.sieve("ann", SIEVE)
        return self.lmtp()


def there(act, root):
    """Is what the act does in this store?"""
    found, folders = seen(root)
    a = found.get("a", set())
    subscriptions = root / "example.org/ann/subscriptions"
    return {
        "append": lambda: "new" in found,
        "copy": lambda: {folder for folder, _ in a} == {"INBOX", ".Box"},
        "move": lambda: {folder for folder, _ in a} == {".Box"},
        "store": lambda: all("R" in flags for _, flags in a) and a,
        "fetch": lambda: all("S" in flags for _, flags in a) and a,
        "expunge": lambda: not a,
        "close": lambda: not a,
        "create": lambda: folders == {".Box", ".Old", ".New"},
        "rename": lambda: folders == {".Box", ".New"},
        "delete": lambda: folders == {".Box"},
        "subscribe": lambda: subscriptions.exists() and "Box" in subscriptions.read_text(),
        "pop3": lambda: not a,
        "lmtp": lambda: {folder for folder, _ in found.get("new", ())} == {"INBOX"},
        "sieve": lambda: {folder for folder, _ in found.get("new", ())} == {".First", ".Second"},
    }[act]()


ACTS = ["append", "copy", "move", "store", "fetch", "expunge", "close", "create", "rename", "delete", "subscribe",
        "pop3", "lmtp", "sieve"]
SHORT = {"append", "expunge", "sieve"}


def long_but(short):
    return [act if act in short else pytest.param(act, marks=pytest.mark.long) for act in ACTS]


@pytest.fixture
def twins(make_lab):
    """twins(kinds, ...) is a pair whose primary's Dovecot has the plugin."""
    def make(kinds="all", more=None, **options):
        lab = make_lab(["mx1", "mx2"], **options)
        primary = lab.start(dovecot=False)
        primary.dovecot.start(primary.dovecot.with_plugin(kinds, **(more or {})))
        return lab
    return make


def refusal(step):
    """What a client is told when it is not told OK."""
    with pytest.raises((ImapFailed, LmtpError, poplib.error_proto)) as caught:
        step()
    return str(caught.value)


# --- what an OK means ---

@pytest.mark.parametrize("act", long_but(SHORT))
def test_what_was_answered_with_ok_survives_the_death_of_the_primary_at_that_instant(twins, act):
    lab = twins()
    work = Work(lab)
    step = work.ready(act)
    step()
    lab["mx1"].space.kill_all()
    lab["mx2"].mailtwin("promote", "--force")
    assert there(act, lab["mx2"].path(lab["mx2"].mail)), seen(lab["mx2"].path(lab["mx2"].mail))


def frozen(lab, act, step):
    """An act while the standby stands still; True: it was answered before the standby went on. At the instant of the
    answer the standby's daemon is dead."""
    standby = lab["mx2"]
    standby.daemon.freeze("store")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(step)
        early = concurrent.futures.wait([answer], 0.5).done
        assert not there(act, standby.path(standby.mail))
        standby.daemon.thaw("store")
        answer.result(20)
        standby.daemon.kill9()
    return bool(early)


@pytest.mark.parametrize("act", long_but({"store"}))
def test_an_ok_does_not_come_while_the_standby_stands_still(twins, act):
    lab = twins()
    step = Work(lab).ready(act)
    lab.level(lab["mx1"])
    assert not frozen(lab, act, step)
    assert there(act, lab["mx2"].path(lab["mx2"].mail))


def test_without_the_plugin_an_ok_says_nothing_of_the_standby(twins):
    """The scenarios above can fail."""
    lab = twins("none")
    step = Work(lab).ready("store")
    lab.level(lab["mx1"])
    assert frozen(lab, "store", step)


def test_one_setting_chooses_what_waits(twins):
    lab = twins("append deliver")
    work = Work(lab)
    lab.level(lab["mx1"])
    assert frozen(lab, "store", work.ready("store"))
    lab["mx2"].daemon.ensure()
    lab.level(lab["mx1"])
    assert not frozen(lab, "append", work.ready("append"))


# --- what is said when it is not safe ---

def refuses(lab, primary):
    """A node that refuses without a standby, and has none."""
    lab["mx2"].daemon.stop()
    primary.daemon.wait_status(lambda status: primary.daemon.peer("mx2", status).get("state") != "connected", 60,
                               "the standby is gone")
    primary.daemon.wait_status(lambda _: primary.mailtwin("barrier", "--timeout", "1s", check=False).returncode == 1,
                               60, "a barrier refuses")


def test_a_node_that_refuses_without_a_standby_answers_no_and_keeps_what_was_done(twins):
    stores = config.default_stores(STORE)
    stores["mail"]["when-alone"] = "refuse"
    lab = twins(stores=stores, more={"timeout": "1s"})
    primary = lab["mx1"]
    work = Work(lab)
    steps = {act: work.ready(act) for act in ("append", "store", "lmtp")}
    refuses(lab, primary)
    for act, step in steps.items():
        said = refusal(step)
        assert said.startswith("451 4.") if act == "lmtp" else "[UNAVAILABLE] Done on this server" in said, said
        assert there(act, primary.path(primary.mail)), "it is done all the same"
    assert "-ERR" in refusal(work.ready("pop3"))
    lab["mx2"].daemon.start()
    primary.daemon.wait_peer("mx2", "connected")
    lab.level(primary)
    work.ready("create")()
    assert there("create", lab["mx2"].path(lab["mx2"].mail))


def test_a_daemon_that_is_restarted_is_waited_for_and_one_that_is_down_is_not_called_safe(twins):
    lab = twins(more={"timeout": "4s"})
    primary = lab["mx1"]
    work = Work(lab)
    step, late = work.ready("append"), work.ready("store")
    primary.daemon.stop()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(step)
        lab.wait_until(lambda: there("append", primary.path(primary.mail)), 20, "it is done here")
        assert not answer.done()
        primary.daemon.start()
        answer.result(20)
    primary.daemon.kill9()
    assert "cannot be found out" in refusal(late)
    lab.wait_until(lambda: "no answer from" in primary.dovecot.log(), 20, "the log tells of it")


# --- how often is asked: with a barrier of the harness ---

@pytest.fixture
def alone(make_lab):
    """alone(kinds) is (a host with Dovecot and no mailtwin, its fake barrier)."""
    fakes = []

    def make(kinds="all", answer=None, **more):
        lab = make_lab(["mx1"])
        lab.boot()
        host = lab["mx1"]
        fake = FakeBarrier(host, answer)
        fakes.append(fake)
        host.dovecot.start(host.dovecot.with_plugin(kinds, socket=fake.inside, **more))
        return lab, fake
    yield make
    for fake in fakes:
        fake.__exit__(None, None, None)


def test_a_command_asks_once_however_many_mails_it_changes(alone):
    lab, fake = alone(store="mail")
    work = Work(lab)
    with work.imap() as client:
        for number in range(200):
            client.do("append", "INBOX", None, None, text(f"m{number}"))
        client.select()
        assert fake.count(lambda: client.do("uid", "STORE", "1:*", "+FLAGS", "(\\Seen $Label)")) == 1
        assert fake.count(lambda: client.do("uid", "COPY", "1:100", "Box")) == 1
        assert fake.count(lambda: client.do("uid", "MOVE", "1:50", "Old")) == 1
        client.do("uid", "STORE", "100:150", "+FLAGS", "(\\Deleted)")
        assert fake.count(lambda: client.do("expunge")) == 1
    work.ready("sieve")
    with lab.lmtp("mx1") as lmtp:
        lmtp.deliver(ANN)
        assert fake.count(lambda: lmtp.deliver(ANN)) == 1, "two folders, one recipient"
        assert fake.count(lambda: lmtp.deliver(BOB)) >= 1
        assert fake.count(lambda: lmtp.deliver(BOB)) == 1
    assert fake.count(work.ready("pop3")) == 1
    assert {(one["do"], one["store"]) for one in fake.requests} == {("barrier", "mail")}


def test_reading_asks_for_nothing(alone):
    lab, fake = alone()
    work = Work(lab)

    def read():
        with work.imap() as client:
            client.view()
            client.do("noop")
            client.do("search", None, "ALL")
            client.select()
            client.do("close")
    with work.imap() as client:
        client.view()
    assert fake.count(read) == 1, "only the CLOSE, which may expunge"


@pytest.mark.long
def test_each_of_the_kinds_waits_for_its_commands_alone(alone):
    lab, fake = alone("none")
    waits = {"append": {"append"}, "copy": {"copy", "move"}, "flags": {"store", "fetch"},
             "expunge": {"move", "expunge", "close", "pop3"}, "folders": {"create", "rename", "delete", "subscribe"},
             "deliver": {"lmtp", "sieve"}}
    host = lab["mx1"]
    for kind, acts in waits.items():
        host.dovecot.stop()
        host.run("rm", "-rf", f"{host.mail}/example.org")
        host.dovecot.start(host.dovecot.with_plugin(kind, socket=fake.inside))
        work = Work(lab)
        asked = set()
        for act in ACTS:
            if fake.count(work.ready(act)) > 0:
                asked.add(act)
            with work.imap() as client:
                for folder in ("New", "Old"):
                    client.imap.delete(folder)
                client.do("create", "Old")
                client.do("append", "INBOX", None, None, text("d"))
        assert asked == acts, kind


@pytest.mark.parametrize("answer", [LATE, REFUSED, {"ok": True, "state": "fine"}, {"ok": True}])
def test_only_safe_and_degraded_make_an_ok(alone, answer):
    lab, fake = alone(timeout="2s")
    work = Work(lab)
    steps = {act: work.ready(act) for act in ("append", "lmtp", "pop3")}
    repeat, uids = work._selected()
    repeat.uid("STORE", uids[:1], "+FLAGS", "(\\Seen)")
    fake.answer = answer
    assert "[UNAVAILABLE]" in refusal(steps["append"])
    assert refusal(steps["lmtp"]).startswith("451 4.")
    assert "-ERR" in refusal(steps["pop3"])
    assert "[UNAVAILABLE]" in refusal(lambda: repeat.uid("STORE", uids[1:2], "+FLAGS", "(\\Seen)"))
    assert "[UNAVAILABLE]" in refusal(lambda: repeat.uid("STORE", uids[1:2], "+FLAGS", "(\\Seen)")), \
        "asked again it changes nothing, and is as unsafe"
    doveadm = lab["mx1"].dovecot.doveadm("mailbox", "create", "-u", ANN, "New", check=False)
    assert doveadm.returncode == 75 and "Done on this server" in doveadm.stderr, doveadm
    fake.answer = DEGRADED
    repeat.uid("STORE", uids[1:2], "+FLAGS", "(\\Seen)")


@pytest.mark.parametrize("wrong, says", [
    ({"kinds": "appendd"}, '"appendd" is not known'), ({"kinds": "all flags"}, '"all" is not known'),
    ({"store": "a/b"}, "not the name of a store"), ({"timeout": "soon"}, "mailtwin_timeout = soon"),
    ({"timeout": "0"}, "1ms to 10min")])
def test_a_doubtful_configuration_lets_nobody_in(alone, wrong, says):
    lab, _ = alone(**wrong)
    with pytest.raises((imaplib.IMAP4.error, OSError)):
        ImapClient(lab["mx1"], ANN).do("noop")
    with lab.lmtp("mx1") as lmtp, pytest.raises(LmtpError):
        lmtp.deliver(ANN)
    lab.wait_until(lambda: says in lab["mx1"].dovecot.log(), 20, "the log says what is wrong")
