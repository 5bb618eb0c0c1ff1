"""The base class of hooks into `Trainer.fit`, and that of hooks that watch a figure."""

import math
from typing import TYPE_CHECKING

from ...check.values import check_number
from ..direction import sign_of

if TYPE_CHECKING:
    from typing import Any, Literal

    from ..._types import Trainer


class Callback:
    """Hooks that a trainer calls during a fit; override those that you need.

    Every hook gets the trainer and may read its `model`, `optimizer`, `history`, `epoch` (finished ones) and `step`
    (updates so far); ``trainer.stop = True`` ends the fit after the current epoch's or update's hooks. `logs` is a
    dict of floats. A callback with a state returns it from `state_dict`, as plain values and arrays in dicts, for
    checkpoints, and restores it in `load_state_dict`.

    Attributes
    ----------
    last : bool
        True for callbacks that record the state of others, such as checkpoints: the trainer calls them last.
    writes : bool
        True for callbacks that only write files or show something: if several processes train together, only the
        first one calls them.
    """

    last = False
    writes = False

    def check(self, trainer: "Trainer") -> None:
        """Before a fit changes anything: raise a ValueError if the fit does not suit this callback.

        ``trainer.measured`` holds the names of the figures that each epoch will have.
        """

    def on_fit_begin(self, trainer: "Trainer") -> None:
        """Before the first update of a fit, a new one or one from a checkpoint."""

    def on_epoch_begin(self, trainer: "Trainer") -> None:
        """Before an epoch's first update; not called again if a fit continues within an epoch."""

    def on_gradient(self, trainer: "Trainer") -> None:
        """After the backward pass, before clipping: may read and change `trainer.model.grads`."""

    def on_step_end(self, trainer: "Trainer", logs: dict[str, float]) -> None:
        """After an update. logs: loss, grad_norm, lr, penalty, metrics, and mass, the weight of its elements."""

    def on_epoch_end(self, trainer: "Trainer", logs: dict[str, float]) -> None:
        """After an epoch and its validation. logs: the epoch's entries in `trainer.history`."""

    def on_non_finite(self, trainer: "Trainer", error: BaseException) -> bool:
        """Instead of an update whose loss or gradient is not finite; return True to end the fit without an error."""
        return False

    def on_fit_end(self, trainer: "Trainer") -> None:
        """After a fit, also after an error or an interrupt; see ``trainer.completed``."""

    def state_dict(self) -> "dict[str, Any]":
        """The state of this callback, for checkpoints."""
        return {}

    def load_state_dict(self, state: "dict[str, Any]") -> None:
        """Restore a `state_dict`."""


class Monitor(Callback):
    """Base of callbacks that look for the best value of one of an epoch's figures.

    Parameters
    ----------
    monitor : str
        Name of the figure, as in `History`.
    min_delta : float, at least 0
        Least improvement of a better value.
    mode : "min", "max" or "auto"
        Whether lower or higher is better. "auto" goes by the name: lower for losses and errors, higher for accuracy,
        F1, AUC, R2, precision, recall, BLEU and the like.

    Raises
    ------
    ValueError, TypeError
        Naming the argument; also where "auto" does not know the name.
    """

    def __init__(self, monitor: str, min_delta: float, mode: "Literal['min', 'max', 'auto']") -> None:
        if not isinstance(monitor, str):
            raise TypeError(f"monitor: expected the name of a figure, found {type(monitor).__name__}")
        self.monitor = monitor
        self.min_delta = check_number(min_delta, "min_delta", low=0)
        sign_of(monitor, mode)
        self.mode = mode
        self.best: float | None = None

    def check(self, trainer: "Trainer") -> None:
        if self.monitor not in trainer.measured:
            raise ValueError(
                f"monitor: expected one of this fit's figures, {', '.join(trainer.measured)}; found {self.monitor!r}"
            )

    def improves(self, logs: dict[str, float]) -> bool:
        """Whether an epoch's figure is the best so far, and remember it if so; False for NaN."""
        value = logs[self.monitor]
        if math.isnan(value):
            return False
        sign = sign_of(self.monitor, self.mode)
        if self.best is not None and not sign * value > sign * self.best + self.min_delta:
            return False
        self.best = value
        return True
