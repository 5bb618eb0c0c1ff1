"""Streams of modules that consist of others: the sessions of these, in step."""

from typing import TYPE_CHECKING

from ..check.states import check_entries
from .layers import LayerStream
from .module import Turn
from .modulestream import ModuleStream, has_stream

if TYPE_CHECKING:
    from .._types import Array, ArrayLike, State


def streams_of(modules, batch_size, batch_first):
    """A stream of each of the modules."""
    for k, module in enumerate(modules):
        if not has_stream(module):
            raise TypeError(f"modules[{k}]: expected one with a stream, found {type(module).__name__}")
    return [module.stream(batch_size) if callable(getattr(module, "stream", None))
            else ModuleStream(module, batch_size, batch_first) for module in modules]


class ContainerStream:
    """A session with a network: the sessions of its modules. It has one caller at a time.

    A subclass defines ``_pass(method, x, *out)``, which calls `method`, "step" or "run", of the modules' streams. The
    last call may be of a stream that is not in `kept`, since a stream that fails leaves its own state as it was.

    Parameters
    ----------
    streams : list of streams
    gate : Gate
        Of the network.
    kept : list of streams
        Those whose state must be put back if a later one fails.
    """

    def __init__(self, streams, gate, kept):
        self._streams = streams
        self._kept = [stream for stream in kept if not isinstance(stream, LayerStream)]
        self._gate = gate
        self._turn = Turn("stream")

    def step(self, x: "ArrayLike", out: "Array | None" = None) -> "Array":
        """The output for one step, which has no time axis: (I,) or an id for one sequence, (B, I) or (B,).

        With `out`, of the output's shape and dtype, the output is written into it. An error leaves the state as before.
        """
        return self._through("step", x, out)

    def run(self, chunk: "ArrayLike") -> "Array":
        """The output for several steps, in the layout of the network. An error leaves the state as before."""
        return self._through("run", chunk)

    def _through(self, method, x, *out):
        with self._turn:
            return self._each(method, x, *out)

    def _each(self, method, x, *out):
        before = []
        try:
            with self._gate:
                before = [stream.state for stream in self._kept]
                return self._pass(method, x, *out)
        except BaseException:
            for stream, state in zip(self._kept, before):
                stream.state = state
            raise

    @property
    def state(self) -> "State":
        """A tuple of the modules' states, None for those without one. Assign to it to continue from another state."""
        with self._turn:
            return tuple(stream.state for stream in self._streams)

    @state.setter
    def state(self, states: "State") -> None:
        if states is None:
            return self.reset()
        with self._turn:
            before = tuple(stream.state for stream in self._streams)
            try:
                for stream, state in zip(self._streams, check_entries(states, "state", len(before))):
                    stream.state = state
            except BaseException:
                for stream, state in zip(self._streams, before):
                    stream.state = state
                raise

    def reset(self) -> None:
        """Back to the state of a new session."""
        with self._turn:
            for stream in self._streams:
                stream.reset()

    def copy(self) -> "ContainerStream":
        """A session that goes on from here, independently."""
        with self._turn:
            return self._like([stream.copy() for stream in self._streams])

    def _like(self, streams):
        """A session of this kind with other streams."""
        return type(self)(streams, self._gate)
