"""What the machine can do: the rate of sgemm, and the rate at which weights are read from cache.

Run as a program, ``python -m fastrnn.bench.machine THREADS BYTES...``, it measures in a process of its own,
whose BLAS has one thread per caller, and prints one line of JSON.
"""

import json
import platform
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from .workers import environment

SIDES = (384, 768, 1152)  # of the matrices of sgemm: the best of these counts
SMALLEST = 1 << 14  # bytes; smaller weights are taken to be read as fast as this many
PER_CALL = 1 << 20  # bytes that one call reads, in as many passes as it takes
TURN = 0.03  # seconds of one measurement
REPEATS = 9


@dataclass(frozen=True)
class Limits:
    """Measured limits for a number of threads."""

    threads: int
    flops: float  # of sgemm, per second
    rates: dict  # bytes of a buffer -> bytes per second, when it is read again and again

    def bandwidth(self, size):
        """Bytes per second for weights of this many bytes."""
        return self.rates[max(size, SMALLEST)]


def measure_limits(threads, sizes):
    """The `Limits` for buffers of these sizes in bytes."""
    sizes = sorted({max(size, SMALLEST) for size in sizes})
    answer = subprocess.run(
        [sys.executable, "-m", "fastrnn.bench.machine", str(threads), *map(str, sizes)],
        env=environment(1),
        check=True,
        text=True,
        stdout=subprocess.PIPE,
    )
    found = json.loads(answer.stdout)
    return Limits(threads, found["flops"], dict(zip(sizes, found["rates"])))


def describe():
    """What machine this is, a dict of plain values."""
    from ..engine.runtime import _kernels
    from ..threads import available_cpus

    return {
        "processor": _processor(),
        "cpus": available_cpus(),
        "system": platform.system(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "isa": _kernels.isa(),
    }


def _processor():
    """The processor's name, as Linux has it or as Python knows it."""
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _sgemm(side):
    a, b, c = (np.ones((side, side), np.float32) for _ in range(3))
    return 2.0 * side**3, lambda: np.matmul(a, b, out=c)


def _read(size):
    """Reads the two halves of a buffer, about a megabyte in a call: dot products, one after another in C."""
    half, passes = size // 8, max(1, PER_CALL // size)
    rows, columns = (
        np.broadcast_to(np.ones(half, np.float32).reshape(shape), (passes, *shape)) for shape in ((1, half), (half, 1))
    )
    return 8.0 * half * passes, lambda: np.matmul(rows, columns)


def _rate(make, size, threads):
    """Units per second of all threads, the best of some turns; each thread has data of its own."""

    def turn(_):
        amount, call = make(size)
        call()
        start, done = time.perf_counter(), 0.0
        while (elapsed := time.perf_counter() - start) < TURN:
            call()
            done += amount
        return done / elapsed

    with ThreadPoolExecutor(threads) as pool:
        return max(sum(pool.map(turn, range(threads))) for _ in range(REPEATS))


if __name__ == "__main__":
    count = int(sys.argv[1])
    print(
        json.dumps(
            {
                "flops": max(_rate(_sgemm, side, count) for side in SIDES),
                "rates": [_rate(_read, int(size) // count, count) for size in sys.argv[2:]],
            }
        )
    )
