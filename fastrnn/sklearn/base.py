"""What all estimators share: hyperparameters, networks, training, inference and files."""

import math
from typing import TYPE_CHECKING

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ..check.arrays import check_vector
from ..check.saved import check_count, check_optional
from ..check.values import check_bool, check_dtype, check_number, check_option, check_positive_int
from ..files.checkpoint import check_storable, write_checkpoint
from ..nn.layers import Dropout, LastStep, Linear, MeanOverTime
from ..nn.runners import GRU, LSTM, RNN
from ..nn.sequential import Sequential
from ..train.callbacks import EarlyStopping
from ..train.fit.trainer import Trainer
from ..train.optim import AdamW
from ..train.schedules import OneCycle
from .checks import check_figures, check_labels, check_loss_curve, check_scaler, is_a
from .inputs import take
from .values import plain

if TYPE_CHECKING:
    from .._types import PathLike
    from ..train.fit.history import History

CELLS = {"rnn": RNN, "lstm": LSTM, "gru": GRU}
POOLINGS = ("last", "mean")
INFERENCE_BATCH = 256
UPDATES = 1500  # that epochs="auto" aims at

# What the docstrings share
NETWORK = """cell : "gru", "lstm" or "rnn"
    hidden_size, num_layers : int
        Units of a layer and direction, and layers.
    dropout : float in [0, 1)
        Probability with which values are dropped between layers and before the output, in training.
"""
TRAINING = """learning_rate : float
        The highest rate of AdamW; it rises and falls along cosines (`fastrnn.schedules.OneCycle`).
    weight_decay : float
    epochs : int or "auto"
        Passes over the data. "auto" makes about {updates} updates, in at least 10 and at most 300 passes.
    batch_size : int
        Sequences per update.
    clip_norm : float or None
        Bound of the gradient's norm.
    early_stopping : bool
        Whether to hold out a part of the data, end the fit once its loss has not improved for `n_iter_no_change`
        epochs, and keep the network of the best one.
    validation_fraction : float
        {held}
    n_iter_no_change : int
    dtype : "float32" or "float64"
        Of the network.
    random_state : int, numpy.random.RandomState or None
        Source of initial weights, batches, dropout and what is held out. An int gives the same fit each time.
    verbose : bool
        Whether to show the progress of fits of over two seconds on standard error."""
WARM = """warm_start : bool
        Whether `fit` goes on from the network and the scales of the fit before.
"""
FITTED = """network_ : fastrnn.Sequential
    n_iter_ : int
        Epochs of the last fit.
    history_ : fastrnn.History
        Figures of its epochs; `loss_curve_` is the list of training losses."""


SESSION = ("_stream", "_expected", "_turn")  # of `RNNAnomalyDetector`: a copy begins a new series


def check_network(value, name):
    """What `RecurrentEstimator._network` makes: a runner, perhaps a pooling module and dropout, and a linear layer."""
    parts = is_a(Sequential)(value, name).modules
    if (
        type(value) is not Sequential
        or len(parts) < 2
        or type(parts[0]) not in CELLS.values()
        or type(parts[-1]) is not Linear
        or not all(type(part) in (LastStep, MeanOverTime, Dropout) for part in parts[1:-1])
    ):
        raise ValueError(f"{name}: expected a recurrent layer and a linear one, found others")


# What every fit sets -> the check of its value when it comes from a file
CHECKS = {
    "network_": check_network,
    "history_": check_figures,
    "loss_curve_": check_loss_curve,
    "n_iter_": check_count,
    "n_features_in_": check_positive_int,
    "feature_names_in_": check_labels,
    "_best_epoch": check_count,
    "_of_table": check_bool,
    "_scaler": check_optional(check_scaler),
    "_class_weight": check_optional(check_vector),
}


class RecurrentEstimator(BaseEstimator):
    """Base of the estimators. A subclass keeps its constructor's arguments by ``self._keep(locals())``, and adds what
    its fit sets to `_fitted`, and what no file of it may lack to `_needed`.

    Attributes after a fit: `network_`, the `fastrnn.Sequential`; `n_iter_`, epochs of the last fit; `history_`, the
    figures of its epochs (`fastrnn.History`), and of these `loss_curve_`, the training losses.
    """

    network_: Sequential
    history_: "History"
    loss_curve_: list[float]
    n_iter_: int
    n_features_in_: int
    feature_names_in_: np.ndarray
    _fitted = CHECKS
    _needed = ("network_", "n_features_in_", "_scaler")
    _class_weight = None  # by number of the class
    warm_start = False
    _of_table = False  # whether X was a table, a feature per step

    def _keep(self, arguments):
        for name in self._get_param_names():
            setattr(self, name, arguments[name])

    def _check_params(self):
        check_option(self.cell, "cell", tuple(CELLS))
        check_positive_int(self.hidden_size, "hidden_size")
        check_positive_int(self.num_layers, "num_layers")
        check_number(self.dropout, "dropout", low=0, below=1)
        check_number(self.learning_rate, "learning_rate", above=0)
        check_number(self.weight_decay, "weight_decay", low=0)
        check_positive_int(self.batch_size, "batch_size")
        if self.epochs != "auto":
            check_positive_int(self.epochs, "epochs")
        if self.clip_norm is not None:
            check_number(self.clip_norm, "clip_norm", above=0)
        check_bool(self.early_stopping, "early_stopping")
        check_number(self.validation_fraction, "validation_fraction", above=0, below=1)
        check_positive_int(self.n_iter_no_change, "n_iter_no_change")
        check_bool(self.warm_start, "warm_start")
        check_dtype(self.dtype)
        check_option(self._bit_generator(), "random_state: its bit generator", ("MT19937",))  # that files can hold
        for name, value in self.get_params(deep=False).items():
            check_storable(plain(value), name)

    def _bit_generator(self):
        if not isinstance(self.random_state, np.random.RandomState):
            return "MT19937"
        return self.random_state.get_state(legacy=False)["bit_generator"]

    def _begin(self, *, anew):
        """The random source of this fit; where it starts `anew`, what the fit before has left is dropped."""
        self._random = check_random_state(self.random_state)
        if anew:
            self._optimizer = None

    def _seed(self):
        return int(self._random.randint(2**31 - 1))

    def _network(self, inputs, outputs, pooling=None, bidirectional=False):
        """A new network; with `pooling` it has one output per sequence, without one per step."""
        runner = CELLS[self.cell](
            inputs,
            self.hidden_size,
            self.num_layers,
            bidirectional=bidirectional,
            dropout=self.dropout if self.num_layers > 1 else 0.0,
            dtype=self.dtype,
            seed=self._seed(),
        )
        modules = [runner]
        if pooling == "last":
            modules.append(LastStep(bidirectional=bidirectional))
        elif pooling == "mean":
            modules.append(MeanOverTime())
        if self.dropout:
            modules.append(Dropout(self.dropout))
        return Sequential(*modules, Linear(runner.output_size, outputs, dtype=self.dtype, seed=self._seed()))

    def _train(self, x, y, weight, loss, held=None, epochs=None):
        """Fit `network_` to arrays or lists of the network's dtype; `held` marks the samples to validate with."""
        validation, callbacks = None, []
        if held is not None:
            out = np.flatnonzero(held)
            validation = {"X": take(x, out), "y": take(y, out), "sample_weight": weight[out]}
            callbacks = [EarlyStopping(patience=self.n_iter_no_change)]
            kept = np.flatnonzero(~held & (weight > 0))
            x, y, weight = take(x, kept), take(y, kept), weight[kept]
        updates = math.ceil(len(x) / self.batch_size)
        epochs = epochs or self.epochs
        if epochs == "auto":
            epochs = min(max(math.ceil(UPDATES / updates), 10), 300)
        self._optimizer = AdamW(self.learning_rate, weight_decay=self.weight_decay)
        schedule = OneCycle(self.learning_rate, max(epochs * updates, 2))
        self.history_ = self._run(x, y, weight, loss, epochs, schedule, callbacks, validation)
        self.loss_curve_ = list(self.history_["loss"])
        self.n_iter_ = len(self.loss_curve_)
        self._best_epoch = callbacks[0].best_epoch if callbacks else self.n_iter_

    def _train_once(self, x, y, weight, loss, mean_weight):
        """One more epoch at the constant rate, with the optimiser's state of the one before."""
        if self._optimizer is None:
            self._optimizer = AdamW(self.learning_rate, weight_decay=self.weight_decay)
        self._optimizer.lr = self.learning_rate
        history = self._run(x, y, weight, loss, 1, mean_weight=mean_weight)
        self.loss_curve_ = [*getattr(self, "loss_curve_", ()), *history["loss"]]
        self.n_iter_ = len(self.loss_curve_)

    def _run(self, x, y, weight, loss, epochs, schedule=None, callbacks=(), validation=None, mean_weight=None):
        trainer = Trainer(
            self.network_,
            loss,
            self._optimizer,
            schedule=schedule,
            clip_norm=self.clip_norm,
            callbacks=callbacks,
            seed=self._seed(),
        )
        equal = (weight == weight[0]).all() and validation is None and mean_weight is None
        return trainer.fit(
            x,
            y,
            sample_weight=None if equal else weight,
            class_weight=self._class_weight,
            mean_weight=mean_weight,
            epochs=epochs,
            batch_size=self.batch_size,
            validation_data=validation,
            progress=bool(self.verbose),
        )

    def _infer(self, x):
        """The network's outputs in float64, as array or list."""
        outputs = Trainer(self.network_, "mse", seed=0).predict(x, batch_size=INFERENCE_BATCH, progress=False)
        if isinstance(outputs, list):
            return [y.astype(np.float64) for y in outputs]
        return outputs.astype(np.float64)

    def __sklearn_is_fitted__(self):
        return hasattr(self, "network_")

    def __getstate__(self):
        state = dict(super().__getstate__())
        for name in SESSION:
            state.pop(name, None)
        return state

    def save(self, path: "PathLike") -> None:
        """Write the fitted estimator to `path`: arrays and configuration, in one step, never pickled.

        `fastrnn.sklearn.load` reads it. Raises `FileError`, an OSError and a ValueError, where it cannot be written.
        """
        check_is_fitted(self)
        names = (*self.get_params(deep=False), *self._fitted)
        state = {name: vars(self)[name] for name in names if name in vars(self)}
        write_checkpoint(path, {"estimator": type(self).__name__, "state": plain(state)})
