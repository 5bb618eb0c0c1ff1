"""Hooks into `Trainer.fit`."""

from .progress import Progress


class Callback:
    """What a trainer calls while it fits; override what you need.

    Every hook gets the trainer, whose `model`, `optimizer`, `history`, `epoch` (finished ones) and `step`
    (updates so far) it may read; ``trainer.stop = True`` ends the fit after the current epoch's or update's
    hooks. `logs` is a dict of floats. A callback that keeps something from one call to the next gives it to
    checkpoints with `state_dict`, plain values and arrays in dicts, and takes it back in `load_state_dict`.

    Attributes
    ----------
    last : bool
        True for callbacks that record the state of others, such as checkpoints: they are called after the
        others.
    """

    last = False

    def on_fit_begin(self, trainer):
        """Before the first update of a fit, whether it is new or goes on from a checkpoint."""

    def on_epoch_begin(self, trainer):
        """Before an epoch's first update; not called again where a fit goes on within an epoch."""

    def on_gradient(self, trainer):
        """After the backward pass, before clipping: `trainer.model.grads` may be read and changed."""

    def on_step_end(self, trainer, logs):
        """After an update. logs: loss, grad_norm, lr, and mass, the weight of its valid elements."""

    def on_epoch_end(self, trainer, logs):
        """After an epoch and its validation. logs: what `trainer.history` has taken in for it."""

    def on_fit_end(self, trainer):
        """After a fit, also one that an error or an interrupt has ended."""

    def state_dict(self):
        """What a checkpoint keeps of this callback."""
        return {}

    def load_state_dict(self, state):
        """Take back what `state_dict` gave."""


class ProgressBar(Callback):
    """Live progress of a fit on standard error: a bar on a terminal, plain lines in a log.

    Parameters
    ----------
    delay : float
        Seconds before anything shows.
    """

    unit = "step"

    def __init__(self, delay=2.0):
        self.delay = delay
        self.display = None

    def on_fit_begin(self, trainer):
        done, total = trainer.extent
        self.display = Progress(
            self.amount(total, trainer), self.unit, done=self.amount(done, trainer), delay=self.delay
        )
        self._shown = self.display.done
        self._validation = ""

    def on_step_end(self, trainer, logs):
        done = self.amount(trainer.extent[0], trainer)
        self.display.advance(
            done - self._shown, f"epoch {trainer.epoch + 1}", self.note(logs) + self._validation
        )
        self._shown = done

    def on_epoch_end(self, trainer, logs):
        if "val_loss" in logs:
            self._validation = f", val_loss {logs['val_loss']:.4g}"

    def on_fit_end(self, trainer):
        if self.display is not None:
            self.display.close()

    def amount(self, updates, trainer):
        """What `updates` updates are in the bar's unit."""
        return updates

    def note(self, logs):
        """What stands behind the figures."""
        return f"loss {logs['loss']:.4g}"
