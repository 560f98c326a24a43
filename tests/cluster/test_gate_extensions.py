"""LMTP's extensions through the gate: what the server behind gets is what the client sent, byte for byte, also in the
transaction in which the gate itself delivers a retry. Dovecot where it has the extension, else a server of the harness's."""

import pytest
from lab import mail
from lab.barrier import SAFE, FakeBarrier, late
from lab.gate import PORT, Gate, section
from lab.listener import Listener
from lab.lmtp import LmtpClient

ANN, BOB, EVE = "ann@example.org", "bob@example.org", "eve@example.org"
HELD, FINE, GO = "451 4.3.0 ", "250 ", "354 "
HEAD = b"Message-ID: <%s>\r\nSubject: gr\xfc\xdfe\r\n\r\n"
EIGHT_BIT = bytes(range(0x80, 0x100)) + "\r\nüber €\r\n".encode()
TRAPS = b".\r\n..\r\n. \r\nRSET\r\nBDAT 5 LAST\r\n"
RAW = b"\n.\nQUIT\n\r.\r\n\r\n.\r\nMAIL FROM:<x>\r\n\rend"  # in chunks alone: after DATA it would be several things
CHUNKS = (1, 7, 0, 60, 2, 90)  # the rest is the last one


def dotted(content):
    """As it follows DATA."""
    return b"".join(b"." + line if line.startswith(b".") else line for line in content.splitlines(True)) + b".\r\n"


def data(content):
    return [b"DATA\r\n", dotted(content)]


def bdat(content):
    """In chunks that end in the middle of a line's end, one of them empty."""
    parts, at = [], 0
    for size in CHUNKS:
        parts.append(b"BDAT %d\r\n%s" % (size, content[at:at + size]))
        at += size
    rest = content[at:]
    return [*parts, b"BDAT %d LAST\r\n%s" % (len(rest), rest)]


WAYS = {"data": (data, TRAPS), "bdat": (bdat, TRAPS + RAW)}


@pytest.fixture(params=list(WAYS))
def way(request):
    """(how content is sent, its bytes)."""
    send, more = WAYS[request.param]
    return send, HEAD % request.param.encode() + EIGHT_BIT + more


class Desk:
    """A host with a gate before Dovecot or a Script, and a barrier that says what a scenario wants."""

    def __init__(self, make_lab, backend=None):
        lab = make_lab(["mx1"], settings={"run-dir": "/run/lab"})
        lab.text = section("2s", **({"backend": f"unix:{Script.inside}"} if backend else {})) + lab.text
        self.host = lab["mx1"]
        lab.configure(self.host)
        lab.boot()
        self.barrier = FakeBarrier(self.host)
        self.script = Script(self.host) if backend else None
        if self.script is None:
            self.host.dovecot.start("login_trusted_networks = 127.0.0.0/8\n")
        Gate(self.host).start()

    def close(self):
        for part in (self.barrier, self.script):
            if part is not None:
                part.__exit__(None, None, None)

    def client(self):
        return LmtpClient(self.host, port=PORT)

    def stored(self, ident, user):
        """The files in which a user has the mail, as bytes."""
        home = self.host.path(self.host.mail) / "example.org" / user.partition("@")[0]
        return [open(path, "rb").read() for path in mail.idents(home).get(ident, [])]

    def has_once(self, ident, user, content):
        """Dovecot writes fields of its own before it, and a line's end as LF."""
        files = self.stored(ident, user)
        assert len(files) == 1, (user, files)
        assert files[0].endswith(content.replace(b"\r\n", b"\n")), (user, files[0])


@pytest.fixture
def desk(make_lab):
    """desk(backend=None) is a Desk."""
    desks = []

    def make(backend=None):
        desks.append(Desk(make_lab, backend))
        return desks[-1]
    yield make
    for one in desks:
        one.close()


class Script:
    """An LMTP server that takes everything and remembers the lines and mails it got. It has what Dovecot has not."""

    inside = "/run/lab/script.sock"
    EXTENSIONS = ("PIPELINING", "CHUNKING", "8BITMIME", "SMTPUTF8", "DSN", "SIZE 0", "ENHANCEDSTATUSCODES")

    def __init__(self, host):
        self.lines, self.mails = [], []
        self._listener = Listener(host.directory / "script.sock", self._serve, many=True)

    def __exit__(self, kind, value, trace):
        self._listener.close()

    def _serve(self, sock):
        with sock, sock.makefile("rb") as lines:
            sock.sendall(b"220 script.lab.invalid\r\n")
            rcpts, content = [], b""
            for line in lines:
                self.lines.append(line)
                verb = line[:4].upper()
                if verb in (b"LHLO", b"RSET", b"MAIL"):
                    rcpts, content = [], b""
                elif verb == b"RCPT":
                    rcpts = [*rcpts, line]
                elif verb == b"BDAT":
                    content += lines.read(int(line.split()[1]))
                elif verb == b"DATA":
                    sock.sendall(b"354 Go\r\n")
                    content = self._content(lines)
                if verb == b"DATA" or line.endswith(b" LAST\r\n"):
                    self.mails.append((rcpts, content))
                    sock.sendall(b"250 2.0.0 Taken\r\n" * len(rcpts))
                else:
                    shown = self.EXTENSIONS if verb == b"LHLO" else ()
                    sock.sendall("".join(f"250-{one}\r\n" for one in ("script", *shown)).encode() + b"250 HELP\r\n")

    @staticmethod
    def _content(lines):
        content = b""
        while (line := lines.readline()) != b".\r\n":
            content += line.removeprefix(b".")
        return content


def ask(client, *texts):
    """Says all of it at once, and returns as many replies as there are texts."""
    client.sock.sendall(b"".join(texts))
    return [client.reply() for _ in texts]


def send(client, commands, content, way, rcpts):
    """One mail: all commands at once, as PIPELINING and CHUNKING allow. The reply to each recipient."""
    parts = way(content)
    said = ask(client, *commands)
    assert all(line.startswith(FINE) for line in said), said
    for part in parts[:-1]:
        line, = ask(client, part)
        assert line.startswith(GO if part == b"DATA\r\n" else FINE), line
    client.sock.sendall(parts[-1])
    return [client.reply() for _ in range(rcpts)]


def commands(users):
    return [b"MAIL FROM:<s@lab.invalid> BODY=8BITMIME\r\n", *(f"RCPT TO:<{user}>\r\n".encode() for user in users)]


def codes(said):
    return [line[:len(HELD)] if line.startswith(HELD) else line[:4] for line in said]


def test_eight_bit_content_and_chunks_reach_dovecot_as_they_are_once(desk, way):
    """At the first attempt for two, at the retry for a third."""
    at = desk()
    how, content = way
    ident = content[13:17].decode().rstrip(">")
    with at.client() as client:
        at.barrier.answer = late
        assert codes(send(client, commands([ANN, BOB]), content, how, 2)) == [HELD, HELD]
        at.barrier.answer = SAFE
        assert codes(send(client, commands([ANN, EVE, BOB]), content, how, 3)) == [FINE] * 3
        assert ask(client, b"NOOP\r\n")[0].startswith(FINE), "the session goes on"
    for user in (ANN, BOB, EVE):
        at.has_once(ident, user, content)


def test_recipients_and_mails_that_come_in_one_packet_have_their_own_replies(desk):
    at = desk()
    first, second = (HEAD % name + TRAPS for name in (b"first", b"second"))
    with at.client() as client:
        said = ask(client, *commands([ANN, "not an address", BOB]), b"DATA\r\n")
        assert [line[:3] for line in said] == ["250", "250", "501", "250", "354"], said
        client.sock.sendall(dotted(first) + b"".join(commands([BOB])) + b"DATA\r\n" + dotted(second) + b"QUIT\r\n")
        said = [client.reply()[:4] for _ in range(7)]
        assert said == [FINE, FINE, FINE, FINE, GO, FINE, "221 "], said
    at.has_once("first", ANN, first)
    at.has_once("first", BOB, first)
    at.has_once("second", BOB, second)
    assert at.stored("second", ANN) == []


def test_who_the_client_is_reaches_dovecot_and_begins_the_session_anew(desk):
    """XCLIENT; also for what the gate delivers itself."""
    at = desk()
    content = HEAD % b"x" + TRAPS
    with at.client() as client:
        assert ask(client, *commands([BOB])) == ["250 2.1.0 OK", "250 2.1.5 OK"]
        assert ask(client, b"RSET\r\n")[0].startswith(FINE)
        assert ask(client, b"XCLIENT ADDR=192.0.2.9 PORT=1234\r\n")[0].startswith("220 ")
        assert ask(client, b"LHLO mta.lab.invalid\r\n")[0].startswith(FINE)
        at.barrier.answer = late
        assert codes(send(client, commands([ANN]), content, data, 1)) == [HELD]
        at.barrier.answer = SAFE
        assert codes(send(client, commands([ANN, EVE]), content, data, 2)) == [FINE, FINE]
    for user in (ANN, EVE):
        at.has_once("x", user, content)
        assert b"[192.0.2.9]" in at.stored("x", user)[0], "Dovecot writes who it was"
    assert at.stored("x", BOB) == []


def test_parameters_of_dsn_and_smtputf8_go_on_with_each_transaction(desk, way):
    at = desk("script")
    how, content = way
    sender = "MAIL FROM:<jürgen@bücher.example> SMTPUTF8 BODY=8BITMIME RET=HDRS ENVID=QQ+2B31 SIZE=9000\r\n".encode()
    ann = "RCPT TO:<änn@example.org> NOTIFY=SUCCESS,FAILURE ORCPT=utf-8;änn\\x{40}example.org\r\n".encode()
    bob = b"rcpt to:<bob@example.org>  NOTIFY=NEVER\r\n"
    eve = b"RCPT TO:<eve@example.org> ORCPT=rfc822;Eve+2B1@example.org NOTIFY=DELAY\r\n"
    with at.client() as client:
        client.sock.sendall(b"LHLO mta.lab.invalid\r\n")
        shown = [client.file.readline()[4:].decode().strip() for _ in ("script", *Script.EXTENSIONS, "HELP")]
        assert tuple(shown[1:-1]) == Script.EXTENSIONS
        at.script.lines.clear()
        at.barrier.answer = late
        assert codes(send(client, [sender, ann, bob], content, how, 2)) == [HELD, HELD]
        assert at.script.lines[:3] == [sender, ann, bob]
        at.script.lines.clear()
        at.barrier.answer = SAFE
        assert codes(send(client, [sender, ann, eve, bob], content, how, 3)) == [FINE] * 3
    end = b"DATA\r\n" if how is data else b"BDAT %d LAST\r\n" % len(content)
    assert at.script.lines == [sender, ann, eve, bob, b"RSET\r\n", sender, eve, end]
    assert at.script.mails == [([ann, bob], content), ([eve], content)]
