"""LMTP through the gate, with a durable standby, beside the same Dovecot without either."""

import statistics
import time

from lab import Lab
from lab.dovecot import LMTP_PORT
from lab.gate import PORT, Gate, section
from repl.measure import TWO_MACHINES, percentile
from repl.peers import MAIL_ONLY
from repl.report import figure

from .load import deliver

USERS = [f"u{number}@example.org" for number in range(50)]
CONNECTIONS = (1, 10, 50)
TURNS = 5  # of each, one after the other: what else the machine does hits both


def _lab(names, text=""):
    lab = Lab(names, size_mb=4096, cpus=TWO_MACHINES, state_mb=1024, stores=MAIL_ONLY)
    lab.text = text + lab.text
    for host in lab.hosts.values():
        lab.configure(host)
    return lab


class Turns:
    """Deliveries to one server, to users in turn: a rate for each turn, and all latencies in seconds."""

    def __init__(self, host, port, users=USERS):
        self.host = host
        self.port = port
        self.users = users
        self.rates = []
        self.latencies = []

    def turn(self, connections, seconds):
        warm = seconds / 5  # connections and caches
        began = time.monotonic() + warm
        done = deliver(self.host, self.port, connections, self.users, seconds + warm)
        done = [one for one in done if began <= one[1]]
        self.rates.append(len(done) / seconds)
        self.latencies += [ended - sent for sent, ended in done]

    def warm(self, connections, seconds):
        """As a turn, and not counted."""
        deliver(self.host, self.port, connections, self.users, seconds)

    def rate(self):
        return statistics.median(self.rates)

    def p99(self):
        return percentile(self.latencies, 0.99) * 1000

    def p50(self):
        return percentile(self.latencies, 0.5) * 1000


def _measure(alone, gated, connections, seconds):
    """(without, with), each of the same number of turns, in turn."""
    both = Turns(alone["mx1"], LMTP_PORT), Turns(gated["mx1"], PORT)
    for _ in range(TURNS):
        for one in both:
            one.turn(connections, seconds)
    return both


def _rows(connections, without, gated):
    words = f"{connections} connection{'s' if connections > 1 else ''}"
    goal, least = (">= 0.8 of the rate without gate and standby", 0.8) if connections == 50 else ("-", None)
    share = [with_gate / bare for with_gate, bare in zip(gated.rates, without.rates)]
    note = (f"{TURNS} turns of each, one after the other; medians. Turn by turn the share is "
            + ", ".join(f"{one:.2f}" for one in share)
            + f". p50 {gated.p50():.1f} ms, without {without.p50():.1f} ms")
    return [figure(f"LMTP behind the gate, {words}", "mails/s", gated.rate(), {"without gate and standby": without.rate()},
                   goal, note, at_least=least, lower_is_better=False),
            figure(f"LMTP behind the gate, {words}, p99", "ms", gated.p99(), {"without gate and standby": without.p99()},
                   "-", "")]


def lmtp(scale):
    """Rate and latency of LMTP through the gate."""
    seconds = max(2, 8 * scale)
    rows = []
    with _lab(["mx1"]) as alone, _lab(["mx1", "mx2"], section(backend="unix:/run/dovecot/lmtp")) as gated:
        alone.boot()
        alone["mx1"].dovecot.start()
        gated.start()
        Gate(gated["mx1"]).start()
        for connections in CONNECTIONS:
            rows += _rows(connections, *_measure(alone, gated, connections, seconds))
    return rows


FIGURES = {"lmtp": lmtp}
