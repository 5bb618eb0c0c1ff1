"""RNNRegressor: numbers for each sequence."""

from typing import TYPE_CHECKING

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import check_array

from ..check.arrays import refuse_masked
from ..check.saved import check_optional
from ..check.values import check_option
from .base import FITTED, NETWORK, TRAINING, UPDATES, WARM
from .checks import check_labels, check_scaler, check_shape
from .frames import match_targets
from .inputs import Scaler
from .supervised import FEATURES, HELD, NOTES, POOLED, STANDARDIZE, SupervisedEstimator

if TYPE_CHECKING:
    from typing import Literal

    from typing_extensions import Self

    from .._types import Array, ArrayLike, DType, Inputs, RandomState, Source

LOSSES = ("mse", "mae", "huber")


class RNNRegressor(RegressorMixin, SupervisedEstimator):
    __doc__ = f"""Predicts one number, or several, for each sequence by a recurrent network.

    Parameters
    ----------
    loss : "mse", "mae" or "huber"
        Of targets at mean 0 and deviation 1, to which y is brought with `standardize`.
    {NETWORK}    {POOLED}    {STANDARDIZE}    {WARM}    {TRAINING.format(updates=UPDATES, held=HELD)}

    Attributes
    ----------
    {FEATURES}
    {FITTED}

    Notes
    -----
    {NOTES}
    """

    _fitted = SupervisedEstimator._fitted | {
        "_target_scaler": check_optional(check_scaler), "_target_shape": check_shape,
        "_target_names": check_optional(check_labels),
    }
    _needed = (*SupervisedEstimator._needed, "_target_scaler", "_target_shape")

    _target_names = None    # of the columns of a frame

    def __init__(
        self,
        *,
        loss: "Literal['mse', 'mae', 'huber']" = "mse",
        cell: "Literal['gru', 'lstm', 'rnn']" = "gru",
        hidden_size: int = 64,
        num_layers: int = 1,
        dropout: float = 0.0,
        bidirectional: bool = True,
        pooling: "Literal['last', 'mean']" = "last",
        frame_size: "int | Literal['auto']" = "auto",
        standardize: bool = True,
        learning_rate: float = 0.01,
        weight_decay: float = 0.01,
        epochs: "int | Literal['auto']" = "auto",
        batch_size: int = 16,
        clip_norm: float | None = 1.0,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        warm_start: bool = False,
        dtype: "DType" = "float32",
        random_state: "RandomState" = None,
        verbose: bool = False,
    ) -> None:
        self._keep(locals())

    def fit(self, X: "Inputs", y: "ArrayLike", sample_weight: "ArrayLike | None" = None) -> "Self":
        """Train on sequences and their targets.

        Parameters
        ----------
        X : array (n, T, I), table (n, T) with one feature per step, or list of arrays (T_i, I) or (T_i,)
            The list may be of frames, matched by the names of their columns, or of series.
        y : array (n,) or (n, K) of numbers
        sample_weight : array (n,), optional
            At least 0, and not all 0; see the notes of the class.

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight)

    def partial_fit(self, X: "Inputs | Source", y: "ArrayLike | None" = None,
                    sample_weight: "ArrayLike | None" = None, mean_weight: float | None = None) -> "Self":
        """One pass over more data at the constant `learning_rate`.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`. The first call sets the scales of features and targets. In place of them X may be a source
            of batches (X, y) or (X, y, sample_weight), such as a generator, as for `fastrnn.Trainer.fit`: one call for
            each.
        mean_weight : float, optional
            What weights are divided by. None: their mean over the samples of this call, so that they are worth their
            ratio within it. Give it where several calls bring parts of one data set; weights are then no repetitions.

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight, once=True, mean_weight=mean_weight)

    def predict(self, X: "Inputs") -> "Array":
        """Predicted targets, array (n,) or (n, K)."""
        y = self._raw(X)
        if self._target_scaler is not None:
            y = self._target_scaler.back(y)
        return y.reshape(len(y), *self._target_shape)

    def score(self, X: "Inputs", y: "ArrayLike", sample_weight: "ArrayLike | None" = None) -> float:
        """R^2 of the predictions; the columns of a frame y are matched by name with those of the fit."""
        refuse_masked(y, "y")
        refuse_masked(sample_weight, "sample_weight")
        return super().score(X, match_targets(self, y, reset=False), sample_weight)

    def _check_params(self):
        super()._check_params()
        check_option(self.loss, "loss", LOSSES)

    @property
    def _loss(self):
        return self.loss

    @property
    def _outputs(self):
        return int(np.prod(self._target_shape))

    def _encode(self, y, used, x, anew):
        y = match_targets(self, y, reset=anew)
        y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        if y.ndim > 2:
            raise ValueError(f"y: expected shape (n,) or (n, K), found {y.shape}")
        if anew:
            self._target_shape = y.shape[1:]
        elif y.shape[1:] != self._target_shape:
            raise ValueError(f"y: expected shape (n, *{self._target_shape}) as before, found {y.shape}")
        return y[used].reshape(len(used), -1)

    def _prepare(self, y, weight, anew):
        if anew:
            self._target_scaler = Scaler(y, weight) if self.standardize else None

    def _scaled(self, y):
        return y.astype(self.dtype) if self._target_scaler is None else self._target_scaler(y, self.dtype)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _more_tags(self):  # before scikit-learn 1.6
        return {"multioutput": True}
