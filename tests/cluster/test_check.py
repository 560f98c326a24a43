"""`mailtwin check`: whether the mail server, the MTA and the directory of a node are set up so that mail is safe."""

import json

import pytest
from lab.dovecot import LMTP_PORT, PLUGIN
from lab.gate import PORT, section
from lab.postfix import PLACE, Postfix

DOVECOT = "/etc/dovecot/dovecot.conf"


def findings(host, name):
    """What check says under a name: [(state, sentence)]."""
    checks = json.loads(host.mailtwin("check", "--json", check=False).stdout)["checks"]
    return [(one["state"], one["text"]) for one in checks if one["name"] == name]


def one_finding(host, name):
    found = findings(host, name)
    assert len(found) == 1, found
    return found[0]


@pytest.fixture
def server(make_lab):
    """A node whose programs find the lab's configuration where they look for it."""
    lab = make_lab(["mx1"])
    lab.text = section() + lab.text
    host = lab["mx1"]
    lab.configure(host)
    lab.start(dovecot=False)
    host.dovecot.start()
    host.run("mount", "--bind", "/run/lab/dovecot.conf", DOVECOT)
    return host


def with_plugin(host, **more):
    host.dovecot.stop()
    host.dovecot.start(host.dovecot.with_plugin(**more))


def test_a_dovecot_without_the_plugin_or_with_a_useless_one_is_told(server):
    state, said = one_finding(server, "dovecot")
    assert state == "warn" and "without the plugin" in said
    with_plugin(server)
    state, said = one_finding(server, "dovecot")
    assert state == "ok" and "asks at /run/mailtwin/barrier.sock" in said, said
    with_plugin(server, socket="/run/elsewhere/barrier.sock")
    state, said = one_finding(server, "dovecot")
    assert state == "fail" and "set mailtwin_socket = /run/mailtwin/barrier.sock" in said
    with_plugin(server, store="post")
    assert "the store \"post\"" in one_finding(server, "dovecot")[1]
    with_plugin(server, kinds="none")
    assert "waits for nothing" in one_finding(server, "dovecot")[1]

    with_plugin(server)
    module = server.directory / "modules" / PLUGIN
    built = server.path(f"{server.lab.build_inside}/{PLUGIN}").read_bytes()
    module.unlink()
    state, said = one_finding(server, "dovecot")
    assert state == "fail" and "nobody can log in" in said
    module.write_bytes(built.replace(b"2.3.ABIv", b"2.2.ABIv"))
    module.chmod(0o644)
    state, said = one_finding(server, "dovecot")
    assert state == "fail" and "was built for Dovecot 2.2.ABIv" in said
    module.write_bytes(built)
    module.chmod(0o600)
    state, said = one_finding(server, "dovecot")
    assert state == "fail" and "chmod 0644" in said
    assert findings(server, "barrier") == []
    server.run("chmod", "0750", "/run/mailtwin")
    assert "chmod 0755 /run/mailtwin" in one_finding(server, "barrier")[1]


def test_a_settings_file_that_dovecot_does_not_read_is_told_and_ends_nothing(server):
    (server.directory / "dovecot.conf").write_text("no such = setting\n")
    state, said = one_finding(server, "dovecot")
    assert state == "warn" and "doveconf does not tell its settings" in said
    assert one_finding(server, "configuration")[0] == "ok"


@pytest.mark.parametrize("transport, state, words", [
    (f"inet:127.0.0.1:{PORT}", "ok", "delivers to the gate"),
    (f"inet:127.0.0.1:{LMTP_PORT}", "fail", "delivers past the gate"),
    ("inet:127.0.0.1:2525", "warn", "does not deliver to the gate")], ids=["gate", "past", "elsewhere"])
def test_a_postfix_that_delivers_past_the_gate_is_told(server, transport, state, words):
    postfix = Postfix(server, transport)
    postfix.start()
    server.run("mount", "--bind", f"{PLACE}/conf", "/etc/postfix")
    found = one_finding(server, "postfix")
    assert found[0] == state and words in found[1], found
    postfix.stop()
