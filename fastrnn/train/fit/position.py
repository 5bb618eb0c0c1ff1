"""The place of a fit between two of its updates."""

import zlib

import numpy as np

from .figures import added

_NOT_SAVED = ("order_seed", "_waits")


class Position:
    """The place of a fit between two of its updates: with the parameters, all that the fit needs to continue.

    Parameters
    ----------
    order_seed : int
        Seed of the order of each epoch's batches.

    Attributes
    ----------
    data : dict or None
        The fingerprint of the fit's data; None without a fit.
    epoch, done : int
        Finished epochs and updates of this fit.
    batch, window : int
        The next batch and window of the epoch.
    states : list or None
        Initial states of the next window, one for each batch of the update.
    averaged : bool
        Whether the average includes this epoch.
    order_sum : int or None
        Checksum of the epoch's batches if the caller gives them.
    updates, sums, mass, norm, penalty, lr, seconds
        For the record of the epoch: the number of updates, and sums over them; `lr` is the last update's.
    """

    def __init__(self, order_seed):
        self.order_seed = order_seed
        self._waits = False  # whether the next fit continues from here
        self._place(None)

    def begin(self, data):
        """Go to the start of a fit over data with this fingerprint, or stay at the place of a checkpoint."""
        if not self._waits:
            self._place(data)
        elif self.data != data:
            raise ValueError(
                f"X: expected the data and batch size of the fit that goes on, {self.data}; found {data}"
            )
        self._waits = False

    def end(self):
        """End the fit: there is none to continue."""
        self._place(None)

    @property
    def between_epochs(self):
        """Whether no update of the epoch has been made."""
        return self.batch == self.window == 0

    def order(self, data, epoch):
        """The sequences of each update of an epoch; `epoch` counts all epochs of the trainer."""
        order = self.plan(data, epoch)
        if data.batch_order is not None:
            found = zlib.crc32(np.concatenate([[len(batch), *batch] for batch in order], dtype=np.int64))
            if self.between_epochs:
                self.order_sum = found
            elif self.order_sum != found:
                self._waits = True
                raise ValueError("batch_order: expected the batches of the epoch that goes on, found others")
        return order

    def plan(self, data, epoch):
        """As `order`, without a check of the epoch that goes on."""
        return data.order(np.random.default_rng([self.order_seed, epoch]), epoch)

    def add(self, made):
        """Add the figures of an `Update` to the record."""
        self.sums = added(self.sums, made.values, made.mass)
        self.mass += made.mass
        self.norm += made.norm
        self.penalty += made.penalty
        self.lr = made.lr
        self.updates += 1

    def next_window(self):
        """Go on to the next window of the batch."""
        self.window += 1
        self.done += 1

    def next_batch(self):
        """Go on to the first window of the next batch."""
        self.batch, self.window, self.states = self.batch + 1, 0, None

    def next_epoch(self):
        """Go on to the start of the next epoch."""
        self.epoch += 1
        self._start_epoch()

    def state_dict(self):
        """The values for a checkpoint; None without a fit."""
        if self.data is None:
            return None
        return {name: value for name, value in vars(self).items() if name not in _NOT_SAVED}

    def load_state_dict(self, state):
        """Continue from a `state_dict`: the next fit starts there."""
        self._waits = state is not None
        vars(self).update(state or {})

    def _place(self, data):
        self.data, self.epoch, self.done = data, 0, 0
        self._start_epoch()

    def _start_epoch(self):
        self.batch, self.window, self.states, self.averaged, self.updates, self.sums = 0, 0, None, False, 0, {}
        self.order_sum = None
        self.mass = self.norm = self.penalty = self.lr = self.seconds = 0.0
