"""Worker processes as seen from outside: start, ask, stop."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from .peers import PEERS

TIMEOUT = 900.0  # seconds that any one answer may take
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "FASTRNN_NUM_THREADS",
    "NPROC",
)


def environment(threads, extra=None):
    """Variables of a process that is to use so many threads, and that finds this package."""
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    return {
        **os.environ,
        **(extra or {}),
        **dict.fromkeys(THREAD_VARIABLES, str(threads)),
        "PYTHONPATH": path,
    }


class WorkerError(ChildProcessError):
    """A request that failed, in one line."""


class Worker:
    """The process of one library with a number of threads. Started at once; call `begin` to wait for it."""

    def __init__(self, peer, threads):
        self.peer = peer
        self.version = None
        source = PEERS[peer]
        pin = "pin" if source.affinity and hasattr(os, "sched_setaffinity") else "-"
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 (`close` does)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fastrnn.bench.worker", peer, str(threads), pin],
            env=environment(threads, source.environment),
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )

    def begin(self):
        """Wait until the library is imported."""
        self.version = self._answer()["version"]

    def prepare(self, cell, data, out):
        """Build the cell's work; returns the variants' names. What they compute is in OUT.<variant>.npz."""
        return self._ask(do="prepare", cell=cell.to_dict(), data=str(data), out=str(out))["variants"]

    def probe(self, variant, seconds):
        """Warm up, and return the least time of a call in seconds."""
        return self._ask(do="probe", variant=variant, seconds=seconds)["least"]

    def time(self, variant, seconds):
        """Times of a call in seconds."""
        return self._ask(do="time", variant=variant, seconds=seconds)["samples"]

    def release(self):
        """Let go of the cell's work."""
        self._ask(do="release")

    def alive(self):
        """Whether the process still runs."""
        return self._process.poll() is None

    def close(self):
        """End the process; it has nothing to lose."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def _ask(self, **request):
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise WorkerError(self._last_words()) from None
        return self._answer()

    def _answer(self):
        alarm = threading.Timer(TIMEOUT, self._process.kill)
        alarm.start()
        try:
            line = self._process.stdout.readline()
        finally:
            alarm.cancel()
        if not line:
            raise WorkerError(self._last_words())
        answer = json.loads(line)
        if "failed" in answer:
            raise WorkerError(answer["failed"])
        return answer

    def _last_words(self):
        """Why the process ended: the last line that it wrote to standard error."""
        code = self._process.wait()
        self._errors.seek(0)
        return f"process ended with code {code}: {last_line(self._errors.read())}"


def last_line(text):
    """The last line of what a process wrote that is not empty."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no message")
