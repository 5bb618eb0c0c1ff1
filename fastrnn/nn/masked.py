"""Sequential networks whose input itself tells which of its steps are padding."""

from typing import TYPE_CHECKING

import numpy as np

from ..check.arrays import check_gradient, real_array
from ..check.values import check_number
from .module import Tape, open_tape
from .sequential import Sequential

if TYPE_CHECKING:
    from typing import Any

    from .._types import ArrayLike, Inputs, Ints, State
    from .module import Module
    from .modulestream import ModuleStream
    from .sequential import SequentialStream


class MaskedSequential(Sequential):
    """A `Sequential` that passes over masked steps of a batch, as Keras' Masking and Embedding(mask_zero=True) do.

    A step is masked where its id is `mask_value`, or all its features are. The modules get each sequence's other steps,
    one after another, and their number as its length; y has its values at their places, and zeros at masked steps.

    Parameters
    ----------
    *modules : Module
        As of `Sequential`.
    mask_value : float
    batch_first : bool

    Notes
    -----
    Where `lengths`, or a list of sequences, tell which steps are valid, no step is masked. A stream takes valid steps
    only. (Keras repeats an output at masked steps, where it counts in no loss.)
    """

    def __init__(self, *modules: "Module", mask_value: float = 0.0, batch_first: bool = True) -> None:
        super().__init__(*modules, batch_first=batch_first)
        self.mask_value = check_number(mask_value, "mask_value")

    _option_names = ("batch_first", "mask_value")

    def _options(self):
        return {"batch_first": self.batch_first, "mask_value": self.mask_value}

    def _stages(self):
        return [stage for module in self.modules for stage in module._stages()]

    def __call__(self, x: "Inputs", state: "State" = None, lengths: "Ints | None" = None) -> "Any":
        """Inference, as that of `Sequential`."""
        if lengths is not None or isinstance(x, (list, tuple)):
            return super().__call__(x, state, lengths)
        x, lengths, valid = self._gathered_steps(x)
        found = super().__call__(x, state, lengths)
        if valid is None or self.pools_time:
            return found
        return (self._placed(found[0], valid), found[1]) if self.recurrent else self._placed(found, valid)

    def forward(self, x: "ArrayLike", state: "State" = None,
                lengths: "Ints | None" = None) -> "tuple[Any, State, Tape]":
        """Training pass, as that of `Sequential`."""
        valid = None
        if lengths is None and not isinstance(x, (list, tuple)):
            x, lengths, valid = self._gathered_steps(x)
        y, state, tape = super().forward(x, state, lengths)
        if valid is not None and not self.pools_time:
            y = self._placed(y, valid)
        return y, state, Tape(self, tape, valid, y.shape, y.dtype)

    def backward(self, tape: "Tape", dy: "ArrayLike | None" = None, dstate: "State" = None) -> "tuple[Any, State]":
        """Adds to `grads` and returns (dx, dstate), dx zero at masked steps."""
        inner, valid, shape, dtype = open_tape(tape, self)
        if dy is not None and valid is not None and not self.pools_time:
            dy = self._taken(check_gradient(dy, shape, dtype), valid)
        dx, dstate = super().backward(inner, dy, dstate)
        if dx is not None and valid is not None:
            dx = self._placed(dx, valid)
        return dx, dstate

    def stream(self, batch_size: int = 1) -> "SequentialStream | ModuleStream":
        """A session that takes one valid step at a time."""
        return Sequential(*self.modules, batch_first=self.batch_first).stream(batch_size)

    def _gathered_steps(self, x):
        """(x with valid steps first, their numbers, which were valid), or (x, None, None) if all are."""
        x = real_array(x, "x")
        features = 1 if x.dtype.kind == "f" else 0
        valid = x != self.mask_value
        if features:
            valid = valid.any(-1)
        if valid.all():
            return x, None, None
        if valid.ndim != 2:
            raise ValueError(f"x: expected a batch of sequences where steps are masked, found shape {x.shape}")
        valid = valid if self.batch_first else valid.swapaxes(0, 1)
        lengths = valid.sum(1)
        return self._taken(x, valid), lengths, valid

    def _taken(self, x, valid):
        """The valid steps of each sequence first, zeros behind them."""
        rows = x if self.batch_first else x.swapaxes(0, 1)
        found = np.zeros_like(rows)
        found[np.arange(valid.shape[1]) < valid.sum(1)[:, None]] = rows[valid]
        return found if self.batch_first else found.swapaxes(0, 1)

    def _placed(self, y, valid):
        """What `_taken` gathered, in its places."""
        rows = y if self.batch_first else y.swapaxes(0, 1)
        found = np.zeros_like(rows)
        found[valid] = rows[np.arange(valid.shape[1]) < valid.sum(1)[:, None]]
        return found if self.batch_first else found.swapaxes(0, 1)
