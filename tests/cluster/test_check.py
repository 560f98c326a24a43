"""`mailtwin check`: whether the mail server, the MTA and the directory of a node are set up so that mail is safe."""

import json

import pytest
from lab import slapd
from lab.dovecot import LMTP_PORT, PLUGIN
from lab.gate import PORT, section
from lab.postfix import PLACE, Postfix
from lab.slapd import PEOPLE

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
    assert state == "warn" and "waits twice" in said, "there is a gate"
    with_plugin(server, lmtp_kinds="none")
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


def test_control_files_and_indexes_that_no_store_has_are_told(server):
    """Control files without a twin are no less than the UIDs of all folders."""
    assert one_finding(server, "mail_location")[0] == "ok"
    text = (server.directory / "dovecot.conf").read_text()
    for key, state in (("INDEX", "warn"), ("CONTROL", "fail")):
        (server.directory / "dovecot.conf").write_text(
            text.replace("%d/%n\nmail_plugins", f"%d/%n:{key}=/var/elsewhere/%d/%n\nmail_plugins"))
        found = one_finding(server, "mail_location")
        assert found[0] == state and f"{key}=/var/elsewhere/%d/%n" in found[1], found


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


# --- the directory ---

TWIN = f"uid=twin,{PEOPLE}"
BY_ROOTDN = slapd.store()
BY_TWIN = {**BY_ROOTDN, "bind-dn": TWIN, "password-file": "/run/lab/twin-password"}
CONFIG_AS = ("ldapmodify", "-x", "-H", slapd.URI, "-D", "cn=config", "-w", slapd.SECRET)
DATABASE = "olcDatabase={1}mdb,cn=config"


def directory(make_lab, keys=None, syncprov=True):
    """A node with a slapd of some entries, and one for the account TWIN, which is no rootdn."""
    lab = make_lab(["mx1"], stores={"mail": {"kind": "maildir", "path": "/srv/store/vmail"},
                                    "directory": keys or BY_ROOTDN}, settings={"directory-user": "nobody"})
    lab.start(dovecot=False)
    host = lab["mx1"]
    server = slapd.Slapd(host)
    server.install()
    if not syncprov:
        host.run("sh", "-c", f"rm {slapd.PLACE}/conf/cn=config/olcDatabase={{1}}mdb/olcOverlay=*syncprov.ldif")
    server.start()
    server.fill()
    (host.directory / "twin-password").write_text("pass-twin\n")
    (host.directory / "twin-password").chmod(0o600)
    server.add(slapd.person("twin") + "".join(slapd.person(f"u{number}") for number in range(20)))
    return host, server


def test_a_directory_that_can_be_replicated_is_said_to_be(make_lab):
    host, server = directory(make_lab)
    state, said = one_finding(host, "directory")
    assert state == "ok" and "and 23 entries" in said, said
    server.kill9()
    state, said = one_finding(host, "directory")
    assert state == "fail" and "Can't contact LDAP server; does the server run" in said
    (host.directory / "ldap-password").write_text("wrong\n")
    server.start()
    assert "Invalid credentials" in one_finding(host, "directory")[1]
    (host.directory / "ldap-password").chmod(0o644)
    assert "chmod 0600" in one_finding(host, "directory")[1]


def test_a_directory_without_syncprov_is_told(make_lab):
    host, _ = directory(make_lab, syncprov=False)
    state, said = one_finding(host, "directory")
    assert state == "fail" and "add olcOverlay=syncprov" in said, said


def test_an_account_that_does_not_see_everything_is_told(make_lab):
    host, _ = directory(make_lab, BY_TWIN)
    host.run(*CONFIG_AS, stdin=f"dn: {DATABASE}\nchangetype: modify\nreplace: olcAccess\n"
             "olcAccess: to attrs=userPassword by anonymous auth by * none\nolcAccess: to * by * read\n")
    state, said = one_finding(host, "directory")
    assert state == "warn" and f"{TWIN} sees no userPassword" in said, said
    host.run(*CONFIG_AS, stdin=f"dn: {DATABASE}\nchangetype: modify\nadd: olcSizeLimit\nolcSizeLimit: 5\n")
    state, said = one_finding(host, "directory")
    assert state == "fail" and f"ends a search of {TWIN} after 5 entries" in said, said
    host.run(*CONFIG_AS, stdin=f"dn: {DATABASE}\nchangetype: modify\nadd: olcLimits\n"
             f"olcLimits: dn.exact=\"{TWIN}\" size=unlimited time=unlimited\n-\nreplace: olcAccess\n"
             f"olcAccess: to attrs=userPassword by dn.exact=\"{TWIN}\" read by anonymous auth by * none\n"
             "olcAccess: to * by * read\n")
    state, said = one_finding(host, "directory")
    assert state == "ok", said


def test_the_server_knows_who_asks_by_the_account_of_the_daemon(make_lab):
    """Over ldapi, without a bind-dn: not by root's, which asks for the check."""
    keys = {key: value for key, value in BY_ROOTDN.items() if key not in ("bind-dn", "password-file")}
    host, _ = directory(make_lab, {**keys, "uri": "ldapi://%2frun%2fldapi"})
    state, said = one_finding(host, "directory")
    assert state == "ok", said
