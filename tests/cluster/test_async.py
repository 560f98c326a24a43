"""Async mode under load: what a dead primary had alone is inside the loss statement, and is there again once it is back."""

import json
import os
import random
import time
from datetime import datetime

import pytest
from lab import config
from lab.clients import Deliverer, Owner
from lab.history import GONE, OPEN, History, look
from lab.host import STORE
from lab.wait import wait_until

CAPTURE_S = 2  # an act is answered at most so long before its change has a time of its own
USERS = ["ann@example.org", "max@example.org"]
WRITER = "bob@example.org"


def seconds(text):
    """Since 1970."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


class Diary(History):
    """A history of acts that wait for no standby, with the time of each."""

    def __init__(self):
        super().__init__(durable=False)
        self.answered = {}  # key of a mail: when

    def acknowledged(self, mails):
        self.answered.update(dict.fromkeys(mails, time.time()))

    def missing(self, host):
        """Keys of mails that were acknowledged and are not there."""
        found = set()
        for user in self.users():
            seen = look(host, user)
            idents = {(name, mail[0]) for name, folder in seen.items() for mail in folder.mails.values()}
            found |= {key for key, fact in self.mails.items()
                      if key[0] == user and fact not in (OPEN, GONE) and key[1:] not in idents}
        return found


class Writer(Owner):
    """Does only what a returning primary gives by itself."""

    def __init__(self, host, history, seed, user):
        super().__init__(host, history, seed, user)
        self.acts = [self._append] * 4 + [self._copy] * 2 + [self._make]


class Campaign:
    """A pair in async mode; one primary after another dies with mail that nobody else has."""

    def __init__(self, make_lab, seed):
        stores = config.default_stores(STORE)
        for store in stores.values():
            store["durability"] = "async"
        self.lab = make_lab(["mx1", "mx2"], stores=stores)
        self.primary, self.standby = self.lab["mx1"], self.lab["mx2"]
        self.lab.start()
        self.welcome()
        self.dice = random.Random(seed)
        self.diary = Diary()
        self.crowd = []

    def welcome(self):
        """Every user is known to both nodes: who is made in what is lost, and made again in the same second, may get the
        same UIDVALIDITY (docs/identity.md, Limits)."""
        with self.lab.lmtp(self.primary.name) as lmtp:
            for user in [*USERS, WRITER]:
                lmtp.deliver(user)
        with self.lab.imap(self.primary.name, WRITER) as client:
            client.do("create", "First")  # from then on Dovecot counts UIDVALIDITYs of his folders
        self.lab.level(self.primary)

    # --- faults: each leaves the standby behind, or may ---

    def nothing(self):
        pass

    def cut(self):
        self.lab.network.cut(self.primary, self.standby)

    def frozen(self):
        self.standby.daemon.freeze("store")

    def standby_dead(self):
        self.standby.daemon.kill9()

    def daemon_dead(self):
        """What is written now is in no journal."""
        self.primary.daemon.kill9()

    def daemon_was_dead(self):
        self.lab.network.cut(self.primary, self.standby)
        self.primary.daemon.kill9()
        self.work(20)
        self.primary.daemon.ensure()

    FAULTS = [nothing, cut, frozen, standby_dead, daemon_dead, daemon_was_dead]

    # --- one campaign ---

    def recruit(self):
        seeds = iter(lambda: self.dice.randrange(1 << 30), None)
        self.crowd = [Deliverer(self.primary, self.diary, next(seeds), USERS),
                      Deliverer(self.primary, self.diary, next(seeds), USERS[::-1]),
                      Writer(self.primary, self.diary, next(seeds), WRITER)]
        for client in self.crowd:
            client.start()

    def dismiss(self):
        for client in self.crowd:
            client.stop()
        for client in self.crowd:
            client.join()

    def work(self, number):
        """Until that many more acts were acknowledged."""
        goal = self.diary.acts + number
        wait_until(lambda: self.diary.acts >= goal, 60,
                   lambda: f"the load does not go on: {[(type(one).__name__, one.done, one.error) for one in self.crowd]}")

    def die(self, fault):
        self.recruit()
        self.work(self.dice.randint(10, 60))
        fault(self)
        self.work(self.dice.randint(1, 40))
        self.primary.halt()
        self.dismiss()

    def take_over(self):
        """Returns the statement and what is missing."""
        new = self.standby
        new.daemon.thaw("store")
        self.lab.network.heal_one_way(self.primary, new)
        new.daemon.ensure()
        new.mailtwin("promote", "--force")
        new.daemon.wait_role("primary")
        new.dovecot.start()
        return self.statement(new), self.diary.missing(new)

    @staticmethod
    def statement(host):
        return json.loads(host.mailtwin("loss", "show", str(host.daemon.status()["epoch"]), "--json").stdout)

    def judge(self, said, missing):
        """Each is among the changes that are known to be missing, or in the time of which nobody knows."""
        known = [key for key in missing if self.diary.answered[key] + CAPTURE_S < seconds(said["open_from"])]
        assert len(known) <= said["known"]["changes"], (said, sorted(known))
        late = [key for key in missing if self.diary.answered[key] > seconds(said["open_until"])]
        assert not late, (said, late)
        if said["have_up_to_time"]:
            early = [key for key in missing if self.diary.answered[key] + CAPTURE_S < seconds(said["have_up_to_time"])]
            assert not early, (said, early)

    def come_back(self, missing):
        """The dead one is a standby, and what it had alone is where it was."""
        self.primary, self.standby = self.standby, self.primary
        new, old = self.primary, self.standby
        self.recruit()  # mail goes on meanwhile
        old.boot()
        old.daemon.start()
        old.daemon.wait_role("standby")
        new.daemon.wait_peer(old.name, "connected", 60)
        old.daemon.wait_status(lambda status: status["salvage"]["waiting"] == 0, 60, "all is delivered")
        final = wait_until(lambda: self.final(new), 20, "the loss statement is final")
        self.dismiss()
        self.lab.level(new)
        assert self.diary.check(new) == []
        assert final["found"]["messages"] >= len(missing), (final, missing)

    def final(self, host):
        said = self.statement(host)
        return said if said["state"] == "final" else None

    def fight(self, crashes):
        try:
            for number in range(crashes):
                fault = self.dice.choice(self.FAULTS)
                self.die(fault)
                said, missing = self.take_over()
                print(f"round {number}: {fault.__name__}, {self.diary.acts} acts, {len(missing)} missing, "
                      f"{said['known']['changes']} changes told", flush=True)
                self.judge(said, missing)
                self.come_back(missing)
            self.lab.same(self.primary)
        finally:
            self.dismiss()


def seed_of(default):
    return int(os.environ.get("MAILTWIN_SEED", default))


@pytest.mark.long
def test_what_is_missing_is_in_the_statement_and_comes_back_with_the_old_primary(make_lab):
    Campaign(make_lab, seed_of(3)).fight(3)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(201, 206))
def test_what_is_missing_is_in_the_statement_after_a_hundred_crashes(make_lab, seed):
    Campaign(make_lab, seed_of(seed)).fight(20)
