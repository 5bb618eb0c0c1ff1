"""End a fit quietly at a number that is not finite."""

import math
import warnings
from typing import TYPE_CHECKING

from .base import Callback

if TYPE_CHECKING:
    from ..._types import Trainer


class TerminateOnNonFinite(Callback):
    """End the fit, with a warning, where it would raise `NonFiniteError`, or after an epoch with such a figure.

    The update with the loss or gradient that is not finite is not made: the parameters are those before it.
    """

    def on_non_finite(self, trainer: "Trainer", error: BaseException) -> bool:
        self._warn(error)
        return True

    def on_epoch_end(self, trainer: "Trainer", logs: dict[str, float]) -> None:
        bad = [f"{name} is {value}" for name, value in logs.items() if not math.isfinite(value)]
        if bad:
            self._warn(f"epoch {trainer.epoch}: {', '.join(bad)}")
            trainer.stop = True

    def _warn(self, reason):
        warnings.warn(f"training ends early: {reason}", RuntimeWarning, stacklevel=2)
