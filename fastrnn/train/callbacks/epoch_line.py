"""A line of figures for each epoch."""

import sys
from typing import TYPE_CHECKING

from .base import Callback
from .progress_bar import ProgressBar

if TYPE_CHECKING:
    from typing import Any

    from ..._types import Trainer


class EpochLine(Callback):
    """Print a line of plain text after each epoch, as ``fit(verbose=True)`` does.

    ::

        epoch 3/13: loss 4.671, perplexity 106.8, val_loss 4.859, val_perplexity 128.9, lr 0.5, 12.3 s

    That is the epoch of this fit, then what `History` has of it: loss and metrics, penalty, those of validation, the
    rate of the last update, and seconds with validation.

    Parameters
    ----------
    epochs : int, optional
        Of the fit, shown behind the stroke.
    stream : file, optional
        Standard output by default.
    beside : ProgressBar, optional
        Lines are printed above its bar.
    """

    writes = True

    def __init__(self, epochs: int | None = None, stream: "Any" = None, beside: "ProgressBar | None" = None) -> None:
        self.epochs, self.stream, self.beside = epochs, stream, beside

    def on_epoch_end(self, trainer: "Trainer", logs: dict[str, float]) -> None:
        place = f"epoch {trainer.fit_epoch}" + (f"/{self.epochs}" if self.epochs else "")
        figures = [f"{name} {value:.4g}" for name, value in logs.items() if name not in ("grad_norm", "seconds")]
        line = f"{place}: {', '.join(figures)}, {logs['seconds']:.1f} s"
        stream = sys.stdout if self.stream is None else self.stream
        display = None if self.beside is None else self.beside.display
        if display is None:
            print(line, file=stream, flush=True)
        else:
            display.write(line, stream)
