"""How many threads a call may use."""

import math
import os

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
        1 to 256. Default: the CPUs this process may use, its cgroup's quota included, or FASTRNN_NUM_THREADS.
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
    """The CPUs this process may use: its affinity, cut down to the quota of its control group."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cpus, *_quotas()]))


def _quotas():
    """CPU quotas of the control groups (version 2 and 1) that this process sees, rounded up."""
    for quota_file, period_file in (("cpu.max", None), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            with open(f"/sys/fs/cgroup/{quota_file}") as file:
                words = file.read().split()
            if period_file:
                with open(f"/sys/fs/cgroup/{period_file}") as file:
                    words += file.read().split()
            quota, period = int(words[0]), int(words[1])
        except (OSError, ValueError, IndexError):
            continue
        if quota > 0 and period > 0:
            yield math.ceil(quota / period)


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
