"""The two ways to forecast several steps: all of them at once, or each from those before it.

`Direct` and `Autoregressive` work for a forecaster. Shapes: n forecasts, contexts (n, w, C) of
scaled differences, the `last` (n, lag, C) steps before each forecast (lag 0 without differences), H steps ahead.
"""

import numpy as np
from scipy.special import ndtri

from ..data.windows import next_steps, windows
from .inputs import Scaler
from .series import undo_difference


class Direct:
    """An output of the network for each step ahead (the multi-output strategy: Ben Taieb et al. 2012).

    A target is x_{t+h} less the last known value of its season, and has a scale of its own for each h.
    """

    pooling = "last"

    def __init__(self, forecaster):
        self.forecaster = forecaster
        self.targets = forecaster.horizon * forecaster.n_features_in_

    def samples(self, series):
        """(x, y, windows of each series, how many windows before one share targets with it)."""
        origins = [self.forecaster._origins(x) for x in series]
        contexts, last, future = (np.concatenate(part) for part in zip(*origins))
        self.forecaster._target_scaler = Scaler(_targets(last, future))
        y = self.scaled_targets(last, future)
        return contexts, y, [len(x) for x, _, _ in origins], future.shape[1] - 1

    def scaled_targets(self, last, future):
        """What the network puts out for `future` (n, H, C): (n, H * C)."""
        return self.forecaster._target_scaler(_targets(last, future), self.forecaster.dtype)

    def point(self, contexts, last, horizon):
        """The mean, or the median, of each step: (n, H, C)."""
        forecaster = self.forecaster
        return self._values(forecaster._head.point(forecaster._infer(contexts)), last, horizon)

    def at(self, contexts, last, horizon, levels):
        """The quantiles of these levels: (len(levels), n, H, C)."""
        forecaster = self.forecaster
        raw = forecaster._infer(contexts)
        found = [forecaster._head.at(raw, forecaster._spread * ndtri(level)) for level in levels]
        return np.stack([self._values(values, last, horizon) for values in found])

    def _values(self, y, last, horizon):
        trained = self.forecaster.horizon
        if horizon > trained:
            raise ValueError(f"horizon: expected at most the {trained} steps that a direct forecaster is fitted for, "
                             f"found {horizon}")
        y = self.forecaster._target_scaler.back(y).reshape(len(y), trained, -1)
        return (y + _season(last, trained))[:, :horizon]


class Autoregressive:
    """A network that predicts the next step, fed with its own predictions.

    Quantiles are those of paths that are drawn step by step from the predicted distributions.
    """

    pooling = None

    def __init__(self, forecaster):
        self.forecaster = forecaster
        self.targets = forecaster.n_features_in_

    def samples(self, series):
        """As of `Direct`."""
        window = self.forecaster.window_
        pairs = [next_steps(self.forecaster._scaled_difference(x), window) for x in series]
        x, y = (np.concatenate(part) for part in zip(*pairs))
        return x, y, [len(part) for part, _ in pairs], 2

    def point(self, contexts, last, horizon):
        """As of `Direct`; each step from the means, or medians, of those before."""
        return self._path(contexts, last, horizon, self.forecaster._head.point)

    def at(self, contexts, last, horizon, levels):
        """As of `Direct`."""
        forecaster, found = self.forecaster, []
        rng = np.random.default_rng(forecaster._path_seed)
        shape = (forecaster.n_paths, self.targets)

        def draw(raw):
            return forecaster._head.at(raw, forecaster._spread * rng.standard_normal(shape))

        for context, end in zip(contexts, last):
            paths = self._path(np.repeat(context[None], forecaster.n_paths, axis=0), end[None], horizon, draw)
            found.append(np.quantile(paths, levels, axis=0))
        return np.stack(found, axis=1)

    def _path(self, contexts, last, horizon, draw):
        forecaster = self.forecaster
        stream = forecaster.network_.stream(len(contexts))
        raw, steps = stream.run(contexts)[:, -1], []
        for h in range(horizon):
            steps.append(draw(raw.astype(np.float64)))
            if h < horizon - 1:
                raw = stream.step(steps[-1].astype(contexts.dtype))
        return undo_difference(forecaster._scaler.back(np.stack(steps, axis=1)), last)


def _targets(last, future):
    return (future - _season(last, future.shape[1])).reshape(len(future), -1)


def _season(last, horizon):
    """The last known value of the season of each step ahead, (n, H, C); zeros without a lag."""
    count, lag, features = last.shape
    if lag == 0:
        return np.zeros((count, horizon, features))
    return last[:, np.arange(horizon) % lag]


def origins(x, context, lag, window, horizon):
    """(contexts, last, future) of every place in a series x (T, C) with enough steps before and after it.

    `context` (T - lag, C) is what the network is to see of x.
    """
    count = len(context) - window - horizon + 1
    last = windows(x[window:], lag)[:count] if lag else np.empty((count, 0, x.shape[1]))
    return windows(context, window)[:count], last, windows(x[lag + window :], horizon)
