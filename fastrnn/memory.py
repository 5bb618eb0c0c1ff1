"""How much memory training takes, and whether there is as much: an error before a run instead of the system's killer.

`training_bytes` adds up what a pass over a batch holds at once beside the data, in a module's terms: the outputs of all
modules and what their gradients need. `available` asks the system and the control groups (Linux), `require` compares.
"""

import os
from typing import TYPE_CHECKING

import numpy as np

from . import _cgroups
from ._tree import walk

if TYPE_CHECKING:
    from typing import Any

    from ._types import Array, Module

# Below this much nothing is asked: what is free changes by as much from one moment to the next.
LITTLE_BYTES = 100_000_000


class OutOfMemoryError(MemoryError, ValueError):
    """Sizes that take more memory than there is; the message names the argument that they come from."""


def available() -> int | None:
    """Bytes that this process can still take: free in the machine, and within the limits of its control groups and of
    itself; None where that is not known."""
    limits = [limit for limit in (_free(), _cgroups.memory_room(), _own_room()) if limit is not None]
    return min(limits, default=None)


def require(nbytes: int, name: str, of: str, remedy: str) -> None:
    """Raise an OutOfMemoryError where `nbytes` are more than there are available."""
    if nbytes < LITTLE_BYTES:
        return
    room = available()
    if room is not None and nbytes > room:
        raise OutOfMemoryError(f"{name}: expected what fits in the {amount(room)} of memory that are free, "
                               f"found {of}, about {amount(nbytes)}; {remedy}")


def amount(nbytes: int) -> str:
    """The bytes in words."""
    return f"{nbytes / 1e9:.1f} GB" if nbytes >= 1e9 else f"{nbytes / 1e6:.0f} MB"


def training_bytes(model: "Module", batch: int, steps: int, lengths: "Array | None" = None, ids: bool = False,
                   width: int = 1, counts: "Array | None" = None, x: "Array | None" = None) -> int:
    """Bytes that forward and BPTT of one batch hold at their peak, beside x and the parameters.

    Parameters
    ----------
    model : Module
    batch, steps : int
        Of a padded batch.
    lengths : int array (B,), optional
    ids : bool
        Whether x is of ids; else it has `width` features.
    counts : int array (B,), optional
        Steps of the targets, for a model that decodes them.
    x : array (1, T, ...), or dict of such for a model with named inputs, optional
        A sequence to find out by how wide the modules' outputs are, of as many steps as that depends on; without it
        zeros, one step where that is enough for this package's modules.
    """
    if model.takes_target:
        return model.training_bytes(batch, steps, lengths, int(np.sum(counts)))
    probe = x
    if probe is None:
        whole = any(module.needs_whole_sequences for module in walk(model))
        shape = (1, steps if whole else 1)
        probe = np.zeros(shape, np.int64) if ids else np.zeros((*shape, width), model.dtype)
    first = probe if not isinstance(probe, dict) else next(a for a in probe.values() if _has_steps(a))
    seen = max(first.shape[1], 1)
    if getattr(model, "batch_first", True) is False:
        if isinstance(probe, dict):
            probe = {name: a.swapaxes(0, 1) if _has_steps(a) else a for name, a in probe.items()}
        else:
            probe = probe.swapaxes(0, 1)
    kept, back, output = _pass_bytes(model, probe, batch, steps, lengths, seen)
    return kept + back + 2 * output  # and the gradients that come in and go out


def _pass_bytes(model, probe, batch, steps, lengths, seen):
    """(what forward keeps, what backward takes beside it, the output) of a batch, from a pass of one sequence of which
    `seen` steps stand for `steps`."""
    kept, back, output, pooled = 0, 0, 0, False
    axis = 0 if getattr(model, "batch_first", True) is False else 1
    for module in model._stages():
        inside = module._fed(probe)
        for branch, own, _ in inside:
            forward, beside, _ = _pass_bytes(branch, own, batch, steps, lengths, seen)
            kept += forward
            back = max(back, beside)
        for runner in () if inside else filter(_is_runner, walk(module)):
            forward, beside = runner_bytes(runner, batch, steps, lengths)
            kept += forward
            back = max(back, beside)
        if module.scores_target:    # the scores of all classes, which training does not compute, would take long
            probe = np.broadcast_to(probe[..., :1], (*probe.shape[:-1], module.training_width))
        else:
            found = module(probe)
            probe = found[0] if module.recurrent else found
        pooled = pooled or module.pools_time
        output = batch * probe.size * probe.itemsize * (1 if pooled else steps) // (1 if pooled else seen)
        kept += output
        back = max(back, output)  # what a layer has computed for its gradient
        if not pooled and seen != probe.shape[axis]:    # a convolution with a stride, a pooling of windows
            steps = seen = probe.shape[axis]
            lengths = None if lengths is None else module.output_lengths(lengths)
    return kept, back, output


def _is_runner(module):
    return hasattr(module, "segments")


def _has_steps(array):
    """Whether an input by name is of sequences, not of rows of numbers."""
    return array.ndim == 3 or array.dtype.kind in "iu"


def runner_bytes(runner: "Any", batch: int, steps: int, lengths: "Array | None" = None) -> tuple[int, int]:
    """(what the tape of a runner's forward keeps, what BPTT takes beside it)."""
    if not runner.recompute:
        return runner._engine.measure(batch, steps, lengths, runner.dropout)
    found = runner.segments(steps, batch, lengths)
    between = (runner.num_layers - 1) * batch * steps * runner.output_size * runner.dtype.itemsize
    return found.states + between * runner.bidirectional, found.forward + found.back


def _free():
    try:
        with open("/proc/meminfo") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _own_room():
    """Up to the limit of the address space, as `ulimit -v` sets it."""
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit == resource.RLIM_INFINITY:
            return None
        with open("/proc/self/statm") as file:
            return max(0, limit - int(file.read().split()[0]) * resource.getpagesize())
    except (ImportError, OSError, ValueError):
        return None
