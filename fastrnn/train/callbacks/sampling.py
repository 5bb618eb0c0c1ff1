"""Scheduled sampling: a gradual change from the targets' ids to the decoder's own."""

import math
from typing import TYPE_CHECKING

from ...check.values import check_number, check_option
from .base import Callback

if TYPE_CHECKING:
    from typing import Literal

    from ..._types import Trainer

KINDS = "linear", "exponential", "inverse_sigmoid"


class ScheduledSampling(Callback):
    """Sets ``model.sampling`` to 1 - e(i), after i updates or epochs (Bengio et al. 2015, section 2.4).

    e is the probability that the decoder gets the target's id; it falls from 1 (inverse_sigmoid: from k / (k + 1)):

        linear            e = max(floor, 1 - i / k)
        exponential       e = max(floor, exp(-i / k))
        inverse_sigmoid   e = max(floor, k / (k + exp(i / k)))

    Parameters
    ----------
    kind : "linear", "exponential" or "inverse_sigmoid"
    k : float, above 0
        About how many updates, or epochs, the change takes.
    floor : float in [0, 1]
    per : "batch" or "epoch"
    """

    def __init__(self, kind: "Literal['linear', 'exponential', 'inverse_sigmoid']" = "inverse_sigmoid", k: float = 1000,
                 *, floor: float = 0.0, per: "Literal['epoch', 'batch']" = "batch") -> None:
        self.kind = check_option(kind, "kind", KINDS)
        self.k = check_number(k, "k", above=0)
        self.floor = check_number(floor, "floor", low=0, high=1)
        self.per = check_option(per, "per", ("batch", "epoch"))

    def fed(self, i: int) -> float:
        """e(i)."""
        x = i / self.k
        if self.kind == "linear":
            e = 1 - x
        elif self.kind == "exponential":
            e = math.exp(-x)
        else:
            e = self.k / (self.k + math.exp(min(x, 700.0)))
        return max(self.floor, e)

    def check(self, trainer: "Trainer") -> None:
        if not hasattr(trainer.model, "sampling"):
            raise ValueError(f"callbacks: expected a model with a decoder for ScheduledSampling, found "
                             f"{type(trainer.model).__name__}")

    def on_fit_begin(self, trainer: "Trainer") -> None:
        self._set(trainer)

    def on_step_end(self, trainer: "Trainer", logs: dict[str, float]) -> None:
        if self.per == "batch":
            self._set(trainer)

    def on_epoch_end(self, trainer: "Trainer", logs: dict[str, float]) -> None:
        self._set(trainer)

    def _set(self, trainer):
        trainer.model.sampling = 1 - self.fed(trainer.step if self.per == "batch" else trainer.epoch)
