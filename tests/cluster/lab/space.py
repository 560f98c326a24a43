"""A set of namespaces with a process 1, and running commands in it. All of it dies with the harness."""

import ctypes
import os
import signal
import subprocess
from pathlib import Path

from . import proc
from .wait import wait_until

_libc = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1
PYTHON = "/usr/bin/python3"


class CommandFailed(AssertionError):
    """A command of the lab ended with another status than expected."""


def succeeded(name, done):
    """A completed process of the host `name`, which must have ended with 0."""
    if done.returncode != 0:
        raise CommandFailed(f"{name}: {' '.join(done.args)}: exit {done.returncode}\n"
                            f"{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done


def die_with_parent():
    """In a child: SIGKILL when the harness ends, however it ends."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """A process in a space: `wrapper` is nsenter, `pid` the process itself as the machine counts. pid: known already."""

    def __init__(self, wrapper, name, pid=None):
        self.wrapper = wrapper
        self.name = name
        self._pid = pid

    @property
    def pid(self):
        """Waits until nsenter has forked it; the wrapper's own pid when it has already ended."""
        if self._pid is None:
            self._pid = wait_until(self._find, 10, f"{self.name} was not started")
        return self._pid

    def _find(self):
        found = proc.children(self.wrapper.pid)
        if found:
            return found[0]
        return self.wrapper.pid if self.wrapper.poll() is not None else None

    def running(self):
        return self.wrapper.poll() is None

    def wait(self, within):
        """Its exit status (128 + signal as in a shell)."""
        wait_until(lambda: not self.running(), within, f"{self.name} did not end")
        status = self.wrapper.returncode
        return 128 - status if status < 0 else status

    def kill(self, number=signal.SIGKILL):
        if self.running():
            proc.send(self.pid, number)
            self.wake()

    def freeze(self):
        """SIGSTOP; returns when it stands still. No wake() here: nsenter, once continued, continues its child."""
        proc.send(self.pid, signal.SIGSTOP)
        wait_until(lambda: proc.stopped(self.pid), 10, f"{self.name} does not stop")

    def wake(self):
        """nsenter stops when its child is stopped, and would then never collect it."""
        if self.wrapper.poll() is None:
            proc.send(self.wrapper.pid, signal.SIGCONT)


class Space:
    """New namespaces as unshare(1) makes them from `flags`; `setup` is a shell script run as process 1.
    cpus: the processors everything in it is kept to, such as "0"; "" for all."""

    def __init__(self, name, flags, setup, cpus=""):
        self.name = name
        self.flags = flags
        self.spawned = []
        self.pinned = ["taskset", "-c", cpus] if cpus else []
        script = Path(__file__).with_name("init.py")
        command = [*self.pinned, "unshare", *flags, "--fork", "--kill-child=SIGKILL", PYTHON, str(script), setup]
        self.wrapper = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, preexec_fn=die_with_parent, text=True)
        answer = self.wrapper.stdout.readline().strip()
        self.wrapper.stdout.close()
        if answer != "ready":
            self.wrapper.wait()
            raise CommandFailed(f"{name} does not start: {answer or 'no answer'}")
        self.pid = proc.children(self.wrapper.pid)[0]

    def path(self, inside):
        """A path of the space as the harness reaches it."""
        return Path(f"/proc/{self.pid}/root") / str(inside).lstrip("/")

    def _enter(self, command):
        if "-p" not in self.flags:
            return ["nsenter", "-t", str(self.pid), "-n", "--", *command]
        return [*self.pinned, "nsenter", "-t", str(self.pid), "-m", "-u", "-i", "-n", "-p", "-r", "-w", "--", *command]

    def run(self, *command, check=True, within=60, env=None, stdin=None):
        """Runs a command to its end: the CompletedProcess, texts as str."""
        words = [str(word) for word in command]
        wrapper = subprocess.Popen(self._enter(words), stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="surrogateescape",
                                   env={**os.environ, **(env or {})})
        process = Process(wrapper, words[0])
        self.spawned.append(process)  # it may be stopped with its child, by a power cut
        try:
            texts = wrapper.communicate(stdin, timeout=within)
        except BaseException:
            wrapper.kill()
            wrapper.wait()  # not for its pipes: what it started may hold them
            raise
        finally:
            self.spawned.remove(process)
        done = subprocess.CompletedProcess(words, wrapper.returncode, *texts)
        return succeeded(self.name, done) if check else done

    def spawn(self, *command, log, env=None):
        """Starts a command; what it says is added to the file log. As under a service manager it has a session of
        its own: the kernel shares processors out among sessions, and one of fifty processes is not fifty to it."""
        words = [str(word) for word in command]
        with open(log, "ab") as out:
            wrapper = subprocess.Popen(self._enter(words), stdin=subprocess.DEVNULL, stdout=out,
                                       stderr=out, env={**os.environ, **(env or {})},
                                       preexec_fn=die_with_parent, start_new_session=True)
        forks = "-p" in self.flags  # else nsenter becomes the command
        process = Process(wrapper, words[0], None if forks else wrapper.pid)
        self.spawned.append(process)
        return process

    def kill_all(self):
        """SIGKILL to all but process 1, and waits until they are gone."""
        proc.kill(self.processes())
        wait_until(lambda: not self._kill_rest(), 20, lambda: f"{self.processes()} outlive SIGKILL")

    def _kill_rest(self):
        rest = self.processes()
        proc.kill(rest)
        for process in list(self.spawned):
            process.wake()
        return rest

    def processes(self):
        """Pids (of the machine) of all processes in the space but process 1."""
        mark = os.readlink(f"/proc/{self.pid}/ns/pid")
        found = []
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or int(entry) == self.pid:
                continue
            try:
                if os.readlink(f"/proc/{entry}/ns/pid") == mark and proc.alive(int(entry)):
                    found.append(int(entry))
            except OSError:
                continue
        return found

    def end(self):
        """Kills process 1, and the kernel the rest with it."""
        proc.send(self.pid, signal.SIGKILL)
        self.wrapper.wait(timeout=20)
