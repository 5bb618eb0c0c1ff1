"""Streams of modules that have none of their own: they are called step by step."""

import copy
from typing import TYPE_CHECKING

import numpy as np

from ..check.arrays import check_out, real_array
from ..check.values import check_positive_int
from .module import Turn

if TYPE_CHECKING:
    from .._types import Array, ArrayLike, State
    from .module import Module


def has_stream(module: "Module") -> bool:
    """Whether a module has a stream, or can be called step by step."""
    if callable(getattr(module, "stream", None)):
        return True
    return not _needs_all(module)


def _needs_all(module):
    return module.pools_time or module.needs_time or module.needs_whole_sequences or module.takes_target


class ModuleStream:
    """A session with a module, by its call on one step or a few; see `Module`. It has one caller at a time.

    Parameters
    ----------
    module : Module
    batch_size : int
    batch_first : bool
        Layout that the module is called in.
    """

    def __init__(self, module: "Module", batch_size: int, batch_first: bool) -> None:
        if _needs_all(module):
            raise TypeError(f"module: expected one with a stream, found {type(module).__name__}, which needs all steps "
                            "of a sequence")
        self._module = module
        self._batch_size = check_positive_int(batch_size, "batch_size")
        self._time_axis = 1 if batch_first else 0
        self._turn = Turn("stream")
        self._state = None

    @property
    def state(self) -> "State":
        """The module's state; None at the start, and where it has none. Assign to it to go on from another one."""
        with self._turn:
            return copy.deepcopy(self._state)

    @state.setter
    def state(self, state: "State") -> None:
        with self._turn:
            self._state = copy.deepcopy(state)

    def step(self, x: "ArrayLike", out: "Array | None" = None) -> "Array":
        """The output for one step, (I,) or an id, (B, I) or (B,) of ids. After an error the state is as before."""
        x = real_array(x, "x")
        single = x.ndim == (0 if x.dtype.kind in "iu" else 1)
        batch = x[None] if single else x
        if len(batch) != self._batch_size:
            raise ValueError(f"x: expected a step of {self._batch_size} sequences, found shape {x.shape}")
        axis = self._time_axis
        with self._turn:
            y, state = self._call(np.expand_dims(batch, axis))
            y = np.squeeze(y, axis)
            y = y[0] if single else y
            if out is not None:
                check_out(out, y.shape, y.dtype)[...] = y
            self._state = state
        return y if out is None else out

    def run(self, chunk: "ArrayLike") -> "Array":
        """The output for several steps, (T, I) or (T,) of ids, or a batch of these in the module's layout."""
        chunk = real_array(chunk, "chunk")
        axis = 1 - self._time_axis
        single = chunk.ndim == (1 if chunk.dtype.kind in "iu" else 2)
        batch = np.expand_dims(chunk, axis) if single else chunk
        if batch.ndim < 2 or batch.shape[axis] != self._batch_size:
            raise ValueError(f"chunk: expected steps of {self._batch_size} sequences, found shape {chunk.shape}")
        with self._turn:
            y, self._state = self._call(batch)
        return np.squeeze(y, axis) if single else y

    def reset(self) -> None:
        """Back to the start."""
        self.state = None

    def copy(self) -> "ModuleStream":
        """A session that goes on from here, independently."""
        other = ModuleStream(self._module, self._batch_size, self._time_axis == 1)
        other.state = self.state
        return other

    def _call(self, x):
        """(y, state) of the module."""
        if self._module.recurrent:
            return self._module(x, state=self._state, lengths=None)
        return self._module(x, lengths=None), None
