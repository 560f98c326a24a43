"""A real Postfix of a host's own: takes mail by SMTP, hands all of it to one LMTP address."""

import json
import smtplib

from .mta import BACKOFF_SECONDS
from .wait import wait_until

SMTP_PORT = 25
PLACE = "/run/lab/postfix"

MAIN = """\
compatibility_level = 3.6
queue_directory = {place}/queue
data_directory = {place}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = {name}.lab.invalid
mydestination =
mynetworks = 0.0.0.0/0
inet_protocols = ipv4
alias_maps =
alias_database =
virtual_mailbox_domains = example.org
virtual_transport = lmtp:{transport}
lmtp_destination_concurrency_limit = 50
lmtp_destination_recipient_limit = 50
smtpd_client_connection_count_limit = 0
minimal_backoff_time = {backoff}s
maximal_backoff_time = {backoff}s
queue_run_delay = 1s
maillog_file = /run/lab/log/postfix.log
maillog_file_prefixes = /run/lab
smtpd_recipient_restrictions = permit_mynetworks
{extra}
"""
MASTER = """\
smtp      inet  n - n - 100 smtpd
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp      unix  - - n - - smtp
relay     unix  - - n - - smtp
showq     unix  n - n - - showq
error     unix  - - n - - error
retry     unix  - - n - - error
discard   unix  - - n - - discard
lmtp      unix  - - n - 100 lmtp
anvil     unix  - - n - 1 anvil
scache    unix  - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """transport: Postfix's own words for where the mail goes, such as inet:127.0.0.1:2424."""

    def __init__(self, host, transport, extra=""):
        self.host = host
        self.transport = transport
        self.extra = extra

    def start(self):
        host = self.host
        host.run("mkdir", "-p", f"{PLACE}/conf", f"{PLACE}/queue", f"{PLACE}/data")
        host.run("chown", "postfix:postfix", f"{PLACE}/data")
        conf = host.directory / "postfix" / "conf"
        (conf / "main.cf").write_text(MAIN.format(place=PLACE, name=host.name, transport=self.transport,
                                                  extra=self.extra, backoff=BACKOFF_SECONDS))
        (conf / "master.cf").write_text(MASTER)
        self._postfix("start")
        wait_until(self._answers, 20, lambda: f"Postfix of {host.name} does not answer:\n{self.log()}")

    def _postfix(self, *command, check=True):
        return self.host.run("postfix", "-c", f"{PLACE}/conf", *command, check=check)

    def _answers(self):
        try:
            with self.host.connect(SMTP_PORT, timeout=2) as sock:
                return sock.recv(200).startswith(b"220")
        except OSError:
            return False

    def stop(self):
        self._postfix("stop", check=False)

    def send(self, ident, users, size=1200):
        """Hands a mail over by SMTP; its id is to be found by mail.idents()."""
        head = f"Message-ID: <{ident}>\r\nFrom: sender@lab.invalid\r\nSubject: {ident}\r\n\r\n"
        with _Client(self.host) as client:
            client.sendmail("sender@lab.invalid", users, head + ("x" * 70 + "\r\n") * (size // 72))

    def queue(self):
        """What waits: a list of dicts as postqueue tells them."""
        text = self.host.run("postqueue", "-c", f"{PLACE}/conf", "-j").stdout
        return [json.loads(line) for line in text.splitlines()]

    def reasons(self):
        """Why recipients wait."""
        return [one.get("delay_reason", "") for mail in self.queue() for one in mail["recipients"]]

    def flush(self):
        self.host.run("postqueue", "-c", f"{PLACE}/conf", "-f")

    def wait_empty(self, within=60):
        def empty():
            if not self.queue():
                return True
            self.flush()
            return False
        wait_until(empty, within, lambda: f"mail waits in the queue: {self.queue()}\n{self.log()}", every=0.5)

    def log(self):
        return self.host.log_text("postfix.log")[-4000:]


class _Client(smtplib.SMTP):
    """smtplib on a connection through the lab's switch."""

    def __init__(self, host):
        self.lab_host = host
        super().__init__(host.address, SMTP_PORT, local_hostname="client.lab.invalid", timeout=30)

    def _get_socket(self, host, port, timeout):
        return self.lab_host.connect(port, timeout)
