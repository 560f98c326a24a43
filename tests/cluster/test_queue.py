"""A Postfix queue on the standby: mail that the primary had taken and not delivered yet is delivered there."""

import json
import re
import signal

import pytest

from lab import mail, proc
from lab.host import STORE
from lab.mailer import salvaged
from lab.mta import CONFIG_DIR, Postfix, Smtp

QUEUE = f"{STORE}/queue"
STORES = {"mail": {"kind": "maildir", "path": f"{STORE}/vmail"},
          "queue": {"kind": "queue", "path": QUEUE, "config-dir": CONFIG_DIR}}
LATE, SLOW, HELD, DONE = (f"{user}@example.org" for user in ("late", "slow", "held", "done"))
NOBODY = 2525  # nobody listens there


def start(make_lab, long_ids):
    """A pair with a Postfix each; mx1's runs. Its mail for `late` has nowhere to go."""
    lab = make_lab(stores=STORES)
    lab.boot()
    for host in lab.hosts.values():
        host.run("mkdir", QUEUE)
        host.postfix = Postfix(host, long_ids)
    lab.pki()
    for host in lab.hosts.values():
        host.daemon.start()
    primary = lab["mx1"]
    primary.mailtwin("promote")
    primary.dovecot.start()
    primary.postfix.configure(f"{{ {LATE}=lmtp:inet:[127.0.0.1]:{NOBODY} }}")
    primary.postfix.start()
    lab["mx2"].postfix.configure()
    return lab


def freeze_dovecot(host):
    """It is connected to and says nothing."""
    for pid in [host.dovecot.process.pid, *proc.descendants(host.dovecot.process.pid)]:
        proc.send(pid, signal.SIGSTOP)


def fill(lab):
    """Mail in every state: delivered, active, deferred, on hold. Returns {user: [ids]}."""
    primary = lab["mx1"]
    sent = {user: [] for user in (DONE, SLOW, LATE, HELD)}
    with Smtp(primary) as smtp:
        for number in range(3):
            sent[DONE].append(smtp.send(f"done{number}", DONE))
        primary.postfix.wait_waiting({})
        for number in range(4):
            sent[LATE].append(smtp.send(f"late{number}", LATE, 300 if number else 200000))
            sent[HELD].append(smtp.send(f"held{number}", HELD))
        primary.postfix.wait_waiting({"deferred": 4, "hold": 4})
        freeze_dovecot(primary)
        for number in range(4):
            sent[SLOW].append(smtp.send(f"slow{number}", SLOW))
    primary.postfix.wait_waiting({"deferred": 4, "hold": 4, "active": 4})
    return sent


def each_once(host, sent):
    """Each mail is in the mailbox of its user, once."""
    found = mail.idents(host.path(host.mail))
    wrong = {ident: found.get(ident, []) for idents in sent.values() for ident in idents
             if len(found.get(ident, [])) != 1}
    assert not wrong, wrong


@pytest.mark.parametrize("long_ids", [False, pytest.param(True, marks=pytest.mark.long)], ids=["short", "long"])
def test_mail_that_waits_in_the_queue_is_delivered_once_after_the_primary_died(make_lab, long_ids):
    lab = start(make_lab, long_ids)
    sent = fill(lab)
    primary, standby = lab["mx1"], lab["mx2"]
    lab.level(primary)
    primary.halt()
    said = standby.mailtwin("promote", "--force").stdout
    renamed = re.search(r"12 mails are in the queue, (\d+) were renamed", said)
    assert renamed and (renamed.group(1) == "0") == long_ids, said  # a number may fit by chance
    standby.dovecot.start()
    standby.postfix.start()
    standby.postfix.run("postsuper", "-H", "ALL")
    standby.postfix.wait_waiting({})
    each_once(standby, sent)
    again = standby.mailtwin("promote")  # Postfix runs: a step that was done is not done again
    assert again.stdout == "this node is the primary\n"


@pytest.mark.long
def test_a_queue_that_postfix_uses_is_not_repaired_until_it_has_stopped(make_lab):
    lab = start(make_lab, long_ids=False)
    primary, standby = lab["mx1"], lab["mx2"]
    with Smtp(primary) as smtp:
        sent = {LATE: [smtp.send(f"early{number}", LATE) for number in range(3)]}
    primary.postfix.wait_waiting({"deferred": 3})
    lab.level(primary)
    primary.halt()
    standby.dovecot.start()
    standby.postfix.configure(f"{{ {LATE}=lmtp:inet:[127.0.0.1]:{NOBODY} }}")
    standby.postfix.start()
    assert "although this node is a standby" in standby.mailtwin("check", check=False).stdout
    done = standby.mailtwin("promote", "--force", check=False)
    assert done.returncode == 4 and "postfix stop" in done.stdout, done
    assert standby.daemon.status()["role"] == "primary"
    standby.postfix.stop()
    standby.postfix.configure()
    steps = json.loads(standby.mailtwin("promote", "--json").stdout)["steps"]
    assert [step["state"] for step in steps] == ["done"], steps
    standby.postfix.start()
    standby.postfix.wait_waiting({})
    each_once(standby, sent)


def test_a_mail_that_is_being_taken_is_not_half_on_the_standby(make_lab):
    """What Postfix has not marked complete is no mail: nothing of it is on the standby, or promoted."""
    lab = start(make_lab, long_ids=False)
    primary, standby = lab["mx1"], lab["mx2"]
    with Smtp(primary) as smtp:
        smtp.begin("half", LATE, 50000)
        lab.level(primary)
        written = list(primary.path(QUEUE).glob("incoming/*"))
        assert len(written) == 1 and not list(standby.path(QUEUE).glob("incoming/*"))
        ident = smtp.finish()
        primary.postfix.wait_waiting({"deferred": 1})
    lab.level(primary)
    lab.compare(primary, standby)
    texts = [one.read_bytes() for one in standby.path(QUEUE).glob("deferred/*/*")]
    assert len(texts) == 1 and ident.encode() in texts[0]


@pytest.mark.long
def test_what_stands_beside_a_name_lost_with_the_power_is_kept_too(make_lab):
    """The journal has the mail in active, the disk has it in incoming as before, and nobody has asked anybody for the
    name when the node becomes a standby: nothing is recorded of the mail while that name is held."""
    lab = start(make_lab, True)
    primary, standby = lab["mx1"], lab["mx2"]
    with Smtp(primary) as smtp:
        smtp.send("before", SLOW)
    primary.postfix.wait_waiting({})
    lab.level(primary)
    primary.sync()
    freeze_dovecot(primary)
    lab.network.cut(primary, standby)
    primary.daemon.freeze("store")
    with Smtp(primary) as smtp:
        ident = smtp.send("alone", SLOW)
    primary.postfix.wait_waiting({"active": 1})
    primary.daemon.thaw("store")
    primary.mailtwin("barrier", "--timeout", "1s", check=False)
    primary.power_cut()
    standby.mailtwin("promote", "--force")
    primary.daemon.start()
    primary.mailtwin("demote", "--force")
    lab.network.heal(primary, standby)
    standby.daemon.wait_peer("mx1", "connected", 60)
    lab.level(standby)
    assert ident in salvaged(primary)


def test_under_load_no_mail_that_was_safe_is_lost(make_lab):
    """Mail streams through the queue into mailboxes when the primary dies: whatever a barrier covered is delivered,
    or in the queue and delivered by the standby; what was on its way may come twice."""
    lab = start(make_lab, long_ids=True)
    primary, standby = lab["mx1"], lab["mx2"]
    safe, number = [], 0
    with Smtp(primary) as smtp:
        while len(safe) < 60:
            for user in (DONE, LATE, SLOW):
                smtp.send(f"load{number}", user)
                number += 1
            taken = list(smtp.taken)
            if number % 15 == 0 and primary.mailtwin("barrier", "--timeout", "10s", check=False).returncode == 0:
                safe = taken
        primary.halt()
    standby.mailtwin("promote", "--force")
    standby.dovecot.start()
    standby.postfix.start()
    standby.postfix.wait_waiting({}, 60)
    found = mail.idents(standby.path(standby.mail))
    assert [ident for ident in safe if ident not in found] == []
