"""How many threads a call may use."""

import os

from . import _cgroups
from .check.values import check_number, check_positive_int
from .engine.runtime import _pool


def get_num_threads() -> int:
    """How many threads one call may use, the calling one included."""
    return _pool.limit()


def set_num_threads(n: int) -> None:
    """Let one call use up to `n` threads; results of inference do not depend on it.

    Parameters
    ----------
    n : int
        1 to 256. Default: the CPUs this process may use, its cgroups' quotas included, or FASTRNN_NUM_THREADS.
    """
    global _chosen
    _pool.set_limit(_check_count(n, "n"))
    _chosen = True


def set_default(n: int) -> None:
    """As `set_num_threads`, unless that or FASTRNN_NUM_THREADS has said a number."""
    if not _chosen:
        _pool.set_limit(min(n, _pool.MOST))


def _check_count(n, name):
    return int(check_number(check_positive_int(n, name), name, low=1, high=_pool.MOST))


def available_cpus() -> int:
    """The CPUs this process may use: its affinity, cut down to the smallest quota of its control groups."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroups.cpu_limit()
    return max(1, cpus if quota is None else min(cpus, quota))


def _initial():
    asked = os.environ.get("FASTRNN_NUM_THREADS")
    if not asked:
        return min(available_cpus(), _pool.MOST)
    try:
        return _check_count(int(asked), "FASTRNN_NUM_THREADS")
    except ValueError:
        raise ValueError(f"FASTRNN_NUM_THREADS: expected an int of 1 to {_pool.MOST}, found {asked!r}") from None


_chosen = bool(os.environ.get("FASTRNN_NUM_THREADS"))
_pool.set_limit(_initial())
