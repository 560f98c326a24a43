"""A real Postfix of a host's own: SMTP in, LMTP to the host's Dovecot; its queue is a folder of the lab's place."""

import json

from .dovecot import LMTP_PORT
from .lmtp import message
from .wait import wait_until

SMTP_PORT = 25
CONFIG_DIR = "/run/lab/postfix"

MAIN = """\
compatibility_level = 3.6
queue_directory = {queue}
data_directory = /run/postfix
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = /run/lab/log/postfix.log
maillog_file_prefixes = /run/lab
myhostname = {name}.lab.invalid
inet_interfaces = all
inet_protocols = ipv4
mydestination =
alias_maps =
local_recipient_maps =
mynetworks = 10.9.0.0/24, 127.0.0.0/8
smtpd_peername_lookup = no
smtpd_recipient_restrictions = check_recipient_access inline:{{ held@example.org=HOLD }}, permit_mynetworks, reject
virtual_mailbox_domains = example.org
virtual_mailbox_maps = static:all
virtual_transport = lmtp:inet:[127.0.0.1]:{lmtp}
transport_maps = {transports}
queue_run_delay = 1s
minimal_backoff_time = {backoff}s
maximal_backoff_time = {backoff}s
enable_long_queue_ids = {long_ids}
"""

# A mail that is tried again less than two seconds after it was deferred may still be locked by the agent that deferred
# it: Postfix then puts it back into incoming for a minute.
BACKOFF_SECONDS = 3

MASTER = """\
smtp      inet  n       -       n       -       -       smtpd
pickup    unix  n       -       n       60      1       pickup
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       3       1       qmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
showq     unix  n       -       n       -       -       showq
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
lmtp      unix  -       -       n       -       -       lmtp
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
postlog   unix-dgram n  -       n       -       1       postlogd
"""


class Postfix:
    """The MTA of one host. It runs where mail is taken: on the primary."""

    def __init__(self, host, long_ids, lmtp=LMTP_PORT):
        """lmtp: the port that it delivers to."""
        self.host = host
        self.long_ids = long_ids
        self.lmtp = lmtp
        self.queue = f"{host.place}/queue"

    def configure(self, transports=""):
        """transports: recipients whose mail goes elsewhere than to Dovecot, as an inline table's body."""
        folder = self.host.directory / "postfix"
        folder.mkdir(exist_ok=True)
        log = self.host.directory / "log/postfix.log"
        log.touch()
        log.chmod(0o666)  # Postfix's programs write it as different users
        table = f"inline:{{ {transports} }}" if transports else ""
        (folder / "main.cf").write_text(MAIN.format(queue=self.queue, name=self.host.name, lmtp=self.lmtp,
                                                    transports=table, backoff=BACKOFF_SECONDS,
                                                    long_ids="yes" if self.long_ids else "no"))
        (folder / "master.cf").write_text(MASTER)
        (folder / "dynamicmaps.cf").write_text("")

    def start(self):
        """Returns when it takes mail."""
        self.host.run("sh", "-ec", "mkdir -p /run/postfix && chown postfix /run/postfix")
        self.run("postfix", "start")
        wait_until(self._answers, 20, lambda: f"Postfix of {self.host.name} does not answer:\n{self.log()}")

    def run(self, program, *words, **options):
        return self.host.run(program, "-c", CONFIG_DIR, *words, **options)

    def stop(self):
        self.run("postfix", "stop")

    def kill9(self):
        """All of it at once: its master leads the process group."""
        pid = self.host.path(f"{self.queue}/pid/master.pid").read_text().strip()
        self.host.run("kill", "-9", "--", f"-{pid}")
        wait_until(lambda: self.run("postfix", "status", check=False).returncode != 0, 20, "Postfix outlives SIGKILL")

    def reload(self):
        self.run("postfix", "reload")

    def _answers(self):
        try:
            sock = self.host.connect(SMTP_PORT, timeout=2)
            greeting = sock.recv(200)
            sock.close()
        except OSError:
            return False
        return greeting.startswith(b"220")

    def log(self):
        return self.host.log_text("postfix.log")[-4000:]

    def waiting(self):
        """{name of a queue: [queue ids]} of what Postfix has."""
        found = {}
        for line in self.run("postqueue", "-j").stdout.splitlines():
            mail = json.loads(line)
            found.setdefault(mail["queue_name"], []).append(mail["queue_id"])
        return found

    def wait_waiting(self, expected, within=20):
        """Until the queues have that many mails each: {"deferred": 2}; {} is an empty queue."""
        def look():
            seen = self.waiting()
            return {name: len(ids) for name, ids in seen.items()} == expected and (seen or True)
        return wait_until(look, within, lambda: f"queues {self.waiting()}, not {expected}\n{self.log()}")


class Smtp:
    """One connection for any number of mails; `taken` has what was answered with 250."""

    def __init__(self, host, timeout=20):
        self.sock = host.connect(SMTP_PORT, timeout)
        self.file = self.sock.makefile("rb")
        self.taken = []
        self.ident = None
        self._expect(b"220")
        self._command(b"EHLO client.lab.invalid\r\n", b"250")

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.file.close()
        self.sock.close()

    def _expect(self, code):
        while True:
            line = self.file.readline()
            if line[:3] != code:
                raise OSError(f"SMTP: {line!r}, not {code!r}")
            if line[3:4] != b"-":
                return

    def _command(self, line, code):
        self.sock.sendall(line)
        self._expect(code)

    def send(self, number, user, size=1200, others=()):
        """Returns the Message-ID, once Postfix has taken the mail. others: further recipients."""
        self.begin(number, user, size, others)
        return self.finish()

    def begin(self, number, user, size=1200, others=()):
        """The mail is on its way and not ended."""
        self.ident, text = message(number, user, size)
        self._command(b"MAIL FROM:<sender@lab.invalid>\r\n", b"250")
        for one in (user, *others):
            self._command(b"RCPT TO:<" + one.encode() + b">\r\n", b"250")
        self._command(b"DATA\r\n", b"354")
        self.sock.sendall(text)

    def finish(self):
        self._command(b".\r\n", b"250")
        self.taken.append(self.ident)
        return self.ident
