"""What a fit leaves behind: its figures, and the error that ends it at a number that is not finite."""


class NonFiniteError(ValueError, FloatingPointError):
    """A loss or gradient that is not finite. The update was not made: parameters are as before it."""


class History(dict):
    """What was measured, name -> list with one entry per epoch.

    loss, lr, grad_norm, seconds; val_loss with validation data; each metric under its name, and with ``val_`` before
    it; penalty where there is regularisation. `loss` and metrics are means over the epoch's training elements, taken
    in the training passes; `grad_norm` is the mean of the norms before clipping, `lr` the rate of the last update,
    `seconds` wall time with validation, `penalty` the mean of what regularisation adds to the loss.

    Attributes
    ----------
    interrupted : bool
        Whether a KeyboardInterrupt ended the last fit.
    """

    interrupted = False

    def add(self, **values):
        """One epoch's figures."""
        for name, value in values.items():
            self.setdefault(name, []).append(value)
