"""What the processes of a run do together: sums, broadcasts and gathers over MPI that never wait for the dead."""

import atexit
import importlib
import json
import math
import os
import sys
import time
import warnings
from typing import TYPE_CHECKING

import numpy as np

from .. import _cgroups, threads
from ..check.values import check_number
from . import guard
from .lifeline import Lifeline

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from .._types import Array

LAST_WORDS = 0.1  # seconds in which what a rank has sent before its end may still come
SPIN = 0.05  # seconds of waiting without sleep
LOOK = 0.005  # seconds between two looks at the lifeline

_made = []  # all Ranks of this process that are not alone


class RankError(RuntimeError):
    """Another process of the run has ended, failed or does not answer. This one can only end too."""


class Ranks:
    """The processes that train together, one rank each.

    Making one is collective: every process of `comm` does it at the same point. The CPUs of a host are shared
    out among its ranks, unless `set_num_threads` or ``FASTRNN_NUM_THREADS`` has said how many threads to use.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm, optional
        All processes of the run by default. It is duplicated.
    timeout : float
        Seconds that one operation waits for ranks that neither answer nor end. The end of a process is noticed
        within milliseconds, whatever this is.

    Attributes
    ----------
    rank, size : int
    work : int
        Number of the work in hand, for `fail`; the same on every rank.
    timeout : float
    broken : str or None
        Why these ranks can do nothing together any more.

    Raises
    ------
    ImportError
        Without mpi4py.
    RuntimeError
        Where mpiexec and mpi4py belong to different MPI libraries, so that no process sees another.
    """

    def __init__(self, comm: "Any" = None, timeout: float = 600.0) -> None:
        self.timeout = check_number(timeout, "timeout", above=0)
        self._mpi = load_mpi()
        if comm is None:
            comm = self._mpi.COMM_WORLD
            _check_size(comm.size)
        self._comm = comm.Dup()
        self.rank, self.size = comm.rank, comm.size
        self.work = 0
        self._lifeline = None
        self.broken = None
        local = self._comm.Split_type(self._mpi.COMM_TYPE_SHARED)
        if self.size > 1:
            self._lifeline = self._connect(local.size == self.size)
            if not _made:
                atexit.register(_leave)
            _made.append(self)
        mine = _usable_cpus()
        users = mine.copy()
        local.Allreduce(self._mpi.IN_PLACE, users)
        owner = np.array([_cgroups.cpu_limit_owner()], np.int64)
        owners = np.empty(local.size, np.int64)
        local.Allgather(owner, owners)
        threads.set_default(_fair_share(mine, users, int((owners == owner).sum())))
        local.Free()
        guard.watch()

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which writes files and shows progress."""
        return self.rank == 0

    def add(self, array: "Array") -> None:
        """Replace a C-contiguous array, on every rank, by the sum over all ranks."""
        if self.size > 1:
            self._wait(self._comm.Iallreduce(self._mpi.IN_PLACE, array, op=self._mpi.SUM))

    def total(self, values: "Sequence[float]") -> list[float]:
        """A list of numbers, summed over all ranks."""
        totals = np.array(values, np.float64)
        self.add(totals)
        return totals.tolist()

    def start_adding(self, array: "Array") -> "Callable[[], Any]":
        """Begin `add`; the array belongs to it until the function that this returns has been called."""
        request = self._comm.Iallreduce(self._mpi.IN_PLACE, array, op=self._mpi.SUM)
        return lambda: self._wait(request)

    def broadcast(self, array: "Array", root: int = 0) -> None:
        """Replace a C-contiguous array, on every rank, by that of rank `root`."""
        if self.size > 1:
            self._wait(self._comm.Ibcast(array, root=root))

    def broadcast_bytes(self, data: bytes, root: int = 0) -> bytes:
        """The bytes of rank `root`, on every rank."""
        length = np.array([len(data) if self.rank == root else 0], np.int64)
        self.broadcast(length, root)
        buffer = np.frombuffer(data, np.uint8).copy() if self.rank == root else np.empty(int(length[0]), np.uint8)
        self.broadcast(buffer, root)
        return buffer.tobytes()

    def gather(self, array: "Array") -> "list[Array]":
        """The arrays of all ranks, in order, on every rank; shapes and dtypes may differ."""
        array = np.ascontiguousarray(array)
        headers = self.gather_json([array.dtype.str, list(array.shape)])
        parts = self.gather_bytes(array)
        return [np.frombuffer(part, dtype).reshape(shape) for part, (dtype, shape) in zip(parts, headers)]

    def gather_json(self, value: "Any") -> "list[Any]":
        """The JSON-able values of all ranks, in order, on every rank."""
        return [json.loads(part) for part in self.gather_bytes(json.dumps(value).encode())]

    def gather_bytes(self, data: bytes) -> list[bytes]:
        """The bytes of all ranks, in order, on every rank."""
        data = np.frombuffer(data, np.uint8)
        sizes = np.zeros(self.size, np.int64)
        sizes[self.rank] = data.size
        self.add(sizes)
        ends = np.cumsum(sizes)
        out = np.empty(int(ends[-1]), np.uint8)
        if self.size == 1:
            out[:] = data
        else:
            counts = sizes.tolist(), (ends - sizes).tolist()
            self._wait(self._comm.Iallgatherv(data, [out, counts, self._mpi.BYTE]))
        return [out[end - size : end].tobytes() for size, end in zip(sizes, ends)]

    def fail(self, error: BaseException) -> None:
        """Tell the others that this rank gives up the work in hand, so that none waits for it."""
        if self._lifeline is not None and self.broken is None:
            text = " ".join(f"{type(error).__name__}: {error}".split())
            self._lifeline.tell("failed", self.work, text[:2000])

    def saves(self) -> bool:
        """Whether this rank is the one that saves what can be saved after a `RankError`: 0, or 1 after 0's end."""
        gone = self._lifeline is not None and 0 in {**self._lifeline.ended, **self._lifeline.failed}
        return self.rank == (1 if gone else 0)

    def _connect(self, local):
        """The lifeline, or None with a warning where the hosts do not let each other connect."""

        def broadcast(data):
            return self.broadcast_bytes(data)

        try:
            lifeline, problem = Lifeline(self.rank, self.size, broadcast, local), ""
        except OSError as error:
            lifeline, problem = None, str(error)
        failures = np.array([lifeline is None], np.int64)
        self._comm.Allreduce(self._mpi.IN_PLACE, failures)
        if failures[0] == 0:
            return lifeline
        if lifeline is not None:
            lifeline.close()
        if problem:
            warnings.warn(
                f"rank {self.rank}: no connection with rank 0 ({problem}): a process that dies is noticed "
                f"only after {self.timeout:g} s",
                RuntimeWarning,
                stacklevel=3,
            )
        return None

    def _wait(self, request):
        """Wait for a request to complete, or raise a `RankError` once it cannot any more."""
        if self.broken is not None:
            raise RankError(self.broken)
        started = looked = now = time.monotonic()
        reason = None
        while True:
            try:
                if request.Test():
                    return
            except self._mpi.Exception as error:
                self._give_up(self._reason(2.0) or f"communication failed: {error}")
            now = time.monotonic()
            if reason is not None:
                if now - looked > LAST_WORDS:
                    self._give_up(reason)
            elif now - looked > LOOK:
                looked, reason = now, self._reason()
                if reason is None and now - started > self.timeout:
                    self._give_up(f"the other ranks did not answer within {self.timeout:g} s")
            if now - started < SPIN:
                _yield()
            else:
                time.sleep(0.0005)

    def _reason(self, seconds=0.0):
        """Why what is waited for cannot come, or None."""
        if guard.gone():
            return "the launcher has ended this run"
        lifeline = self._lifeline
        if lifeline is None:
            return None
        lifeline.check(seconds)
        for rank, text in lifeline.ended.items():
            return f"rank {rank} of {self.size} {text}"
        for rank, (work, text) in lifeline.failed.items():
            if work == self.work:
                return f"rank {rank} of {self.size} failed: {text}"
        for rank in lifeline.left:
            return f"rank {rank} of {self.size} has left the program"
        return None

    def _give_up(self, reason):
        self.broken = reason
        raise RankError(reason)

    def say_goodbye(self) -> None:
        """Wait until all ranks have said goodbye, or one can not any more."""
        if self._lifeline is not None:
            self._lifeline.tell("bye")
            while len(self._lifeline.left) < self.size and self.broken is None:
                self._comm.Iprobe()  # what was sent goes on its way in MPI's calls only
                self._lifeline.check(0.01)
                if self._lifeline.ended or guard.gone():
                    self.broken = "another rank has ended"

    def outlive_saving(self) -> None:
        """Leave a rank that saves the time to do it: a launcher may end all at the first exit."""
        lifeline, deadline = self._lifeline, time.monotonic() + 30
        while lifeline is not None and not self.saves() and 0 not in lifeline.ended and time.monotonic() < deadline:
            lifeline.check(0.2)


def _leave():
    """At exit: end MPI in peace only if all ranks come to this point; finalising would wait for the others."""
    for ranks in _made:
        if all(other.broken is None for other in _made):
            ranks.say_goodbye()
    broken = [ranks for ranks in _made if ranks.broken is not None]
    for ranks in broken:
        ranks.outlive_saving()
    if broken:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(guard.EXIT_CODE)


def load_mpi(start=True):
    """mpi4py's MPI, or with ``start=False`` mpi4py alone, or an ImportError that names what to install."""
    try:
        return importlib.import_module("mpi4py.MPI" if start else "mpi4py")
    except (ImportError, RuntimeError) as error:  # a RuntimeError where there is no MPI library
        raise ImportError('fastrnn.distributed needs mpi4py and an MPI library: pip install "fastrnn[mpi]"') from error


def _check_size(size):
    """No process may take itself for the only one where a launcher has started several."""
    for name in ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE"):
        started = os.environ.get(name, "")
        if size == 1 and started.isdigit() and int(started) > 1:
            raise RuntimeError(
                f"mpiexec: expected that of mpi4py's MPI library, found one that started {started} processes which "
                "do not see each other"
            )


def _usable_cpus():
    """1 for each of the host's CPUs that this process may use, 0 for the others."""
    count = os.cpu_count() or 1
    usable = np.ones(count, np.int64)
    if hasattr(os, "sched_getaffinity"):
        usable[:] = np.isin(np.arange(count), list(os.sched_getaffinity(0)))
    return usable


def _fair_share(mine, users, sharing):
    """Threads for a rank that may use the CPUs `mine`, each of which `users` ranks may use, and whose quota `sharing`
    ranks have together: 1 at least."""
    owned = math.floor((mine / np.maximum(users, 1)).sum() + 1e-9)
    quota = _cgroups.cpu_limit()
    return max(1, owned if quota is None else min(owned, quota // sharing))


_yield = getattr(os, "sched_yield", lambda: time.sleep(0))
