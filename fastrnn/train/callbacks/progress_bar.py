"""Live progress of a fit."""

from typing import TYPE_CHECKING

from ...check.values import check_number
from ..progress import Progress
from .base import Callback

if TYPE_CHECKING:
    from ..._types import Trainer


class ProgressBar(Callback):
    """Live progress of a fit on standard error: a bar on a terminal, plain lines in a log.

    Parameters
    ----------
    delay : float, at least 0
        Seconds before anything shows.
    """

    unit = "step"
    writes = True

    def __init__(self, delay: float = 2.0) -> None:
        self.delay = check_number(delay, "delay", low=0)
        self.display = None

    def on_fit_begin(self, trainer: "Trainer") -> None:
        done, total = trainer.extent
        self.display = Progress(
            self.amount(total, trainer), self.unit, done=self.amount(done, trainer), delay=self.delay
        )
        self._shown = self.display.done
        self._validation = ""
        self._metrics = [metric.name for metric in trainer.metrics]

    def on_step_end(self, trainer: "Trainer", logs: dict[str, float]) -> None:
        done = self.amount(trainer.extent[0], trainer)
        self.display.advance(done - self._shown, f"epoch {trainer.epoch + 1}", self.note(logs) + self._validation)
        self._shown = done

    def on_epoch_end(self, trainer: "Trainer", logs: dict[str, float]) -> None:
        shown = [name for name in ("val_loss", *(f"val_{name}" for name in self._metrics)) if name in logs]
        self._validation = "".join(f", {name} {logs[name]:.4g}" for name in shown)

    def on_fit_end(self, trainer: "Trainer") -> None:
        if self.display is not None:
            self.display.close()

    def amount(self, updates: int, trainer: "Trainer") -> int:
        """The number of the bar's units in `updates` updates."""
        return updates

    def note(self, logs: dict[str, float]) -> str:
        """The text behind the figures."""
        return ", ".join(f"{name} {logs[name]:.4g}" for name in ("loss", *self._metrics))
