"""RNNAnomalyDetector: steps of series that are not as predicted."""

from typing import TYPE_CHECKING

import numpy as np
from sklearn.base import OutlierMixin
from sklearn.utils.validation import check_is_fitted

from ..check.arrays import check_vector
from ..check.saved import check_figure
from ..check.values import check_number, check_positive_int
from ..data.windows import next_steps
from ..nn.module import Turn
from .base import FITTED, NETWORK, TRAINING, UPDATES, WARM, RecurrentEstimator
from .checks import check_matrix
from .frames import match_row
from .inputs import Scaler
from .series import HELD, check_series, in_form, last_held

if TYPE_CHECKING:
    from typing import Any, Literal

    from typing_extensions import Self

    from .._types import ArrayLike, DType, Inputs, Outputs, RandomState


class RNNAnomalyDetector(OutlierMixin, RecurrentEstimator):
    __doc__ = f"""Finds the steps of series that a recurrent network, trained to predict the next step, did not expect.

    Parameters
    ----------
    contamination : float between 0 and 0.5
        The part of the held-out steps that the threshold takes for anomalies.
    calibration_fraction : float between 0 and 1
        The part of each series, its end, whose errors the threshold and the scale of the errors come from. The
        network is not trained on it.
    window : int
        Steps of the windows that the network is trained on; at most a third of the shortest series.
    {NETWORK}    {WARM}    {TRAINING.format(updates=UPDATES, held=HELD)}

    Attributes
    ----------
    offset_ : float
        The threshold: ``decision_function = score_samples - offset_``.
    n_features_in_ : int
        C, the features of a step; `feature_names_in_` for frames with names.
    {FITTED}

    Notes
    -----
    The score of a step is -(e - m)^T S^-1 (e - m), where e is its prediction error and m and S are the mean and the
    covariance of the errors on the held-out part (Malhotra et al. 2015). Each series is read from its start, with one
    state; its first step, which nothing predicts, has the score 0, the highest, and the next few, predicted from
    little, may have low ones.
    """

    _fitted = RecurrentEstimator._fitted | {
        "_error_mean": check_vector, "_whiten": check_matrix, "offset_": check_figure,
    }
    _needed = (*RecurrentEstimator._needed, "_error_mean", "_whiten", "offset_")

    def __init__(
        self,
        contamination: float = 0.01,
        *,
        calibration_fraction: float = 0.2,
        window: int = 64,
        cell: "Literal['gru', 'lstm', 'rnn']" = "gru",
        hidden_size: int = 32,
        num_layers: int = 1,
        dropout: float = 0.0,
        learning_rate: float = 0.01,
        weight_decay: float = 0.01,
        epochs: "int | Literal['auto']" = "auto",
        batch_size: int = 32,
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

    def fit(self, X: "Inputs", y: "Any" = None) -> "Self":
        """Train on series and set the threshold by their ends.

        Parameters
        ----------
        X : array (T,) or (T, C), series or frame, list of such, or array (n, T, C)
            Steps in order of time, most of them normal.
        y : ignored

        Returns
        -------
        self
        """
        self._check_params()
        anew = not (hasattr(self, "network_") and self.warm_start)
        series, _ = check_series(self, X, reset=anew)
        cuts = [round(len(x) * (1 - self.calibration_fraction)) for x in series]
        window = min(self.window, max(1, min(cuts) // 3))
        if min(cuts) < 2 or any(cut >= len(x) for cut, x in zip(cuts, series)):
            raise ValueError(f"X: expected at least two steps to train on and one to calibrate with in each series, "
                             f"found {min(map(len, series))} steps")
        self._begin(anew=anew)
        if anew:
            self._scaler = Scaler([x[:cut] for x, cut in zip(series, cuts)])
        pairs = [next_steps(self._scaler(x[:cut], self.dtype), window) for x, cut in zip(series, cuts)]
        x, y = (np.concatenate(part) for part in zip(*pairs))
        held, weight = None, np.ones(len(x))
        if self.early_stopping:
            held, weight = last_held([len(part) for part, _ in pairs], self.validation_fraction, 2)
            if not weight[~held].any():
                raise ValueError("early_stopping: expected series long enough to train on one part and validate on "
                                 f"another, found {len(x)} windows of {window} steps that overlap")
        if anew:
            self.network_ = self._network(self.n_features_in_, self.n_features_in_)
        self._train(x, y, weight, "mse", held)
        self._calibrate([self._errors(x)[max(cut, 1) - 1 :] for x, cut in zip(series, cuts)])
        self.reset()
        return self

    def score_samples(self, X: "Inputs") -> "Outputs":
        """How expected each step is: 0 for the most, lower for less.

        Parameters
        ----------
        X : array (T,) or (T, C), series or frame, list of such, or array (n, T, C)
            Each series is read from its start.

        Returns
        -------
        array (T,), or one for each series
        """
        check_is_fitted(self)
        series, form = check_series(self, X, reset=False)
        scores = [np.concatenate([[0.0], self._score(self._errors(x))]) for x in series]
        return in_form(scores, form)

    def decision_function(self, X: "Inputs") -> "Outputs":
        """`score_samples` less the threshold: below 0 for anomalies. X and result as there."""
        return _each(lambda scores: scores - self.offset_, self.score_samples(X))

    def predict(self, X: "Inputs") -> "Outputs":
        """1 for each expected step, -1 for each anomaly. X and result as for `score_samples`."""
        return _each(lambda decision: np.where(decision < 0, -1, 1), self.decision_function(X))

    def update(self, x: "ArrayLike") -> float:
        """Take the next step of a series as it comes.

        Parameters
        ----------
        x : float or array (C,), or a row of a frame

        Returns
        -------
        float
            Its `decision_function`, as if all steps since the last `reset` had been given at once.
        """
        check_is_fitted(self)
        x = check_vector(match_row(self, x), "x", self.n_features_in_)[None]
        if getattr(self, "_stream", None) is None:
            self.reset()
        with self._turn:
            scaled = self._scaler(x, self.dtype)
            score = 0.0 if self._expected is None else self._score(np.float64(scaled) - self._expected)[0]
            self._expected = np.float64(self._stream.step(scaled))
            return float(score - self.offset_)

    def reset(self) -> "Self":
        """Let the next `update` begin a new series."""
        check_is_fitted(self)
        turn = getattr(self, "_turn", None) or Turn("stream")
        with turn:
            self._stream, self._expected, self._turn = self.network_.stream(), None, turn
        return self

    def _check_params(self):
        super()._check_params()
        check_number(self.contamination, "contamination", above=0, high=0.5)
        check_number(self.calibration_fraction, "calibration_fraction", above=0, below=1)
        check_positive_int(self.window, "window")

    def _errors(self, x):
        """Prediction errors of all steps of a series but the first, (T - 1, C), on the scale of the network."""
        if len(x) == 1:
            return np.empty((0, x.shape[1]))
        x = self._scaler(x, self.dtype)
        return np.float64(x[1:]) - self._infer(x[None, :-1])[0]

    def _calibrate(self, errors):
        """Mean, whitening matrix and threshold by held-out errors."""
        errors = np.concatenate(errors)
        self._error_mean = errors.mean(axis=0)
        covariance = np.atleast_2d(np.cov(errors, rowvar=False, bias=True))
        # At least the rounding of a scaled value: what differs from a constant series is not infinitely unexpected
        ridge = max(1e-6 * np.trace(covariance) / len(covariance), float(np.finfo(self.dtype).eps) ** 2)
        lower = np.linalg.cholesky(covariance + ridge * np.eye(len(covariance)))
        self._whiten = np.ascontiguousarray(np.linalg.inv(lower).T)     # as a file gives it back
        self.offset_ = float(np.quantile(self._score(errors), self.contamination))

    def _score(self, errors):
        # einsum, not a product: a step's score has the same bits alone and among others
        return -(np.einsum("tc,cd->td", errors - self._error_mean, self._whiten) ** 2).sum(axis=1)


def _each(function, values):
    return [function(v) for v in values] if isinstance(values, list) else function(values)
