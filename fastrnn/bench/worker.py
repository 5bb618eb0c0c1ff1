"""The process of one library: reads requests from standard input, a line of JSON each, and answers in kind.

    {"do": "prepare", "cell": {...}, "data": path, "out": path}   {"variants": [...]}
    {"do": "probe", "variant": name, "seconds": s}                {"least": seconds of a call}
    {"do": "time", "variant": name, "seconds": s}                 {"samples": [seconds of a call, ...]}
    {"do": "release"}                                             {}

What each variant computes goes to OUT.<variant>.npz. A request that fails is answered by {"failed": reason}.
The first line, {"version": ...}, comes without a request, once the library is imported. The process answers
only when its threads are at rest, and sleeps until the next request.
"""

import gc
import importlib
import json
import os
import sys
import time

import numpy as np

from .cells import Cell
from .work import Stopwatch

PATIENCE = 1.0  # seconds to wait for a library's threads to stop spinning


def main(peer, threads, affinity):
    """Serve until standard input ends."""
    requests, answers = sys.stdin, os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not get among the answers
    if affinity:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])

    def answer(function, *args):
        try:
            reply = function(*args)
        except Exception as error:
            reply = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        rest()
        answers.write(json.dumps(reply) + "\n")
        answers.flush()

    session = Session()
    answer(session.begin, peer, threads)
    for line in requests:
        request = json.loads(line)
        answer(getattr(session, request.pop("do")), *request.values())


def rest():
    """Wait until this process uses no CPU: thread pools spin for a while after their last task."""
    end = time.perf_counter() + PATIENCE
    while time.perf_counter() < end:
        wall, cpu = time.perf_counter(), time.process_time()
        time.sleep(0.002)
        if time.process_time() - cpu < 0.2 * (time.perf_counter() - wall):
            break


class Session:
    """One library and the cell that it is at work on."""

    def __init__(self):
        self._peer = None
        self._watches = {}

    def begin(self, peer, threads):
        library = importlib.import_module(f".peers.{peer}", __package__)
        self._peer = library.Peer(threads)
        return {"version": self._peer.version}

    def prepare(self, cell, data, out):
        self.release()
        cell.pop("name")
        cell = Cell(**cell)
        with np.load(data) as arrays:
            works = self._peer.works(cell, dict(arrays))
        for variant, work in works.items():
            np.savez(f"{out}.{variant}.npz", **work.outcome())
        self._watches = {variant: Stopwatch(work) for variant, work in works.items()}
        return {"variants": list(works)}

    def probe(self, variant, seconds):
        return {"least": self._watches[variant].probe(seconds)}

    def time(self, variant, seconds):
        return {"samples": self._watches[variant].samples(seconds)}

    def release(self):
        self._watches = {}
        gc.collect()
        return {}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3] == "pin")
