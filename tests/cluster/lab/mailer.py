"""Mail by the way it comes in: swaks gives it to the primary's Postfix, which delivers through the gate to Dovecot,
over a queue store. What was told of it, each more than the one before (docs/gate.md, docs/queue.md):

taken      Postfix's 250 to swaks. It waits for no barrier: the mail may be on the old primary's disk alone, kept there
           and listed when that returns. It is never gone from both.
safe       a barrier of the queue's store opened behind that: after a crash it is in the mailbox, or in the new
           primary's queue and delivered from there.
delivered  Postfix's log has the gate's 250 for a recipient: after a crash it is in his mailbox.
finished   Postfix's log has it removed, and a barrier opened behind that: it is in no queue and delivered no more.

What is not finished when something dies that stands on its way may be delivered once more for it."""

import contextlib
import re
import subprocess
import time

from .clients import Client
from .gate import PORT
from .history import digest, ident_of, look
from .host import STORE
from .lmtp import message
from .mta import CONFIG_DIR, SMTP_PORT, Postfix
from .space import CommandFailed
from .wait import wait_until

QUEUE = f"{STORE}/queue"
USERS = ["pat@example.org", "sue@example.org"]
TIMEOUT = "5s"  # of a barrier: the mail counts as no more than taken then
WAITING = ("maildrop", "incoming", "active", "deferred", "hold")
TAKEN_UP = re.compile(r"qmgr\[\d+\]: (\w+): from=<([^@>]*)@")
TRIED = re.compile(r"\]: (\w+): to=<([^>]*)>,.* status=(\w+)")
REMOVED = re.compile(r"qmgr\[\d+\]: (\w+): removed")


def store(**keys):
    """The section of the queue's store."""
    return {"kind": "queue", "path": QUEUE, "config-dir": CONFIG_DIR, **keys}


class Letter:
    """A mail that was given to swaks, on its way from `begun` to `ended`."""

    def __init__(self, data, users):
        self.ident, self.data, self.users = ident_of(data), data, users
        self.taken = self.safe = self.finished = False
        self.delivered = set()  # users
        self.begun, self.ended = time.monotonic(), float("inf")

    def finish(self):
        self.finished = True
        self.ended = min(self.ended, time.monotonic())

    def copies(self, risks):
        """So many each user may have of it: what was lost with an answer is delivered again."""
        return 1 + sum(begin <= self.ended and self.begun <= end for begin, end in risks)


class Post:
    """Postfix of every host of a lab, and the letters."""

    def __init__(self, lab, long_ids):
        self.postfix = {name: Postfix(host, long_ids, PORT) for name, host in lab.hosts.items()}
        self.letters = {}
        self.risks = []     # (begin, end) of each death on the way of mails
        self.alone = set()  # idents that only old primaries have
        self.begin = 0  # of the log of the Postfix that runs now

    def open(self, primary):
        """On hosts that have a folder for the queue."""
        for postfix in self.postfix.values():
            postfix.configure()
        self.start(primary)

    def start(self, host):
        self.begin = len(host.log_text("postfix.log"))
        self.postfix[host.name].start()

    def log(self, host):
        """What Postfix said there since its start()."""
        whole = host.log_text("postfix.log")[self.begin:]
        return Log(whole[:whole.rfind("\n") + 1])

    def number(self, what):
        """How many letters are taken, safe or finished."""
        return sum(getattr(letter, what) for letter in list(self.letters.values()))

    def wait_taken(self, more, within=60):
        goal = self.number("taken") + more
        wait_until(lambda: self.number("taken") >= goal, within, lambda: f"Postfix takes no mail: {self.story()}")

    # --- holding a server against it ---

    @contextlib.contextmanager
    def risk(self):
        """Of deaths in the body."""
        begin = time.monotonic()
        yield
        self.risks.append((begin, time.monotonic()))

    def check(self, old, new):
        """Of a new primary whose Postfix was not started yet: [(what, sentence)]."""
        log, boxes, queued = self.log(old), Boxes(new), waiting(new)
        problems = boxes.compare(self.letters, self.risks) + [("bounced", line) for line in log.others]
        problems += [("corrupt", str(path)) for path in new.path(QUEUE).glob("corrupt/*")]
        for ident, user in log.delivered:
            if ident in self.letters:
                self.letters[ident].delivered.add(user)
        for letter in list(self.letters.values()):
            if letter.finished and letter.ident in queued:
                problems.append(("queue", f"{letter.ident} was finished and is in the queue again"))
            problems += [("delivered", f"{letter.ident} was delivered to {user} and is lost; queued: {letter.ident in queued}")
                         for user in letter.delivered if not boxes.count(letter.ident, user)]
            problems += [("queue", f"{letter.ident} for {user} was safe and is neither delivered nor in the queue")
                         for user in letter.users
                         if letter.safe and not boxes.count(letter.ident, user) and letter.ident not in queued]
        self.alone = {letter.ident for letter in list(self.letters.values()) if letter.taken and letter.ident not in queued
                      and not all(boxes.count(letter.ident, user) for user in letter.users)}
        return problems

    def returned(self, hosts):
        """The old primary is a standby now: [(what, sentence)]."""
        kept = set().union(*(salvaged(host) for host in hosts))
        return [("taken", f"{ident} was taken, and no machine has it") for ident in sorted(self.alone - kept)]

    def settle(self, primary):
        """In the end, with a primary that has a standby: each mail comes where it was said, and nothing waits."""
        wait_until(lambda: not self._missing(Boxes(primary)), 120,
                   lambda: f"was in the queue and is not delivered: {self._missing(Boxes(primary))}", every=0.5)
        self.postfix[primary.name].wait_waiting({}, 60)
        boxes = Boxes(primary)
        print(f"{self.story()}; {len(self.alone)} taken ones only kept on a returned primary; "
              f"{boxes.extra()} copies more than one", flush=True)
        return boxes.compare(self.letters, self.risks) + [("bounced", line) for line in self.log(primary).others]

    def _missing(self, boxes):
        return [letter.ident for letter in self.letters.values() if letter.taken and letter.ident not in self.alone
                and not all(boxes.count(letter.ident, user) for user in letter.users)]

    def story(self):
        told = {name: self.number(name) for name in ("taken", "safe", "finished")}
        return f"{len(self.letters)} mails given to swaks: {told}"


class Log:
    """Postfix's log of one run. delivered: {(ident, user)}; removed: {ident}; others: lines of recipients whose mail
    was neither sent nor put off."""

    def __init__(self, text):
        idents = {}
        self.delivered, self.removed, self.others = set(), set(), []
        for line in text.splitlines():
            if found := TAKEN_UP.search(line):
                idents[found[1]] = found[2]
            elif found := TRIED.search(line):
                if found[3] == "sent" and found[1] in idents:
                    self.delivered.add((idents[found[1]], found[2]))
                elif found[3] not in ("sent", "deferred"):
                    self.others.append(line)
            elif (found := REMOVED.search(line)) and found[1] in idents:
                self.removed.add(idents.pop(found[1]))


class Boxes:
    """The mailboxes of the USERS on a server."""

    def __init__(self, host):
        self.seen = {user: [mail for folder in look(host, user).values() for mail in folder.mails.values()]
                     for user in USERS}
        self.counts = {}
        for user, mails in self.seen.items():
            for ident, _, _ in mails:
                self.counts[ident, user] = self.counts.get((ident, user), 0) + 1

    def count(self, ident, user):
        return self.counts.get((ident, user), 0)

    def extra(self):
        return sum(count - 1 for count in self.counts.values())

    def compare(self, letters, risks):
        """[(what, sentence)] of mails that are no letter as it was sent, or there too often."""
        problems = []
        for user, mails in self.seen.items():
            for ident, flags, content in mails:
                if ident not in letters or content != digest(letters[ident].data):
                    problems.append(("content", f"{user}: {ident} has other bytes, flags {sorted(flags)}"))
        for (ident, user), count in self.counts.items():
            may_be = letters[ident].copies(risks) if ident in letters else count
            if count > may_be:
                problems.append(("twice", f"{user}: {ident} is there {count} times, {may_be} may be"))
        return problems


def waiting(host):
    """Idents of what is in a queue that no Postfix runs on."""
    return _idents(path for part in WAITING for path in host.path(QUEUE).glob(f"{part}/**/*"))


def salvaged(host):
    """Idents of what it had alone in its queue when it returned."""
    return _idents(host.path(QUEUE).glob(".mailtwin/salvage/*/*"))


def _idents(paths):
    """A queue file has a record for each line of a mail, with its length before it."""
    found = set()
    for path in paths:
        if path.is_file():
            found.update(one.decode() for one in re.findall(rb"Message-ID: <([^>]*)>", path.read_bytes()))
    return found


class Mailer(Client):
    """Someone with swaks, and then `mailtwin barrier` of the queue."""

    def __init__(self, host, post, history, seed):
        super().__init__(host, history, seed)
        self.post = post

    def step(self, _):
        letter = self._write()
        with self.history.act(accounts={}):  # a barrier of a queue says nothing of the users' own acts
            self._send(letter)
            letter.taken = True
            removed = self.post.log(self.host).removed
            self._barrier()
            letter.safe = True
            for ident in removed & set(self.post.letters):
                self.post.letters[ident].finish()

    def _write(self):
        ident = f"swaks{self.random.randrange(1 << 62)}"
        _, data = message(ident, USERS[0], self.random.choice([600, 600, 600, 40000]), ident)
        letter = Letter(data, self.random.sample(USERS, self.random.randint(1, 2)))
        self.post.letters[ident] = letter
        return letter

    def _send(self, letter):
        """Ends well when Postfix has said 250. It ends the mail's last line itself. The sender is how the log names the
        mail."""
        switch = self.host.lab.network.switch.pid
        done = subprocess.run(
            ["nsenter", "-t", str(switch), "-n", "swaks", "--server", self.host.address, "--port", str(SMTP_PORT),
             "--timeout", "5", "--helo", "client.lab.invalid", "--from", f"{letter.ident}@lab.invalid",
             "--to", ",".join(letter.users), "--data", "-", "--hide-all"],
            input=letter.data.removesuffix(b"\r\n"), timeout=60, capture_output=True, check=False)
        if done.returncode != 0:
            raise CommandFailed(f"swaks ended with {done.returncode}: {done.stderr.decode(errors='replace')}")

    def _barrier(self):
        try:
            self.host.mailtwin("barrier", "--timeout", TIMEOUT, "queue")
        except subprocess.SubprocessError as error:
            raise CommandFailed(str(error)) from error
