"""Many writers and readers of one path: each reader finds a whole old or new file, no writer fails, nothing is left.

    python tests/test_saving_together.py --seconds 60 --processes 8

saves by so many processes and loads by as many more, and says what was seen.
"""

import argparse
import collections
import errno
import multiprocessing
import os
import stat
import subprocess
import sys
import tempfile
import threading
import time
import unittest.mock
from pathlib import Path

import numpy as np
import pytest

from fastrnn import Linear, load, save
from fastrnn.files import wholefile
from fastrnn.files.checkpoint import CheckpointSeries
from fastrnn.files.tensorfile import read_tensors, write_tensors
from fastrnn.files.wholefile import check_writable, remove_stale, write_whole

SECONDS = float(os.environ.get("FASTRNN_TEST_SECONDS", "2"))
posix = pytest.mark.skipif(os.name != "posix", reason="modes, links and locks of POSIX")


def filled(value):
    model = Linear(200, 100, seed=0)
    for p in model.params.values():
        p[...] = value
    return model


def keep_saving(path, number, begin, seconds, answers):
    """Save models whose parameters are all one number, clearing up now and then as a new fit does."""
    model, count = filled(number), 0
    begin.wait()
    end = time.monotonic() + seconds
    try:
        with unittest.mock.patch("os.getpid", lambda: 7):  # as in containers, which may all have the same
            while time.monotonic() < end:
                save(model, path)
                if count % 5 == 0:
                    check_writable(path)
                    remove_stale(path)
                count += 1
        answers.put(("saved", count, None))
    except BaseException as error:
        answers.put(("saved", count, repr(error)))


def keep_loading(path, number, begin, seconds, answers):
    """Load them: one number in each."""
    count = 0
    begin.wait()
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            found = np.unique(np.concatenate([p.ravel() for p in load(path).params.values()]))
            if len(found) != 1:
                raise AssertionError(f"a mixture of {found}")
            count += 1
        answers.put(("loaded", count, None))
    except BaseException as error:
        answers.put(("loaded", count, repr(error)))


def together(folder, seconds, processes):
    """(counts, errors, what is in the folder) after so many seconds."""
    path = Path(folder) / "m.safetensors"
    save(filled(0), path)
    context = multiprocessing.get_context("spawn")
    answers, begin = context.Queue(), context.Barrier(2 * processes)
    jobs = [context.Process(target=target, args=(path, k, begin, seconds, answers))
            for k in range(processes) for target in (keep_saving, keep_loading)]  # fmt: skip
    for job in jobs:
        job.start()
    found = [answers.get(timeout=seconds + 120) for _ in jobs]
    for job in jobs:
        job.join()
    counts = collections.Counter()
    for what, count, _ in found:
        counts[what] += count
    return counts, [error for _, _, error in found if error], sorted(os.listdir(folder))


def test_processes_with_equal_numbers_save_and_load_one_path(tmp_path):
    counts, errors, left = together(tmp_path, SECONDS, 8 if SECONDS > 10 else 3)
    assert not errors and left == ["m.safetensors"]
    assert counts["saved"] > 5 and counts["loaded"] > 5


def test_threads_save_and_load_one_path(tmp_path):
    path, errors, done = tmp_path / "m", [], threading.Event()
    write_tensors(path, "model", {"a": np.zeros(5000)}, 0)

    def run(function):
        try:
            while not done.is_set():
                function()
        except BaseException as error:
            errors.append(error)

    def reader():
        tensors, state = read_tensors(path, "model")
        assert (tensors["a"] == state).all()

    writers = [lambda k=k: write_tensors(path, "model", {"a": np.full(5000, float(k))}, k) for k in range(4)]
    jobs = [*writers, reader, reader, lambda: remove_stale(path), lambda: check_writable(path)]
    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    time.sleep(1)
    done.set()
    for thread in threads:
        thread.join()
    assert not errors and os.listdir(tmp_path) == ["m"]


def test_a_reader_keeps_to_the_file_that_it_has_opened(tmp_path, monkeypatch):
    path, real = tmp_path / "m", wholefile.read_into
    write_tensors(path, "model", {"a": np.zeros(9), "b": np.zeros(9)}, 0)

    def replacing(file, buffer):
        write_tensors(path, "model", {"a": np.ones(2000), "b": np.ones(2)}, 1)
        return real(file, buffer)

    monkeypatch.setattr("fastrnn.files.tensorfile.read_into", replacing)
    tensors, state = read_tensors(path, "model")
    assert state == 0 and not tensors["a"].any() and len(tensors["b"]) == 9
    assert read_tensors(path, "model")[1] == 1


HOLDS = """
import os, sys, time
from pathlib import Path
from fastrnn import wholefile
file, path = wholefile._temporary(Path(sys.argv[1]))
print(path.name, flush=True)
if sys.argv[2] == "dies":
    os.kill(os.getpid(), 9)
sys.stdin.read()
file.write(b"new")
file.flush()
os.replace(path, sys.argv[1])
"""


@posix
def test_only_what_nobody_writes_is_stale(tmp_path):
    target = tmp_path / "m"
    target.write_bytes(b"old")
    command = [sys.executable, "-c", HOLDS, str(target)]
    with subprocess.Popen([*command, "waits"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        name = writer.stdout.readline().strip()
        assert subprocess.run([*command, "dies"], stdout=subprocess.DEVNULL, check=False).returncode == -9
        (tmp_path / ".m.4711.tmp").write_bytes(b"of a version before")
        (tmp_path / ".m.notes.tmp").write_bytes(b"somebody else's")
        (tmp_path / ".m2.4711.tmp").write_bytes(b"of another file")
        assert len(os.listdir(tmp_path)) == 6
        remove_stale(target)
        assert sorted(os.listdir(tmp_path)) == sorted(["m", name, ".m.notes.tmp", ".m2.4711.tmp"])
        writer.communicate("")
    assert writer.returncode == 0 and target.read_bytes() == b"new"


@posix
def test_a_temporary_file_that_was_taken_for_stale_is_made_again(tmp_path, monkeypatch):
    taken = []

    def unlucky(file):
        if len(taken) < 2:
            (left,) = (name for name in os.listdir(tmp_path) if name.endswith(".tmp"))
            taken.append(left)
            if len(taken) == 1:
                return False  # another process holds the lock, and is about to remove it
            (tmp_path / left).unlink()  # or has removed it before it could be locked
        return True

    monkeypatch.setattr(wholefile, "_lock", unlucky)
    write_whole(tmp_path / "m", b"data")
    assert len(set(taken)) == 2 and (tmp_path / "m").read_bytes() == b"data" and os.listdir(tmp_path) == ["m"]


@posix
def test_where_files_cannot_be_locked_old_ones_are_stale(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(wholefile.fcntl, "flock", unsupported)
    save(Linear(2, 2, seed=0), tmp_path / "m")
    for name, age in ((".m.0123456789abcdef.tmp", 0), (".m.fedcba9876543210.tmp", 10**6)):
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    remove_stale(tmp_path / "m")
    assert sorted(os.listdir(tmp_path)) == [".m.0123456789abcdef.tmp", "m"]


@posix
def test_a_link_stays_a_link_and_a_mode_a_mode(tmp_path):
    (tmp_path / "far").mkdir()
    target, link, chain = tmp_path / "far" / "m", tmp_path / "link", tmp_path / "chain"
    link.symlink_to(Path("far") / "m")
    chain.symlink_to(link)
    save(Linear(2, 2, seed=0), chain)  # whose file is not there yet
    for mode in (0o600, 0o664, 0o444):
        target.chmod(mode)
        check_writable(chain)
        save(Linear(3, 3, seed=0), chain)
        assert link.is_symlink() and chain.is_symlink() and not target.is_symlink()
        assert stat.S_IMODE(target.stat().st_mode) == mode
    assert load(link).in_features == 3
    (tmp_path / "far" / ".m.4711.tmp").write_bytes(b"")
    remove_stale(chain)
    assert sorted(os.listdir(tmp_path)) == ["chain", "far", "link"] and os.listdir(tmp_path / "far") == ["m"]


@posix
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_new_file_has_the_mode_of_the_umask(mask, tmp_path):
    before = os.umask(mask)
    try:
        save(Linear(2, 2, seed=0), tmp_path / "m")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "m").stat().st_mode) == 0o666 & ~mask


@posix
def test_links_that_lead_nowhere_are_named(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "out").symlink_to(tmp_path / "missing" / "m")
    for name in ("a", "out"):
        for call in (lambda path: save(Linear(2, 2, seed=0), path), check_writable):
            with pytest.raises(OSError, match=f"{name}: cannot be written") as caught:
                call(tmp_path / name)
            assert isinstance(caught.value, ValueError)
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "out"]


@posix
@pytest.mark.parametrize("call", ["open", "fsync"])
def test_where_a_directory_cannot_be_synced_the_save_counts(call, tmp_path, monkeypatch):
    real = vars(os)[call]

    def failing(target, *args, **options):
        directory = stat.S_ISDIR(os.fstat(target).st_mode) if call == "fsync" else args[:1] == (
            os.O_RDONLY | os.O_DIRECTORY,)  # fmt: skip
        if directory:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(target, *args, **options)

    monkeypatch.setattr(os, call, failing)
    save(Linear(2, 2, seed=0), tmp_path / "m")
    assert load(tmp_path / "m").in_features == 2 and os.listdir(tmp_path) == ["m"]


def test_long_names_can_be_written(tmp_path):
    for name in ("x" * 255, "é" * 127):
        (tmp_path / f".{'x' * 3}.1.tmp").write_bytes(b"")
        save(Linear(2, 2, seed=0), tmp_path / name)
        check_writable(tmp_path / name)
        remove_stale(tmp_path / name)
        assert load(tmp_path / name).in_features == 2
    assert len(os.listdir(tmp_path)) == 3


def test_a_series_that_another_process_clears_meanwhile(tmp_path, monkeypatch):
    series = CheckpointSeries(tmp_path / "m")
    real = series.paths

    def cleared():
        for path in real():
            path.unlink()
        return real()

    monkeypatch.setattr(series, "paths", cleared)
    series.write(1, {"a": 1})


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--processes", type=int, default=8, help="that save; as many load")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts, errors, left = together(folder, args.seconds, args.processes)
    print(f"{counts['saved']} saved and {counts['loaded']} loaded in {args.seconds:.0f} s by {args.processes} "
          f"processes each, {len(errors)} errors, left in the folder: {', '.join(left)}")
    print(*errors, sep="\n", end="")
    sys.exit(bool(errors) or left != ["m.safetensors"])


if __name__ == "__main__":
    main()
