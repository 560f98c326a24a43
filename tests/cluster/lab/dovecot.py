"""A real Dovecot of a host's own: LMTP over TCP and a unix socket, IMAP, POP3; virtual users of one uid."""

import os
import signal
from pathlib import Path

from . import proc
from .wait import wait_until

LMTP_PORT, IMAP_PORT, POP3_PORT = 24, 143, 110
VMAIL_UID = 5000
PASSWORD = "secret"

CONFIG = """\
protocols = imap pop3 lmtp
listen = *
instance_name = {name}
base_dir = /run/dovecot
state_dir = /run/dovecot-state
log_path = /run/lab/log/dovecot.log
ssl = no
disable_plaintext_auth = no
first_valid_uid = 1
mail_location = maildir:{mail}/%d/%n
mail_plugins = quota acl
lmtp_save_to_detail_mailbox = no
maildir_broken_filename_sizes = no

passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={uid} gid={uid} home={mail}/%d/%n allow_all_users=yes
}}
service lmtp {{
  process_min_avail = 2
  inet_listener lmtp {{
    port = {lmtp}
  }}
  unix_listener lmtp {{
  }}
}}
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
plugin {{
  quota = maildir:User quota
  acl = vfile
}}
"""


MODULES = "/usr/lib/dovecot/modules"
PLUGIN = "lib95_mailtwin_plugin.so"
WITH_PLUGIN = """\
mail_plugin_dir = /run/lab/modules
mail_plugins = quota acl mailtwin
protocol lmtp {{
  mail_plugins = quota acl mailtwin sieve
  plugin {{
    mailtwin = {lmtp_kinds}
  }}
}}
protocol lda {{
  mail_plugins = quota acl mailtwin sieve
}}
protocol imap {{
  mail_plugins = quota acl mailtwin imap_acl
}}
plugin {{
  sieve = file:/run/lab/sieve/%n.sieve
  mailtwin = {kinds}
{more}}}
"""


class Dovecot:
    """The mail server of one host. It runs where the mail is served: on the primary."""

    def __init__(self, host):
        self.host = host
        self.process = None
        self.extra = ""  # lines of configuration for each start that has none of its own

    def start(self, extra=None):
        """Returns when it answers. extra: lines of configuration for this run."""
        host = self.host
        text = CONFIG.format(name=host.name, mail=host.mail, password=PASSWORD, uid=VMAIL_UID,
                             lmtp=LMTP_PORT, imap=IMAP_PORT, pop3=POP3_PORT)
        (host.directory / "dovecot.conf").write_text(text + (self.extra if extra is None else extra))
        host.run("mkdir", "-p", "/run/dovecot-state")
        self.process = host.spawn("dovecot", "-F", "-c", "/run/lab/dovecot.conf", log="dovecot.out")
        wait_until(self._answers, 20, lambda: f"Dovecot of {host.name} does not answer:\n{self.log()}")

    def with_plugin(self, kinds="all", lmtp_kinds=None, **more):
        """What start() takes as extra for our plugin to be loaded, and sieve; lmtp_kinds: kinds for LMTP when they are
        others; more: its other settings, such as timeout="2s"."""
        modules = self.host.directory / "modules"
        modules.mkdir(exist_ok=True)
        links = {Path(MODULES, name).name: Path(MODULES, name) for name in os.listdir(MODULES)}
        links[PLUGIN] = Path(self.host.lab.build_inside, PLUGIN)
        for name, target in links.items():
            if not os.path.lexists(modules / name):
                (modules / name).symlink_to(target)
        scripts = self.host.directory / "sieve"
        scripts.mkdir(exist_ok=True)
        os.chown(scripts, VMAIL_UID, VMAIL_UID)  # compiled scripts lie there, too
        lines = "".join(f"  mailtwin_{key} = {value}\n" for key, value in more.items())
        return WITH_PLUGIN.format(kinds=kinds, lmtp_kinds=kinds if lmtp_kinds is None else lmtp_kinds, more=lines)

    def sieve(self, user, script):
        """A user's script; user without the domain."""
        (self.host.directory / "sieve" / f"{user}.sieve").write_text(script)

    def _answers(self):
        if not self.process.running():
            raise AssertionError(f"Dovecot of {self.host.name} ended:\n{self.log()}")
        try:
            for port in (LMTP_PORT, IMAP_PORT):
                sock = self.host.connect(port, timeout=2)
                greeting = sock.recv(200)
                sock.close()
                if not greeting:
                    return False
        except OSError:
            return False
        return True

    def log(self):
        return self.host.log_text("dovecot.out")[-1000:] + self.host.log_text("dovecot.log")[-3000:]

    def doveadm(self, *command, **options):
        return self.host.run("doveadm", "-c", "/run/lab/dovecot.conf", *command, **options)

    def reload(self):
        self.doveadm("reload")

    def kill9(self):
        """All of it at once. The master stands still first: a child that it forks meanwhile would keep the sockets."""
        master = self.process.pid
        proc.send(master, signal.SIGSTOP)
        wait_until(lambda: proc.stopped(master) or not proc.alive(master), 20, "the master of Dovecot does not stop")
        pids = [master, *proc.descendants(master)]
        proc.kill(pids)
        self.process.wake()
        self.process.wait(20)
        wait_until(lambda: not any(proc.alive(pid) for pid in pids), 20, "Dovecot outlives SIGKILL")

    def stop(self):
        if self.process is None or not self.process.running():
            return
        self.doveadm("stop", check=False)
        self.process.wait(20)
