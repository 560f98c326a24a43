"""A private PostgreSQL of a host's own, on the stores' disk; and mailtwin-dumpd beside it."""

import signal

from .wait import wait_until

BIN = "/usr/lib/postgresql/15/bin"
SOCKETS = "/run/pg"


class Postgres:
    """The cluster of one host with a database `web`; everybody on the socket is trusted."""

    def __init__(self, host):
        self.host = host
        self.data = f"{host.place}/pg"

    def create(self):
        self.host.run("sh", "-ec", f"mkdir -p {self.data} && chown postgres {self.data}")
        self._as_postgres(f"{BIN}/initdb", "-D", self.data, "-A", "trust", "--no-sync", "-U", "postgres")
        self.start()
        self._as_postgres(f"{BIN}/createdb", "-h", SOCKETS, "web")

    def _as_postgres(self, *words):
        return self.host.run("runuser", "-u", "postgres", "--", *words)

    def start(self):
        self.host.run("sh", "-ec", f"mkdir -p {SOCKETS} && chown postgres {SOCKETS}")
        self._as_postgres(f"{BIN}/pg_ctl", "-w", "-D", self.data, "-l", "/tmp/pg.log", "-o",
                          f"-c listen_addresses='' -c unix_socket_directories={SOCKETS} -c shared_buffers=8MB", "start")

    def sql(self, text):
        """Lines of the answer, fields with bars between them."""
        done = self._as_postgres("psql", "-h", SOCKETS, "-At", "-v", "ON_ERROR_STOP=1", "-c", text, "web")
        return done.stdout.splitlines()


class Dumpd:
    """mailtwin-dumpd of one host."""

    def __init__(self, host):
        self.host = host
        self.process = None

    def start(self):
        host = self.host
        self.process = host.spawn(f"{host.lab.build_inside}/mailtwin-dumpd", "--config", host.lab.config_inside,
                                  "--node", host.name, log="dumpd.log", env=host.lab.environment(host))

    def stop(self):
        self.process.kill(signal.SIGTERM)
        assert self.process.wait(20) == 0, self.log()

    def log(self):
        return self.host.log_text("dumpd.log")[-4000:]

    def events(self, name):
        return [line for line in self.host.log_text("dumpd.log").splitlines() if f"event={name}" in line]

    def wait_event(self, name, count=1, within=30):
        wait_until(lambda: len(self.events(name)) >= count, within, lambda: f"no {count} of {name}:\n{self.log()}")
