"""RNNForecaster: the next steps of series."""

import warnings
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_is_fitted

from ..check.arrays import check_vector
from ..check.saved import check_count
from ..check.values import check_number, check_option, check_positive_int
from .base import FITTED, NETWORK, TRAINING, UPDATES, RecurrentEstimator
from .calendar import FILLS, Calendar, check_calendars, read_dates
from .checks import check_ends, check_form, check_path_seed, check_scaler, check_spread
from .heads import find_head
from .inputs import Scaler
from .series import HELD, check_series, difference, in_form, last_held
from .strategies import Autoregressive, Direct, origins

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Literal

    from typing_extensions import Self

    from .._types import DType, Inputs, Outputs, RandomState

STRATEGIES = {"direct": Direct, "autoregressive": Autoregressive}
COVERAGE = 0.9  # of the intervals that held-out targets calibrate
INTERVALS = ("gaussian", "quantile")


class RNNForecaster(RecurrentEstimator):
    __doc__ = f"""Forecasts several steps of series of one or more features, with intervals, by a recurrent network.

    Parameters
    ----------
    horizon : int
        Steps ahead that are forecast if `predict` is not told another number, and in "direct" mode at most.
    mode : "direct" or "autoregressive"
        One network output for each step ahead, or one for the next step, which is fed back to forecast further.
    window : int or "auto"
        Steps of the past that the network sees. "auto" takes 24, or twice the horizon or season if that is more, but
        at most a third of the shortest series.
    season : int or None
        The network sees and forecasts differences to the step one season earlier, x_t - x_(t-season); 1 for plain
        differences, None for the series itself.
    interval : "gaussian", "quantile" or None
        What the network puts out: mean and deviation, trained by their likelihood; quantiles, trained by the pinball
        loss, whose median is the forecast; or a mean without intervals, trained by squared error. In "autoregressive"
        mode intervals come from paths drawn step by step.
    quantiles : sequence of float
        Levels of the quantiles that are trained, besides 0.5.
    n_paths : int
        Paths that autoregressive intervals are taken from.
    fill_missing : "linear", "previous" or None
        What stands for values that are missing, NaN or those of dates that a series leaves out: what lies on the line
        between the values before and behind, or the value before. None: they are an error.
    {NETWORK}    {TRAINING.format(updates=UPDATES, held=HELD)}

    Attributes
    ----------
    n_features_in_ : int
        C, the features of a step; `feature_names_in_` for frames with names.
    window_ : int
    {FITTED}

    Notes
    -----
    With `early_stopping` there are two fits. The first, without the end of the series, finds the number of epochs and
    the factor by which intervals are to be wider, or narrower, so that those of 90 % hold 90 % of what was held out.
    The second, of that many epochs, sees everything. Without it intervals are as the network gives them: too narrow
    where it has learnt a short series by heart.

    Series are brought to mean 0 and deviation 1 per feature, after differencing; forecasts are on the series' scale.
    """

    _fitted = RecurrentEstimator._fitted | {
        "window_": check_positive_int, "_lag": check_count, "_path_seed": check_path_seed, "_spread": check_spread,
        "_ends": check_ends, "_calendars": check_calendars, "_form": check_form, "_target_scaler": check_scaler,
    }
    _needed = (*RecurrentEstimator._needed, "window_", "_lag", "_path_seed", "_spread", "_ends", "_form")

    _calendars = ()     # of files from before there were dates

    def __init__(
        self,
        horizon: int = 1,
        *,
        mode: "Literal['direct', 'autoregressive']" = "direct",
        window: "int | Literal['auto']" = "auto",
        season: int | None = None,
        interval: "Literal['gaussian', 'quantile'] | None" = "gaussian",
        quantiles: "Sequence[float]" = (0.05, 0.25, 0.5, 0.75, 0.95),
        n_paths: int = 500,
        fill_missing: "Literal['linear', 'previous'] | None" = None,
        cell: "Literal['gru', 'lstm', 'rnn']" = "gru",
        hidden_size: int = 32,
        num_layers: int = 1,
        dropout: float = 0.0,
        learning_rate: float = 0.01,
        weight_decay: float = 0.01,
        epochs: "int | Literal['auto']" = "auto",
        batch_size: int = 32,
        clip_norm: float | None = 1.0,
        early_stopping: bool = True,
        validation_fraction: float = 0.2,
        n_iter_no_change: int = 20,
        dtype: "DType" = "float32",
        random_state: "RandomState" = None,
        verbose: bool = False,
    ) -> None:
        self._keep(locals())

    def fit(self, X: "Inputs", y: "Any" = None) -> "Self":
        """Train on one or more series.

        Parameters
        ----------
        X : array (T,) or (T, C), series or frame, list of such, or array (n, T, C)
            Steps in order of time; the features are forecast together. A pandas series or frame may have an index of
            dates or periods, which its forecasts go on with.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            Naming the argument; for dates that are twice there, not in order, or missing (see `fill_missing`).
        """
        self._check_params()
        series, form, calendars = self._read(X, reset=True)
        self._lag = self.season or 0
        self.window_ = self._choose_window(series)
        self._check_length(series, self.window_ + self.horizon)
        self._begin(anew=True)
        self._scaler = Scaler([difference(x, self._lag) for x in series])
        self._path_seed, self._spread, epochs = self._seed(), 1.0, None
        strategy = self._strategy
        x, y, counts, overlap = strategy.samples(series)
        sizes = self.n_features_in_, strategy.targets * self._head.width, strategy.pooling
        held, weight = last_held(counts, self.validation_fraction, overlap)
        if self.early_stopping and not weight[~held].any():
            warnings.warn(
                "early_stopping: the series are too short to hold out their ends; intervals are not calibrated",
                stacklevel=2,
            )
        elif self.early_stopping:
            self.network_ = self._network(*sizes)
            self._train(x, y, weight, self._head.loss, held)
            if self.interval is not None:
                self._spread = self._find_spread(x[held], y[held])
            epochs = self._best_epoch
        self.network_ = self._network(*sizes)
        self._train(x, y, np.ones(len(x)), self._head.loss, epochs=epochs)
        self._ends, self._form = [x[-self._lag - self.window_ :] for x in series], form
        self._calendars = calendars
        return self

    def predict(self, horizon: int | None = None, series: "Inputs | None" = None) -> "Outputs":
        """Forecast the steps that follow a series: its mean, or with `interval` "quantile" its median.

        Parameters
        ----------
        horizon : int, optional
            Steps ahead; the estimator's own if None.
        series : array (T,) or (T, C), series or frame, list of such, or array (n, T, C), optional
            What to go on with, of which the last `season + window_` steps count; by default those of `fit`. The columns
            of a frame may stand in any order; dates have to be as far apart as those of `fit`.

        Returns
        -------
        array (horizon,) or (horizon, C); a list of them for a list; (n, horizon, C) for (n, T, C)
            A pandas series, or a frame, of the dates that follow for a series with dates.
        """
        places, *form = self._places(horizon, series)
        return in_form([self._strategy.point(*place)[0] for place in places], *form)

    def predict_interval(self, horizon: int | None = None, series: "Inputs | None" = None,
                         coverage: float = 0.9) -> "tuple[Outputs, Outputs]":
        """Forecast an interval for each step, which holds its value with probability `coverage`.

        Parameters
        ----------
        horizon, series
            As for `predict`.
        coverage : float between 0 and 1

        Returns
        -------
        lower, upper : as `predict` returns
        """
        low = (1 - check_number(coverage, "coverage", above=0, below=1)) / 2
        return tuple(self.predict_quantiles([low, 1 - low], horizon, series))

    def predict_quantiles(self, levels: "Sequence[float]", horizon: int | None = None,
                          series: "Inputs | None" = None) -> "list[Outputs]":
        """Forecast quantiles of each step: for every one of the `levels` what `predict` returns.

        Parameters
        ----------
        levels : sequence of float between 0 and 1
        horizon, series
            As for `predict`.
        """
        levels = check_vector(levels, "levels", above=0, below=1).tolist()
        if self.interval is None:
            raise ValueError("interval: expected 'gaussian' or 'quantile' to forecast quantiles, found None")
        places, *form = self._places(horizon, series)
        found = [self._strategy.at(*place, levels)[:, 0] for place in places]
        return [in_form([values[k] for values in found], *form) for k in range(len(levels))]

    def calibrate(self, X: "Inputs", y: "Any" = None) -> "Self":
        """Set by newer data how wide the intervals are; the network stays as it is.

        For each step ahead and feature a factor, so that the intervals of 90 % hold 90 % of X (split conformal
        prediction, with the network's own deviation as the scale: Lei et al. 2018). To be called again as X goes on.

        Parameters
        ----------
        X : array (T,) or (T, C), series or frame, list of such, or array (n, T, C)
            All places with `season + window_` steps before them and `horizon` behind them count; 50 or more are needed
            for factors to mean much.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            Where there are no intervals, or X is too short; or in "autoregressive" mode, whose factor is that of `fit`.
        """
        check_is_fitted(self)
        if self.interval is None or self.mode != "direct":
            raise ValueError("calibrate: expected mode 'direct' with intervals, "
                             f"found mode {self.mode!r} with interval {self.interval!r}")
        series, *_ = self._read(X, reset=False)
        self._check_length(series, self.window_ + self.horizon)
        contexts, last, future = (np.concatenate(part) for part in zip(*(self._origins(x) for x in series)))
        self._spread = self._find_spread(contexts, self._strategy.scaled_targets(last, future))
        return self

    def score(self, X: "Inputs", y: "Any" = None) -> float:
        """R^2 of the forecasts of `horizon` steps from every place in X that has as many steps before and after.

        Parameters
        ----------
        X : array (T,) or (T, C), series or frame, list of such, or array (n, T, C)
        y : ignored
        """
        check_is_fitted(self)
        series, *_ = self._read(X, reset=False)
        self._check_length(series, self.window_ + self.horizon)
        contexts, last, future = (np.concatenate(part) for part in zip(*(self._origins(x) for x in series)))
        forecast = self._strategy.point(contexts, last, self.horizon)
        return float(r2_score(future.reshape(-1, self.n_features_in_), forecast.reshape(-1, self.n_features_in_)))

    def _check_params(self):
        super()._check_params()
        check_positive_int(self.horizon, "horizon")
        check_option(self.mode, "mode", tuple(STRATEGIES))
        if self.window != "auto":
            check_positive_int(self.window, "window")
        if self.season is not None:
            check_positive_int(self.season, "season")
        if self.interval is not None:
            check_option(self.interval, "interval", INTERVALS)
        check_positive_int(self.n_paths, "n_paths")
        if self.fill_missing is not None:
            check_option(self.fill_missing, "fill_missing", FILLS)
        self._head  # noqa: B018  (checks the quantiles)

    @property
    def _head(self):
        return find_head(self.interval, self.quantiles)

    @property
    def _strategy(self):
        return STRATEGIES[check_option(self.mode, "mode", tuple(STRATEGIES))](self)

    def _choose_window(self, series):
        if self.window != "auto":
            return self.window
        room = (min(map(len, series)) - self._lag - self.horizon) // 3
        return max(1, min(max(24, 2 * self.horizon, 2 * self._lag), room))

    def _check_length(self, series, steps):
        needed = self._lag + steps
        for k, x in enumerate(series):
            if len(x) < needed:
                raise ValueError(f"X: expected at least {needed} steps in each series (season, window and horizon), "
                                 f"found {len(x)} in that with number {k}")

    def _find_spread(self, x, y):
        """How many times as far from the forecast as expected targets that were held out are, for each output."""
        deviations = np.abs(self._head.normal(self._infer(x), y))
        if deviations.ndim == 3:  # one output for every step of a window: they share a factor
            deviations = deviations.reshape(-1, 1)
        rank = min(1.0, COVERAGE * (1 + 1 / len(deviations)))  # that of the one to come, among these
        return np.quantile(deviations, rank, axis=0, method="higher") / ndtri((1 + COVERAGE) / 2)

    def _scaled_difference(self, x):
        return self._scaler(difference(x, self._lag), self.dtype)

    def _origins(self, x):
        return origins(x, self._scaled_difference(x), self._lag, self.window_, self.horizon)

    def _places(self, horizon, given):
        """((context, last steps, horizon) of each series, the series' form, their calendars)."""
        check_is_fitted(self)
        horizon = check_positive_int(self.horizon if horizon is None else horizon, "horizon")
        series, form, calendars = self._ends, self._form, self._calendars
        if given is not None:
            series, form, calendars = self._read(given, reset=False)
            self._check_length(series, 1)
        ends = [x[-self._lag - self.window_ :] for x in series]
        places = [(self._scaled_difference(x)[None], x[None, len(x) - self._lag :], horizon) for x in ends]
        return places, form, calendars

    def _read(self, X, *, reset):
        """(arrays (T_i, C), their form, the values of their `Calendar` or None); all dates have one step, the fit's."""
        found, before = [], () if reset else self._calendars

        def read(item, name):
            step = next((Calendar(*one).step for one in (*before, *found) if one is not None), None)
            item, calendar = read_dates(item, name, step, self.fill_missing)
            found.append(calendar)
            return item

        series, form = check_series(self, X, reset=reset, read=read, fill=self.fill_missing)
        return series, form, [one if one is None else one.values_of(self) for one in found]
