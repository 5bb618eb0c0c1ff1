"""What fuzzers of files have in common: the loop over changed files, what is right, and the command line."""

import argparse
import os
import random
import resource
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import numpy as np

SECONDS, BYTES = 1.0, 50_000_000    # of the processor, and of memory above a file's size


class Peak:
    """The most memory that the process has had since `reset`, in bytes."""

    def __init__(self):
        self.exact = Path("/proc/self/clear_refs").exists()

    def reset(self):
        if self.exact:
            try:
                with open("/proc/self/clear_refs", "w") as file:
                    file.write("5")
            except OSError:
                self.exact = False
        self.before = self.now()

    def now(self):
        if self.exact:
            with open("/proc/self/status") as file:
                return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def grown(self):
        return self.now() - self.before


def attempt(opener, path, peak):
    """(what is wrong with how a file was treated or None, whether it opened)."""
    size = path.stat().st_size
    peak.reset()
    started = time.process_time()
    problem, opened = None, True
    try:
        opener(path)
    except ValueError as error:
        opened = False
        if path.name not in str(error):
            problem = f"an error that does not name the file: {error}"
    except BaseException as error:
        opened = False
        if isinstance(error, KeyboardInterrupt):
            raise
        problem = "".join(traceback.format_exception(error))
    seconds, grown = time.process_time() - started, peak.grown()
    if grown > BYTES + size:
        problem = f"{grown:,} bytes of memory for a file of {size:,}; {problem or ''}"
    if seconds > SECONDS:
        problem = f"{seconds:.2f} s for a file of {size:,} bytes; {problem or ''}"
    return problem, opened


def change_bytes(data, rng):
    """Bytes turned over, cut off, taken out or put in, most of them in the header."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 3, 10])):
        at = rng.randrange(min(len(data), rng.choice([8, 64, 600, 10**9])))
        choice = rng.randrange(5)
        if choice == 0:
            del data[at : at + rng.choice([1, 2, 100])]
        elif choice == 1:
            data[at:at] = rng.choice([b"\x00", b'"', b"{", b"]", b"\\", b"\xff\xfe", b"[" * 5000, b"{}," * 3000])
        elif choice == 2:
            del data[at:]
        else:
            data[at] = rng.choice([0, 255, 0x22, 0x5B, 0x7B, rng.randrange(256)])
        if not data:
            break
    return bytes(data)


def fuzz(prepare, files, seed=0, only=None, keep=None, limit=None):
    """Open so many files; returns the number that were not treated as they should be.

    Parameters
    ----------
    prepare : function
        (empty folder) -> function of a `random.Random` that makes a file: (opener, its kind, its ending, its bytes).
    files, seed : int
        File number k of a seed is always the same.
    only : int, optional
        The number of a file that is opened alone.
    keep : path, optional
        A folder for files that are not treated as they should be.
    limit : float, optional
        Seconds after which no further file is opened.
    """
    begun, counts, slowest, largest = time.monotonic(), {"opened": 0, "refused": 0, "wrong": 0}, 0.0, 0
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as folder, warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        folder, peak = Path(folder), Peak()
        make, numpy_state = prepare(folder), np.random.get_state()
        for k in [only] if only is not None else range(files):
            opener, kind, ending, data = make(random.Random(f"{seed}/{k}"))
            path = folder / f"changed{ending}"
            path.write_bytes(data)
            started = time.process_time()
            problem, opened = attempt(opener, path, peak)
            slowest, largest = max(slowest, time.process_time() - started), max(largest, peak.grown() - len(data))
            after = np.random.get_state()
            if after[2:] != numpy_state[2:] or (after[1] != numpy_state[1]).any():
                problem, numpy_state = f"NumPy's random state has changed; {problem or ''}", after
            counts["opened" if opened else "refused"] += 1
            if problem:
                counts["wrong"] += 1
                print(f"WRONG file {k} of seed {seed} ({kind}): {problem}", flush=True)
                if keep is not None:
                    Path(keep).mkdir(parents=True, exist_ok=True)
                    (Path(keep) / f"{seed}-{k}{ending}").write_bytes(data)
            if limit is not None and time.monotonic() - begun > limit:
                break
            if (k + 1) % 20_000 == 0:
                print(f"{k + 1} files, {counts}, {time.monotonic() - begun:.0f} s", flush=True)
    total = counts["opened"] + counts["refused"]
    print(f"{total} files: {counts['opened']} opened, {counts['refused']} refused, {counts['wrong']} wrong; "
          f"the slowest took {slowest:.3f} s, the largest {largest / 1e6:.1f} MB above its size; "
          f"{time.monotonic() - begun:.0f} s")
    return counts["wrong"]


def main(description, run):
    """Run a fuzzer, with the arguments of `fuzz` behind its first, as the command line says."""
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="one file by its number")
    parser.add_argument("--keep", help="folder for files that are not treated as they should be")
    parser.add_argument("--seconds", type=float, help="stop after so many")
    args = parser.parse_args()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.exit(run(args.files, args.seed, args.only, args.keep, args.seconds) > 0)
