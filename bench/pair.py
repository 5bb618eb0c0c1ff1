"""Two installs in turn, an old commit and a new one: medians, the ratio old / new of each cell, and their mean.

    python bench/pair.py old/bin/python new/bin/python
    python bench/pair.py old/bin/python python3=/path/to/checkout --tables step training --threads 1
    python bench/pair.py python3,FASTRNN_BLAS=0 python3,FASTRNN_BLAS=1      # our products and SciPy's BLAS

An install is an interpreter, or an interpreter and a PYTHONPATH with `=` between them, and perhaps settings of the
environment, each after a comma. The cells are those of `fastrnn
bench --quick` and all of training (`--full`: the whole grid), done by each install's own `fastrnn.bench.worker` with
the same weights and inputs. A cell is prepared and its results compared in both; then they take turns, A B, B A, and a
ratio is the median over the turns of old time / new time: above 1, the new one is faster. `least` is the same of their
quickest turns, which other work on the machine touches less. Each sleeps while the other is timed.
"""

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from fastrnn.bench.cells import TABLES, grid
from fastrnn.bench.compare import difference
from fastrnn.bench.problem import build_problem
from fastrnn.bench.workers import THREAD_VARIABLES, Worker

WORK = [table for table in TABLES if table != "start"]
IMPORT = "import time; start = time.perf_counter(); import fastrnn; print(time.perf_counter() - start)"


class Install(Worker):
    """The benchmark's worker process in another interpreter."""

    def __init__(self, place, threads, folder):
        self.peer, self.version = "fastrnn", None
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 (`close` does)
        self._process = subprocess.Popen(
            [interpreter(place), "-m", "fastrnn.bench.worker", "fastrnn", str(threads), "-"],
            env=environment(place, threads), cwd=folder, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._errors)


def interpreter(place):
    """The interpreter of an install; a link stays one, as that is what makes a virtual environment."""
    python = place.partition(",")[0].partition("=")[0]
    return os.path.abspath(python) if os.sep in python else python


def environment(place, threads):
    found = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))}
    found.pop("PYTHONPATH", None)
    python, *settings = place.split(",")
    found.update(setting.split("=", 1) for setting in settings)
    path = python.partition("=")[2]
    return {**found, "PYTHONPATH": os.path.abspath(path)} if path else found


def in_turn(rounds, old, new):
    """(seconds of old, of new, old / new), medians, and the ratio of the least; each of the two takes a turn."""
    times = []
    for k in range(rounds):
        if k % 2:
            second, first = new(), old()
            times.append((first, second))
        else:
            times.append((old(), new()))
    olds, news = zip(*times)
    return (statistics.median(olds), statistics.median(news), statistics.median(a / b for a, b in times),
            min(olds) / min(news))


def measure(cell, pair, folder, options):
    """A cell in both installs: what `in_turn` gives, and the largest difference of the results."""
    np.savez(folder / "data.npz", **(data := build_problem(cell)))
    outcomes = []
    for k, worker in enumerate(pair):
        (variant,) = worker.prepare(cell, folder / "data.npz", folder / str(k))
        with np.load(folder / f"{k}.{variant}.npz") as arrays:
            outcomes.append(dict(arrays))
    for worker in pair:
        worker.probe("fastrnn", options.seconds)
    turns = [lambda worker=worker: statistics.median(worker.time("fastrnn", options.seconds)) for worker in pair]
    found = in_turn(options.rounds, *turns)
    for worker in pair:
        worker.release()
    return (*found, difference(cell, *outcomes, data.get("lengths")))


def import_time(place, folder):
    done = subprocess.run([interpreter(place), "-c", IMPORT], env=environment(place, 1), cwd=folder, text=True,
                          capture_output=True, check=True)
    return float(done.stdout)


def seconds(value):
    unit, scale = next(((u, s) for u, s in (("s", 1), ("ms", 1e3), ("us", 1e6)) if value * s >= 1), ("us", 1e6))
    return f"{value * scale:.3g} {unit}"


def show(threads, name, old, new, ratio, least, error=0.0):
    differs = f"   results differ by {error:.1e}" if error else ""
    print(f"{threads} thr  {name:<34} {seconds(old):>9} {seconds(new):>9} {ratio:7.3f} {least:7.3f}{differs}",
          flush=True)


def summary(ratios):
    """The geometric mean and the worst of name -> ratio."""
    worst = min(ratios, key=ratios.get)
    mean = math.exp(statistics.fmean(map(math.log, ratios.values())))
    return f"geometric mean {mean:.4f}, worst {ratios[worst]:.3f} ({worst})"


def chosen(options, threads):
    """The cells for so many threads."""
    cells = grid(not options.full, options.threads, options.tables)
    if "training" in options.tables:        # all of it
        cells += [cell for cell in grid(False, options.threads, ["training"]) if cell not in cells]
    return [cell for cell in cells if cell.threads == threads and options.only in f"{cell.table} {cell.name}"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", help="PYTHON[=PYTHONPATH][,NAME=VALUE ...]")
    parser.add_argument("new", help="the same")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="(default: 1 2)")
    parser.add_argument("--tables", nargs="+", default=WORK, choices=WORK, metavar="TABLE", help=", ".join(WORK))
    parser.add_argument("--only", default="", help="cells with this in their name")
    parser.add_argument("--full", action="store_true", help="the whole grid")
    parser.add_argument("--rounds", type=int, default=11, help="turns of each install (default: 11)")
    parser.add_argument("--seconds", type=float, default=0.1, help="of a turn (default: 0.1)")
    options = parser.parse_args()
    print(f"{'':39} {'old':>9} {'new':>9} old/new   least")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        found = in_turn(options.rounds, *(lambda install=install: import_time(install, folder)
                                          for install in (options.old, options.new)))
        show(1, "import", *found)
        for threads in sorted({1, *options.threads}):
            cells = chosen(options, threads)
            if not cells:
                continue
            ratios, least = {}, {}
            with ExitStack() as stack:
                pair = [Install(install, threads, folder) for install in (options.old, options.new)]
                for worker in pair:
                    stack.callback(worker.close)
                for worker in pair:
                    worker.begin()
                for cell in cells:
                    found = measure(cell, pair, folder, options)
                    name = f"{cell.table} {cell.name}"
                    ratios[name], least[name] = found[2:4]
                    show(threads, name, *found)
            print(f"{threads} thr  {len(ratios)} cells: {summary(ratios)}; of the least: {summary(least)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
