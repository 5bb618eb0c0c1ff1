"""Streams: a runner's state carried from call to call, one time step or one chunk at a time."""

from typing import TYPE_CHECKING

import numpy as np

from .. import memory
from ..check.arrays import check_axes, check_out
from ..check.sequences import check_steps
from ..check.states import check_state
from ..check.values import check_positive_int
from ..engine.loops._stream import StreamCore
from .module import Fixed

if TYPE_CHECKING:
    from .._types import Array, ArrayLike, Runner, State


class Stream(Fixed):
    """A session over a runner, made by ``runner.stream(batch_size)``.

    A session shares the runner's weights and has its own state, so any number of sessions may run side by side. The
    outputs have the bits of one call over the whole sequence. A session has one caller at a time: a second thread that
    calls it meanwhile gets a ValueError.

    Parameters
    ----------
    runner : RNN, LSTM, GRU, or another of the package's runners
        Not bidirectional: the reverse direction would need the future.
    batch_size : int
        Number of sequences B that advance together.

    Attributes
    ----------
    step : method (x, out=None) -> y
        One time step: x (B, I), or (I,) if B is 1, gives y (B, P) or (P,). With `out`, y is written into it and
        nothing is allocated.
    """

    def __init__(self, runner: "Runner", batch_size: int = 1) -> None:
        if runner.direction != "forward" or runner.bidirectional:
            found = "bidirectional=True" if runner.bidirectional else "direction='reverse'"
            raise ValueError(f"runner: expected one direction, forward, for a stream, found {found}")
        self._runner = runner
        self.batch_size = check_positive_int(batch_size, "batch_size")
        width = runner.input_size + 8 * runner.num_layers * runner.hidden_size  # states, and buffers of a step
        memory.require(self.batch_size * width * runner.dtype.itemsize, "batch_size",
                       f"a state for {self.batch_size} sequences", "use fewer")
        self._core = StreamCore(runner._watched, self.batch_size, self._coerce)
        self._shapes = [s.shape for s in self._states()]
        self.step = self._core.step

    def run(self, chunk: "ArrayLike", out: "Array | None" = None) -> "Array":
        """Several steps at once, with the results of as many calls of `step`.

        Parameters
        ----------
        chunk : array (T, I) if B is 1, or (T, B, I); (B, T, I) if the runner is batch_first

        Returns
        -------
        y : array like chunk with P features; `out`, if given
        """
        runner, batch = self._runner, self.batch_size
        order = ("(B, T, {1}) with B = {0}" if runner.batch_first else "(T, {0}, {1})").format(batch, runner.input_size)
        kinds = {3: order} if batch > 1 else {3: order, 2: f"(T, {runner.input_size})"}
        chunk = check_axes(check_steps(chunk, "chunk", runner.input_size, runner.dtype), "chunk", kinds)
        if chunk.ndim == 3 and chunk.shape[0 if runner.batch_first else 1] != batch:
            raise ValueError(f"chunk: expected shape {order}, found {chunk.shape}")
        if out is not None:
            target = check_out(out, (*chunk.shape[:-1], runner.output_size), runner.dtype)
        with self._core:
            states = self._states()
            if chunk.ndim == 2:
                states = tuple(s[:, 0] for s in states)
            y, final = runner(chunk, states if len(states) == 2 else states[0])
            for mine, new in zip(states, final if len(states) == 2 else (final,)):
                mine[...] = new
        if out is None:
            return y
        target[...] = y
        return out

    @property
    def state(self) -> "State":
        """A copy of the state, in the runner's form: h (L, B, P), for the LSTM (h, c). Assign to it to continue from
        another state."""
        with self._core:
            copies = tuple(s.copy() for s in self._states())
        return copies if len(copies) == 2 else copies[0]

    @state.setter
    def state(self, state: "State") -> None:
        checked = check_state(state, "state", self._shapes, self._runner.dtype, self._runner._state)
        with self._core:
            for mine, given in zip(self._states(), checked):
                mine[...] = 0 if given is None else given

    def reset(self) -> None:
        """Back to the zero state."""
        self.state = None

    def copy(self) -> "Stream":
        """An independent session that continues from this one's state."""
        twin = Stream(self._runner, self.batch_size)
        twin.state = self.state
        return twin

    def __deepcopy__(self, memo):
        return self.copy()

    def __copy__(self):
        return self.copy()

    def _states(self):
        return tuple(getattr(self._core, part) for part in self._runner._state)

    def _coerce(self, x, out):
        """Arguments of `step` in the engine's form; raises if that is impossible."""
        features, width = self._runner.input_size, self._runner.output_size
        kinds = {2: f"({self.batch_size}, {features})"}
        if self.batch_size == 1:
            kinds[1] = f"({features},)"
        x = check_axes(check_steps(x, "x", features, self._runner.dtype), "x", kinds)
        if x.ndim == 2 and len(x) != self.batch_size:
            raise ValueError(f"x: expected shape ({self.batch_size}, {features}), found {x.shape}")
        if out is not None:
            check_out(out, (*x.shape[:-1], width), self._runner.dtype)
        return np.ascontiguousarray(x), out
