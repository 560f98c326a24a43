"""mailtwin-gate on a host: between whoever delivers and its Dovecot."""

import signal

from .dovecot import LMTP_PORT
from .space import CommandFailed
from .wait import wait_until

PORT = 2424
SECTION = """gate "lmtp" {{
  listen = "inet:0.0.0.0:{port}"  backend = "{backend}"  timeout = "{timeout}"
}}
gate-user = "nobody"
"""


def section(timeout="30s", backend=f"inet:127.0.0.1:{LMTP_PORT}"):
    """For the configuration of a lab."""
    return SECTION.format(port=PORT, backend=backend, timeout=timeout)


class Gate:
    """The gate of one host, which has a section() in its configuration."""

    def __init__(self, host):
        self.host = host
        self.process = None

    def start(self):
        """Returns when it greets or says that nothing is behind it."""
        host = self.host
        self.process = host.spawn(f"{host.lab.build_inside}/mailtwin-gate", "--config", host.lab.config_inside,
                                  "--node", host.name, log="gate.log", env=host.lab.environment(host))
        wait_until(self._answers, 20, lambda: f"{host.name}: no answer from the gate:\n{self.log()}", every=0.02)

    def _answers(self):
        if not self.process.running():
            raise CommandFailed(f"{self.host.name}: the gate ended with {self.process.wait(1)}:\n{self.log()}")
        greeting = self.host.run("bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{PORT} && head -c 1 <&3", check=False)
        return greeting.stdout != ""

    def stop(self, within=20):
        """A clean stop; it must end with status 0."""
        self.process.kill(signal.SIGTERM)
        status = self.process.wait(within)
        if status != 0:
            raise CommandFailed(f"{self.host.name}: the gate ended with {status} on SIGTERM:\n{self.log()}")

    def kill9(self):
        self.process.kill(signal.SIGKILL)
        self.process.wait(10)

    def log(self):
        return self.host.log_text("gate.log")[-4000:]

    def events(self, name):
        """The log's lines of one event, such as GATE_SHUT."""
        return [line for line in self.host.log_text("gate.log").splitlines() if f"event={name}" in line]
