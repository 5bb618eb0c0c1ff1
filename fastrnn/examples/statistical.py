"""Forecasts without a network, which the example of forecasting is measured by.

Most are f(x, season, horizon) -> (horizon,); `Smoothing` is fitted first. statsmodels is imported when it is needed.
"""

import warnings

import numpy as np


def last_season(x, season, horizon):
    """The value one season before each step ahead."""
    return x[len(x) - season + np.arange(horizon) % season]


def last_season_shifted(x, season, horizon):
    """Last season's value plus the latest difference from the season before: x[t + h - m] + x[t] - x[t - m]."""
    return last_season(x, season, horizon) + (x[-1] - x[-1 - season])


def season_curve(known, season, steps, count=3):
    """(steps,): a mean and `count` harmonics of the season, fitted to `known` by least squares and gone on with."""
    angle = 2 * np.pi / season * np.arange(steps)[:, None] * np.arange(1, count + 1)
    terms = np.c_[np.ones(steps), np.sin(angle), np.cos(angle)]
    return terms @ np.linalg.lstsq(terms[: len(known)], known, rcond=None)[0]


def harmonics(x, season, horizon, count=3):
    """A mean and `count` harmonics of the season, fitted together with a first-order autoregression."""
    from statsmodels.tsa.ar_model import AutoReg
    from statsmodels.tsa.deterministic import DeterministicProcess, Fourier

    terms = DeterministicProcess(np.arange(len(x)), constant=True, additional_terms=[Fourier(season, count)])
    return AutoReg(x, 1, trend="n", deterministic=terms).fit().forecast(horizon)


def theta(x, season, horizon):
    """The theta method (Assimakopoulos and Nikolopoulos 2000), deseasonalised by moving averages."""
    from statsmodels.tsa.forecasting.theta import ThetaModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = ThetaModel(x, period=season, deseasonalize=True, use_test=False, method="additive")
        return np.asarray(model.fit().forecast(horizon))


def holt_winters(x, season, horizon):
    """ETS(A, Ad, A): additive level, damped trend and season (Holt-Winters), fitted to all of x."""
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    model = ExponentialSmoothing(x, trend="add", damped_trend=True, seasonal="add", seasonal_periods=season,
                                 initialization_method="heuristic")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit().forecast(horizon)


class Smoothing:
    """Exponential smoothing by ETS (Hyndman et al. 2008): what the AICc chooses among additive errors and seasons.

    The trend is none, additive or damped. Parameters are those of `known`; the states go on with each later series.
    """

    TRENDS = ({"trend": None}, {"trend": "add"}, {"trend": "add", "damped_trend": True})

    def __init__(self, known, season):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fitted = [(self._model(known, season, trend).fit(disp=0, maxiter=200), trend) for trend in self.TRENDS]
        best, self.trend = min(fitted, key=lambda one: one[0].aicc)
        self.params = best.params

    @staticmethod
    def _model(x, season, trend):
        from statsmodels.tsa.exponential_smoothing.ets import ETSModel

        return ETSModel(x, error="add", seasonal="add", seasonal_periods=season, initialization_method="heuristic",
                        **trend)

    def __call__(self, x, season, horizon):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self._model(x, season, self.trend).smooth(self.params).forecast(horizon)
