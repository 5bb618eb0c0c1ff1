"""The figures of a fit, and the error of a loss or gradient that is not finite."""


class NonFiniteError(ValueError, FloatingPointError):
    """A loss or gradient is not finite. The parameters are as before the update."""


class History(dict):
    """The figures of a fit: name -> list with one entry per epoch.

    loss, lr, grad_norm, seconds; val_loss with validation data; each metric under its name, and with ``val_`` before
    it; penalty with regularisation. `loss` and metrics are means over the epoch's training elements, from the training
    passes; `grad_norm` is the mean of the norms before clipping, `lr` the rate of the last update, `seconds` wall time
    with validation, `penalty` the mean of the regularisation's part of the loss.

    Attributes
    ----------
    interrupted : bool
        Whether a KeyboardInterrupt ended the last fit.
    """

    interrupted = False

    def add(self, **values):
        """Add one epoch's figures."""
        for name, value in values.items():
            self.setdefault(name, []).append(value)
