"""What layers have in common: passes without a state, and streams."""

from typing import TYPE_CHECKING

from ...check.arrays import check_gradient, check_out
from ...check.states import check_no_state
from ...check.values import check_positive_int
from ..module import Module, Tape, Turn, open_tape

if TYPE_CHECKING:
    from typing import Any

    from typing_extensions import Self

    from ..._types import Array, ArrayLike, Inputs, Ints, Outputs, State


class Layer(Module, base=True):
    """A module without a state.

    A subclass defines ``_apply(x, lengths, training)``, which returns y and a tuple of the values that the gradient
    needs, and ``_gradient(dy, *kept)``, which adds to `grads` and returns dx.
    """

    def __call__(self, x: "Inputs", lengths: "Ints | None" = None) -> "Outputs":
        """The output for `x`, in inference."""
        with self._gate:
            if self._pinned_params is not None:
                self._pinned_params.intact()
            return self._apply(x, lengths, False)[0]

    def forward(self, x: "Inputs", state: None = None, lengths: "Ints | None" = None) -> "tuple[Outputs, None, Tape]":
        """Returns (y, None, tape). The tape may refer to `x`: do not change `x` before `backward`."""
        check_no_state(state, "state", self)
        self._check_trains()
        if self._pinned_params is not None:
            self._pinned_params.intact()
        y, kept = self._apply(x, lengths, True)
        return y, None, Tape(self, y.shape, y.dtype, kept)

    def backward(self, tape: "Tape", dy: "ArrayLike | None" = None, dstate: "State" = None) -> "tuple[Any, None]":
        """Adds to `grads` and returns (dx, None)."""
        shape, dtype, kept = open_tape(tape, self)
        check_no_state(dstate, "dstate", self)
        dy = check_gradient(dy, shape, dtype)
        if self._pinned_params is not None:
            self._pinned_params.intact()
        if self._pinned_grads is not None:
            self._pinned_grads.intact(True)
        saved = tape.take()
        try:
            return self._gradient(dy, *kept), None
        except Exception:   # _gradient raises before it adds anything
            tape.put_back(saved)
            raise

    def stream(self, batch_size: int = 1) -> "LayerStream":
        """A session that takes one step at a time; without a state it only calls the layer."""
        check_positive_int(batch_size, "batch_size")
        if self.needs_whole_sequences:
            raise TypeError(f"module: expected one with a stream, found {type(self).__name__}, which needs all steps "
                            "of a sequence")
        return LayerStream(self)


class LayerStream:
    """A session with a module that maps each step alone and so has no state."""

    def __init__(self, layer: "Any") -> None:
        self.run = layer

    @property
    def state(self) -> None:
        """None."""

    @state.setter
    def state(self, state: None) -> None:
        check_no_state(state, "state", self.run)

    def step(self, x: "ArrayLike", out: "Array | None" = None) -> "Array":
        """The output for one step."""
        return written(self.run(x), out)

    def reset(self) -> None:
        """Nothing to do."""

    def copy(self) -> "LayerStream":
        """The session itself, because it holds nothing that changes."""
        return self


class StateStream:
    """A session with a layer whose outputs depend on earlier steps. It has one caller at a time.

    A subclass defines the property `state`, None of which is that of the start.
    """

    state: "State"

    def __init__(self, layer: "Any", batch_size: int) -> None:
        self._turn = Turn("stream")
        self._layer = layer
        self._batch_size = batch_size
        self.reset()

    def reset(self) -> None:
        """Back to no steps."""
        self.state = None

    def copy(self) -> "Self":
        """A session that goes on from here, independently."""
        other = type(self)(self._layer, self._batch_size)
        other.state = self.state
        return other


def written(y, out):
    """y, or `out` with y written into it."""
    if out is None:
        return y
    check_out(out, y.shape, y.dtype)[...] = y
    return out
