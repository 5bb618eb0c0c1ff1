"""Sequential networks whose input itself tells which of its steps are padding."""

from typing import TYPE_CHECKING

import numpy as np

from ..check.arrays import check_gradient, real_array
from ..check.values import check_number, check_option
from .module import Tape, open_tape
from .runners import Runner
from .sequential import Sequential

if TYPE_CHECKING:
    from typing import Any, Literal

    from .._types import ArrayLike, Inputs, Ints, State
    from .module import Module
    from .modulestream import ModuleStream
    from .sequential import SequentialStream


class MaskedSequential(Sequential):
    """A `Sequential` that passes over masked steps of a batch, as Keras' Masking and Embedding(mask_zero=True) do.

    A step is masked where its id is `mask_value`, or all its features are. The modules get each sequence's other steps,
    one after another, and their number as its length; y has its values at their places.

    Parameters
    ----------
    *modules : Module
        As of `Sequential`.
    mask_value : float
    fill : "last" or "zeros", optional
        What the last recurrent module puts out at masked steps, as Keras' layers do: what it put out at the valid step
        before, and zeros before the first ("last", of a runner that reads forward), or zeros, which are also what
        modules without a state take for masked steps where none is recurrent. The modules behind map these as all
        others. Without it y is zero at masked steps.
    batch_first : bool

    Notes
    -----
    Where `lengths`, or a list of sequences, tell which steps are valid, no step is masked. A stream takes valid steps
    only.
    """

    def __init__(self, *modules: "Module", mask_value: float = 0.0, fill: "Literal['last', 'zeros'] | None" = None,
                 batch_first: bool = True) -> None:
        super().__init__(*modules, batch_first=batch_first)
        self.mask_value = check_number(mask_value, "mask_value")
        self.fill = None if fill is None else check_option(fill, "fill", ("last", "zeros"))
        self._filled = max((k + 1 for k, module in enumerate(modules) if module.recurrent), default=0)
        last = modules[self._filled - 1] if self._filled else None
        if self.fill == "last" and not (isinstance(last, Runner) and last.direction == "forward"):
            raise ValueError(f"fill: expected None or 'zeros' unless the last recurrent module is a runner that reads "
                             f"forward, found 'last' with {type(last).__name__ if last else 'none'}")

    _option_names = ("batch_first", "mask_value", "fill")

    def _options(self):
        return {"batch_first": self.batch_first, "mask_value": self.mask_value, "fill": self.fill}

    def _stages(self):
        return [stage for module in self.modules for stage in module._stages()]

    def __call__(self, x: "Inputs", state: "State" = None, lengths: "Ints | None" = None) -> "Any":
        """Inference, as that of `Sequential`."""
        if lengths is not None or isinstance(x, (list, tuple)):
            return super().__call__(x, state, lengths)
        x, lengths, valid = self._gathered_steps(x)
        y, states, _ = self._run(x, state, lengths, **self._to_fill(valid))
        if self._leaves_gaps(valid):
            y = self._placed(y, valid)
        return (y, states) if self.recurrent else y

    def _leaves_gaps(self, valid):
        """Whether the modules' output has no masked steps, though the input has some."""
        return valid is not None and not self.pools_time and self.fill is None

    def _to_fill(self, valid):
        """The argument `valid` of `_infer` and `_train`, where masked steps get an output."""
        return {} if valid is None or self.pools_time or self.fill is None else {"valid": valid}

    def _infer(self, x, states, lengths, valid=None):
        if valid is None:
            return super()._infer(x, states, lengths)
        x, _ = self._infer_part(slice(self._filled), x, states, lengths)
        return self._infer_part(slice(self._filled, None), self._at_all_steps(x, valid), states, None)

    def _train(self, x, states, lengths, valid=None):
        if valid is None:
            x, lengths, tapes = super()._train(x, states, lengths)
            return x, lengths, (tapes, None)
        x, _, tapes = self._train_part(slice(self._filled), x, states, lengths)
        x, _, more = self._train_part(slice(self._filled, None), self._at_all_steps(x, valid), states, None)
        return x, None, (tapes + more, valid)

    def _propagate(self, kept, dy, dstates, begun):
        tapes, valid = kept
        if valid is None:
            return super()._propagate(tapes, dy, dstates, begun)
        dy = self._propagate_part(slice(self._filled, None), tapes, dy, dstates, begun)
        if dy is not None:
            dy = self._from_all_steps(dy, valid)
        return self._propagate_part(slice(self._filled), tapes, dy, dstates, begun)

    def _at_all_steps(self, y, valid):
        """The outputs of valid steps, in their places, with those of masked steps between them."""
        if self.fill == "zeros":
            return self._placed(y, valid)
        rows = y if self.batch_first else y.swapaxes(0, 1)
        before = np.cumsum(valid, 1) - 1    # the valid step at or before each
        found = rows[np.arange(len(rows))[:, None], np.maximum(before, 0)]
        found[before < 0] = 0
        return np.ascontiguousarray(found if self.batch_first else found.swapaxes(0, 1))

    def _from_all_steps(self, dy, valid):
        """The gradient of the outputs of valid steps, of that at all steps."""
        if self.fill == "zeros":
            return self._taken(dy, valid)
        rows = dy if self.batch_first else dy.swapaxes(0, 1)
        before = np.cumsum(valid, 1) - 1
        found = np.zeros_like(rows)
        read = before >= 0
        np.add.at(found, (np.nonzero(read)[0], before[read]), rows[read])
        return np.ascontiguousarray(found if self.batch_first else found.swapaxes(0, 1))

    def forward(self, x: "ArrayLike", state: "State" = None,
                lengths: "Ints | None" = None) -> "tuple[Any, State, Tape]":
        """Training pass, as that of `Sequential`."""
        valid = None
        if lengths is None and not isinstance(x, (list, tuple)):
            x, lengths, valid = self._gathered_steps(x)
            y, state, tape = self._forward(x, state, lengths, **self._to_fill(valid))
        else:
            y, state, tape = super().forward(x, state, lengths)
        if self._leaves_gaps(valid):
            y = self._placed(y, valid)
        return y, state, Tape(self, tape, valid, y.shape, y.dtype)

    def backward(self, tape: "Tape", dy: "ArrayLike | None" = None, dstate: "State" = None) -> "tuple[Any, State]":
        """Adds to `grads` and returns (dx, dstate), dx zero at masked steps."""
        inner, valid, shape, dtype = open_tape(tape, self)
        if dy is not None and self._leaves_gaps(valid):
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
