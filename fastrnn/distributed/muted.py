"""Callbacks that write, on the ranks that do not."""

from ..train.callbacks import Callback


class Muted(Callback):
    """Stands for a callback that is not called, except for the end of a fit once `heir` is set.

    That is so on the rank that saves what can be saved after the first one's end.
    """

    def __init__(self, callback):
        self.callback, self.last, self.heir = callback, callback.last, False

    def check(self, trainer):
        self.callback.check(trainer)

    def on_fit_end(self, trainer):
        if self.heir:
            self.callback.on_fit_end(trainer)
