"""The LMTP gate: what was answered with 250 is on the standby, and nothing is delivered twice."""


import pytest
from lab import mail, proc, wait_until
from lab.dovecot import LMTP_PORT
from lab.gate import PORT, Gate, section
from lab.listener import Listener
from lab.lmtp import LmtpClient, LmtpError, LmtpLoad, message
from lab.postfix import Postfix

ANN = "ann@example.org"
DETAIL = "lmtp_save_to_detail_mailbox = yes\nlda_mailbox_autocreate = yes\n"  # ann+new is Ann's folder "new"
MANY = 150  # deliveries: more than a gate can sort the times of without asking for memory
USERS = [f"u{number}@example.org" for number in range(10)]


def gated(make_lab, when_alone="continue", timeout="30s", plugin=None):
    """A pair with a gate before the primary's Dovecot. plugin: settings of the plugin in that Dovecot."""
    lab = make_lab(["mx1", "mx2"], stores={"mail": {"kind": "maildir", "path": "/srv/store/vmail",
                                                    "durability": "durable", "when-alone": when_alone}})
    lab.text = section(timeout) + lab.text
    for host in lab.hosts.values():
        lab.configure(host)
    primary = lab.start(dovecot=False)
    primary.dovecot.start(DETAIL + primary.dovecot.with_plugin(**plugin) if plugin else "")
    gate = Gate(primary)
    gate.start()
    return lab, gate


def mta(lab):
    """Postfix on mx1 that delivers through the gate."""
    postfix = Postfix(lab["mx1"], f"inet:127.0.0.1:{PORT}")
    postfix.start()
    return postfix


def promote(old, new):
    """All of the old primary dies at once."""
    old.halt()
    new.mailtwin("promote", "--force")
    new.daemon.wait_role("primary")


def copies(host, ident):
    return len(mail.idents(host.path(host.mail)).get(ident, []))


def test_mail_answered_with_250_is_on_the_standby_when_the_primary_dies(make_lab):
    lab, _ = gated(make_lab)
    old, new = lab["mx1"], lab["mx2"]
    loads = [LmtpLoad(old, USERS[n:] + USERS[:n], port=PORT).start() for n in range(5)]
    wait_until(lambda: sum(len(load.history) for load in loads) > 200, 60, "no mail goes through")
    promote(old, new)
    history = [one for load in loads for one in load.stop()]
    assert mail.missing(history, new.path(new.mail)) == []


def test_mail_that_postfix_has_delivered_is_on_the_standby_when_the_primary_dies(make_lab):
    lab, _ = gated(make_lab)
    old, new = lab["mx1"], lab["mx2"]
    postfix = mta(lab)
    for number in range(40):
        postfix.send(f"mail-{number}@lab.invalid", USERS[:1 + number % 3])
    wait_until(lambda: old.log_text("postfix.log").count("status=sent") >= 60, 60, postfix.log)
    promote(old, new)
    log = old.log_text("postfix.log")
    assert "status=bounced" not in log
    found = mail.idents(new.path(new.mail))
    queued = dict(line.split(": ", 2)[1:] for line in log.splitlines() if "message-id=" in line)
    sent = [line.split(": ", 2)[1] for line in log.splitlines() if "status=sent" in line]
    for ident in queued:
        name = queued[ident].partition("<")[2].rstrip(">")
        assert len(found.get(name, [])) >= sent.count(ident), name


def test_without_a_standby_the_mta_keeps_the_mail_and_delivers_it_once(make_lab):
    lab, gate = gated(make_lab, when_alone="refuse")
    primary, standby = lab["mx1"], lab["mx2"]
    postfix = mta(lab)
    postfix.send("first@lab.invalid", USERS)
    postfix.wait_empty()
    standby.daemon.stop()
    primary.daemon.wait_status(lambda status: primary.daemon.peer("mx2", status).get("state") != "connected", 30,
                               "the standby is gone")
    wait_until(lambda: _refused(primary), 10, "the gate still takes mail", every=0.1)
    for number in range(5):
        postfix.send(f"mail-{number}@lab.invalid", [ANN])
    wait_until(lambda: len(postfix.reasons()) == 5 and all("451 4.3.0" in why for why in postfix.reasons()), 30,
               lambda: f"{postfix.queue()}\n{postfix.log()}")
    assert "No standby protects mail now" in postfix.reasons()[0]
    assert copies(primary, "mail-0@lab.invalid") == 0, "the server got what the barrier would not have let through"
    assert gate.events("GATE_SHUT")
    standby.daemon.start()
    postfix.wait_empty()
    assert gate.events("GATE_OPEN")
    for number in range(5):
        assert copies(primary, f"mail-{number}@lab.invalid") == 1
    lab.level(primary)
    assert all(copies(standby, f"mail-{number}@lab.invalid") == 1 for number in range(5))


def gate_row(host):
    """What the status says of the gate; it must not wait for it."""
    return host.daemon.status()["gates"][0]


def wait_row(host, good, what):
    def found():
        row = gate_row(host)
        return row["state"] != "absent" and good(row)
    wait_until(found, 30, lambda: f"{what}: {gate_row(host)}", every=0.1)


def test_the_status_counts_what_a_gate_lets_through_holds_and_refuses(make_lab):
    lab, gate = gated(make_lab, when_alone="refuse", timeout="1s")
    primary, standby = lab["mx1"], lab["mx2"]
    client = LmtpClient(primary, port=PORT)
    for _ in range(MANY):
        client.deliver(ANN)
    wait_row(primary, lambda row: row["released"] == MANY, "all are released")
    row = gate_row(primary)
    assert (row["state"], row["accepted"], row["connections"], row["refused"]) == ("running", MANY, 1, 0)
    assert 0 < row["barrier"]["p50_seconds"] <= row["barrier"]["p99_seconds"] <= row["barrier"]["longest_seconds"]

    standby.daemon.freeze()
    ident, data = message(1, ANN)
    client.begin(ANN, data)
    with pytest.raises(LmtpError, match="451"):
        client.end()
    wait_row(primary, lambda row: row["held_back"] == 1 and row["accepted"] == MANY + 1, "one is held back")
    standby.daemon.thaw()
    lab.level(primary)
    client.deliver_bytes(ANN, data, ident)
    wait_row(primary, lambda row: row["confirmed"] == 1 and row["accepted"] == row["released"] == MANY + 1,
             "its retry is confirmed")

    standby.daemon.stop()
    primary.daemon.wait_status(lambda status: status["state"] == "refusing", 30, "the primary is alone")
    wait_until(lambda: _refused(primary), 10, "the gate still takes mail", every=0.1)
    wait_row(primary, lambda row: row["refused"] > 0, "refusals are counted")
    client.close()
    gate.process.freeze()
    wait_row(primary, lambda row: row["state"] == "silent" and row["released"] == MANY + 1, "a gate that hangs is told")
    gate.kill9()
    assert "SILENT" in primary.mailtwin("status").stdout
    gate.start()
    wait_row(primary, lambda row: row["state"] == "running" and row["released"] == 0, "a new gate counts anew")


def test_what_a_gate_holds_is_counted_while_it_is_held(make_lab):
    lab, _ = gated(make_lab, timeout="5m")
    primary, standby = lab["mx1"], lab["mx2"]
    standby.daemon.freeze()
    with LmtpClient(primary, port=PORT) as client:
        ident, data = message(1, ANN)
        client.begin(ANN, data)
        wait_row(primary, lambda row: row["held"] == 1 and row["released"] == 0, "it is held")
        standby.daemon.thaw()
        client.end()
        wait_row(primary, lambda row: row["held"] == 0 and row["released"] == 1, f"{ident} is released")


def test_who_waits_for_a_standby_that_is_lost_is_told_at_once(make_lab):
    """Not after `timeout`, which is far longer here than the client's patience."""
    lab, gate = gated(make_lab, when_alone="refuse", timeout="5m")
    primary, standby = lab["mx1"], lab["mx2"]
    standby.daemon.freeze()
    with LmtpClient(primary, port=PORT, timeout=100) as client:
        ident, data = message(1, ANN)
        client.begin(ANN, data)
        wait_until(lambda: copies(primary, ident) == 1, 20, "the server does not get it")
        standby.daemon.kill9()
        with pytest.raises(LmtpError, match="451 4.3.0 No standby protects mail now"):
            client.end()
    standby.daemon.ensure()
    wait_until(lambda: not _refused(primary), 30, "the gate takes no mail", every=0.1)
    with LmtpClient(primary, port=PORT) as client:
        client.deliver_bytes(ANN, data, ident)
    assert gate.events("GATE_CONFIRMED") and copies(primary, ident) == 1, "its retry is confirmed"
    lab.level(primary)
    lab.same(primary)


def _refused(host):
    """Nothing is delivered by asking."""
    with LmtpClient(host, port=PORT) as client:
        client.sock.sendall(b"MAIL FROM:<sender@lab.invalid>\r\n")
        return client.file.readline().startswith(b"451 4.3.0 ")


@pytest.mark.parametrize("kill", [False, pytest.param(True, marks=pytest.mark.long)],
                         ids=["same_gate", "gate_killed_meanwhile"])
def test_a_retry_of_what_the_server_has_is_confirmed_and_not_delivered_again(make_lab, kill):
    lab, gate = gated(make_lab, when_alone="refuse", timeout="1s")
    primary, standby = lab["mx1"], lab["mx2"]
    postfix = mta(lab)
    postfix.send("first@lab.invalid", [ANN])
    postfix.wait_empty()
    standby.daemon.freeze()
    for number in range(3):
        postfix.send(f"mail-{number}@lab.invalid", [ANN, *USERS[:2]])
    wait_until(lambda: len([why for why in postfix.reasons() if "451 4.3.0" in why]) == 9, 30,
               lambda: f"{postfix.queue()}\n{postfix.log()}")
    assert copies(primary, "mail-0@lab.invalid") == 3, "the server has them"
    if kill:
        gate.kill9()
        gate.start()
    standby.daemon.thaw()
    postfix.wait_empty()
    for number in range(3):
        assert copies(primary, f"mail-{number}@lab.invalid") == 3, "each recipient once"
    assert gate.events("GATE_HELD_BACK") and gate.events("GATE_CONFIRMED")
    postfix.send("last@lab.invalid", [ANN])
    postfix.wait_empty()
    lab.level(primary)
    lab.same(primary)


def test_a_retry_is_one_copy_when_the_plugin_in_the_server_waits_too(make_lab):
    """Ann's mail is stored by sieve, Bob's is not. Of the third recipient's the plugin refuses to call it safe that a
    folder was made, and the mail is not there yet."""
    lab, gate = gated(make_lab, when_alone="refuse", timeout="1s", plugin={"kinds": "all", "timeout": "1s"})
    primary, standby = lab["mx1"], lab["mx2"]
    primary.dovecot.sieve("ann", 'require ["fileinto", "mailbox"]; fileinto :create "Work";')
    users = [ANN, "bob@example.org", "bob+new@example.org"]
    with LmtpClient(primary, port=PORT) as client:
        client.deliver(users[1])
        lab.level(primary)
        standby.daemon.freeze()
        ident, data = message(1, ANN, ident="plugin@lab.invalid")
        said = client.send(users, data)
        assert [line[:10] for line in said] == ["451 4.3.0 ", "451 4.3.0 ", "451 4.2.0 "], said
        assert copies(primary, ident) == 2, "the server has two of them"
        standby.daemon.thaw()
        lab.level(primary)
        said = client.send(users, data)
        assert all(line.startswith("250 ") for line in said), said
    assert copies(primary, ident) == len(users), "each once"
    assert gate.events("GATE_HELD_BACK") and gate.events("GATE_CONFIRMED")
    lab.level(primary)
    lab.same(primary)


def test_a_gate_that_is_killed_under_load_loses_nothing_and_doubles_only_what_was_under_way(make_lab):
    lab, gate = gated(make_lab)
    primary, standby = lab["mx1"], lab["mx2"]
    postfix = mta(lab)
    sent = 0
    for _ in range(5):
        for _ in range(20):
            postfix.send(f"mail-{sent}@lab.invalid", [USERS[sent % 10]])
            sent += 1
        gate.kill9()
        gate.start()
    postfix.wait_empty()
    counts = [copies(primary, f"mail-{number}@lab.invalid") for number in range(sent)]
    assert min(counts) == 1, "a mail is missing"
    under_way = primary.log_text("postfix.log").count("while sending end of data")
    assert sum(counts) - sent <= under_way, "more was doubled than what the server was working on when the gate died"
    lab.level(primary)
    lab.same(primary)


class OddServer:
    """An LMTP server that says 250 to everything, to DATA as well."""

    def __init__(self, host):
        self.inside = "/run/lab/odd.sock"
        self.heard = []
        self._listener = Listener(host.directory / "odd.sock", self._serve, many=True)

    def _serve(self, sock):
        with sock, sock.makefile("rb") as lines:
            sock.sendall(b"220 odd.lab.invalid\r\n")
            for line in lines:
                self.heard.append(line)
                sock.sendall(b"250 2.0.0 Yes\r\n")

    def close(self):
        self._listener.close()


def test_a_server_that_takes_what_it_was_not_given_is_not_believed(make_lab):
    """Postfix keeps the mail, and delivers it when the server is one again."""
    lab, gate = gated(make_lab)
    primary = lab["mx1"]
    gate.stop()
    odd = OddServer(primary)
    lab.configure(primary, lab.text.replace(f"inet:127.0.0.1:{LMTP_PORT}", f"unix:{odd.inside}"))
    gate.start()
    postfix = mta(lab)
    postfix.send("odd@lab.invalid", [ANN])
    wait_until(postfix.reasons, 30, lambda: postfix.log())
    wait_until(lambda: "451 4.3.0" in postfix.reasons()[0], 30, lambda: f"{postfix.queue()}\n{postfix.log()}")
    assert b"DATA\r\n" in odd.heard and not any(b"odd@lab.invalid" in line for line in odd.heard)
    odd.close()
    gate.stop()
    lab.configure(primary)
    gate.start()
    postfix.wait_empty()
    assert copies(primary, "odd@lab.invalid") == 1
    assert "status=bounced" not in primary.log_text("postfix.log")


def test_fifty_deliveries_at_a_time_share_barriers(make_lab):
    lab, gate = gated(make_lab)
    primary, standby = lab["mx1"], lab["mx2"]
    loads = [LmtpLoad(primary, USERS[n % 10:] + USERS[:n % 10], port=PORT).start() for n in range(50)]
    wait_until(lambda: sum(len(load.history) for load in loads) > 500, 60, "no mail goes through")
    history = [one for load in loads for one in load.stop()]
    assert mail.missing(history, standby.path(standby.mail)) == []
    assert sum(load.errors for load in loads) == 0
    gate.stop()


def test_a_large_mail_does_not_stay_in_the_memory_of_the_gate(make_lab):
    lab, gate = gated(make_lab)
    primary = lab["mx1"]
    with LmtpClient(primary, port=PORT, timeout=60) as client:
        client.deliver(ANN, size=30_000_000)
        assert proc.memory_bytes(gate.process.pid) < 20_000_000, "the gate keeps mail in its memory"
        client.deliver(ANN, size=1000)


def test_a_node_that_is_no_primary_takes_no_mail(make_lab):
    lab, _ = gated(make_lab)
    standby = lab["mx2"]
    standby.dovecot.start()
    Gate(standby).start()
    with LmtpClient(standby, port=PORT) as client, pytest.raises(LmtpError, match="451 4.3.0 .*not the primary"):
        client.deliver(ANN)
