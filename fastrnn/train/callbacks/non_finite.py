"""End a fit quietly at a number that is not finite."""

import math
import warnings
from typing import TYPE_CHECKING

from .base import Callback

if TYPE_CHECKING:
    from ..._types import Trainer


class TerminateOnNonFinite(Callback):
    """End the fit with a warning instead of a `NonFiniteError`, or after an epoch with a figure that is not finite.

    The parameters are as before the update whose loss or gradient is not finite.
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
