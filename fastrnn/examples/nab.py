"""The Numenta Anomaly Benchmark's series and its score (Lavin and Ahmad 2015, arXiv 1510.03336, section II).

An anomaly has a window. Of the detections in a window only the earliest counts, for up to 1 at its left edge, falling
to 0 at its right one; a window without any costs its weight; each detection elsewhere costs up to 0.11, less shortly
after a window. One threshold serves all series. 0 is a detector that detects nothing, 100 one that detects each
window's first step.
"""

import csv
import datetime
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import expit, ndtr

LABELS, WEIGHTS = "labels/combined_windows.json", "config/profiles.json"
PROBATION, PROBATION_STEPS = 0.15, 750  # of each series, at its start, whose detections do not count
PROFILES = ("standard", "reward_low_FP_rate", "reward_low_FN_rate")
TAIL = 3.0  # window lengths after which a detection is as bad as one far from any


class Series(NamedTuple):
    """name : str. times : list of str, (T,). values : array (T,). windows : array (W, 2), first and last steps."""

    name: str
    times: list
    values: np.ndarray
    windows: np.ndarray

    @property
    def probation(self):
        """Steps at the start whose detections do not count."""
        return int(min(PROBATION * len(self.values), PROBATION_STEPS))


class Result(NamedTuple):
    """score : float, 0 for no detections, 100 for perfect ones. threshold : float, of the best score.
    found, false : int, windows with a detection and detections outside of windows.
    """

    score: float
    threshold: float
    found: int
    false: int


def read_corpus(folder):
    """(list of `Series` by name, dict of profile -> (tp, fp, fn) weights) of the benchmark's folder."""
    folder = Path(folder)
    windows = json.loads((folder / LABELS).read_text())
    profiles = json.loads((folder / WEIGHTS).read_text())
    costs = {name: tuple(profiles[name]["CostMatrix"][f"{kind}Weight"] for kind in ("tp", "fp", "fn"))
             for name in PROFILES}
    return [_read(folder / "data" / name, name, windows[name]) for name in sorted(windows)], costs


def _read(path, name, windows):
    with open(path, newline="") as file:
        rows = list(csv.reader(file))[1:]
    times = [time for time, _ in rows]
    places = {datetime.datetime.fromisoformat(time): k for k, time in reversed(list(enumerate(times)))}
    ends = [[places[datetime.datetime.fromisoformat(end)] for end in window] for window in windows]
    values = np.array([float(value) for _, value in rows])
    return Series(name, times, values, np.array(ends, int).reshape(-1, 2))


def scaled_sigmoid(y):
    """2 / (1 + exp(5 y)) - 1, and -1 from y = 3 on; y is -1 at a window's left edge, 0 at its right edge."""
    return np.where(y >= TAIL, -1.0, 2 * expit(-5 * y) - 1)


def weigh(series, cost):
    """(what a detection at each step brings, (T,); the number of its window or -1, (T,)).

    `cost` is (tp, fp, fn); of the gains in a window the largest counts.
    """
    steps = np.arange(len(series.values))
    gain, number = np.full(len(steps), -cost[1]), np.full(len(steps), -1)
    for k, (first, last) in enumerate(series.windows):
        width = last - first + 1
        inside = slice(first, last + 1)
        number[inside] = k
        gain[inside] = cost[0] * scaled_sigmoid((steps[inside] - last - 1) / width) / scaled_sigmoid(-1.0)
        gain[last + 1 :] = cost[1] * scaled_sigmoid((steps[last + 1 :] - last) / (width - 1))
    return gain, number


def evaluate(corpus, scores, cost, threshold=None):
    """The `Result` of a detector: of the `threshold`, or else of the one that is best for the whole corpus.

    Parameters
    ----------
    corpus : list of Series
    scores : list of array (T,)
        The higher, the less normal; a step is detected where its score is at least the threshold.
    cost : (tp, fp, fn) weights
    threshold : float, optional
    """
    gains, windows, values, count = [], [], [], 0
    for one, score in zip(corpus, scores, strict=True):
        if np.shape(score) != one.values.shape:
            raise ValueError(f"scores: expected one for each of the {len(one.values)} steps of {one.name}, "
                             f"found shape {np.shape(score)}")
        gain, number = weigh(one, cost)
        counted = slice(one.probation, None)
        gains.append(gain[counted])
        windows.append(np.where(number >= 0, number + count, -1)[counted])
        values.append(np.asarray(score, np.float64)[counted])
        count += len(one.windows)
    gains, windows, values = map(np.concatenate, (gains, windows, values))
    order = np.argsort(-values, kind="stable")
    gains, windows, values = gains[order], windows[order], values[order]
    # What each further detection adds: outside its gain; inside only what it is better than the best so far
    first = np.zeros(len(values), bool)
    for k in range(count):
        inside = np.flatnonzero(windows == k)
        best = np.maximum.accumulate(np.concatenate([[-cost[2]], gains[inside]]))
        gains[inside] = np.diff(best)
        first[inside[:1]] = True
    null, perfect = -cost[2] * count, cost[0] * count
    totals = np.concatenate([[null], null + np.cumsum(gains)])
    allowed = np.concatenate([[True], values[1:] != values[:-1], [True]])  # equal scores are detected together
    if threshold is None:
        detected = int(np.argmax(np.where(allowed, totals, -np.inf)))
        threshold = values[detected - 1] if detected else np.inf
    else:
        detected = int((values >= threshold).sum())
    score = 100 * (totals[detected] - null) / (perfect - null)
    return Result(float(score), float(threshold), int(first[:detected].sum()), int((windows[:detected] < 0).sum()))


def z_scores(values, length=1000):
    """How many deviations each value lies from the mean of the `length` values before it, (T,); 0 for the first."""
    scores = np.zeros(len(values))
    for t in range(1, len(values)):
        before = values[max(0, t - length) : t]
        deviation = before.std() or 1e-6
        scores[t] = abs(values[t] - before.mean()) / deviation
    return scores


def windowed_gaussian(values, length=1000):
    """The benchmark's baseline: 1 less the probability of a value further up, by the `length` values before it.

    Its published score is 39.65 (standard profile).
    """
    return np.where(np.arange(len(values)) > 0, ndtr(z_scores(values, length)), 0.0)
