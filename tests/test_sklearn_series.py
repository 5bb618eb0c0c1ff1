"""Estimators of scikit-learn's kind for series: forecaster and anomaly detector."""

import pickle
import warnings

import numpy as np
import pytest
from gradcheck import check_gradients
from scipy.special import ndtri
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold

from fastrnn.sklearn import RNNAnomalyDetector, RNNForecaster, load
from fastrnn.sklearn.heads import Gaussian, Point, Quantiles
from fastrnn.sklearn.series import difference, last_held, undo_difference
from fastrnn.windows import next_steps, windows

MODES = ("direct", "autoregressive")
SMALL = {"hidden_size": 12, "epochs": 30, "random_state": 0}
HEADS = [Point(), Gaussian(), Quantiles([0.1, 0.3, 0.9])]


def wave(n=200, channels=1, noise=0.0):
    rng = np.random.default_rng(0)
    phases = np.arange(n)[:, None] * 2 * np.pi / 12 + np.arange(channels)
    return 10 + 3 * np.sin(phases) + noise * rng.normal(size=(n, channels))


@pytest.mark.parametrize("head", HEADS, ids=lambda head: type(head).__name__)
def test_gradients_of_heads(head):
    rng = np.random.default_rng(0)
    raw, target = rng.normal(size=(3, 4, 2 * head.width)), rng.normal(size=(3, 4, 2))
    weight = np.array([1.0, 0.0, 2.0])
    _, gradient = head.loss(raw, target, sample_weight=weight)
    check_gradients(lambda: head.loss(raw, target, sample_weight=weight)[0], {"raw": raw}, {"raw": gradient})


@pytest.mark.parametrize("head", HEADS[1:], ids=lambda head: type(head).__name__)
def test_values_and_normal_scores_are_each_others_reverse(head):
    rng = np.random.default_rng(1)
    raw = 3 * rng.normal(size=(5, 4 * head.width))
    z = rng.normal(size=(5, 4))
    values = head.at(raw, z)
    np.testing.assert_allclose(head.normal(raw, values), z, atol=0.02)
    np.testing.assert_allclose(head.at(raw, 0.0), head.point(raw))
    levels = np.stack([head.at(raw, z) for z in (-2.0, -1.0, 0.0, 1.0, 2.0)])
    assert (np.diff(levels, axis=0) > 0).all()


def test_quantiles_are_those_of_their_levels():
    head = Quantiles([0.1, 0.9])
    raw = np.array([5.0, 1.0, 2.0])  # crossing
    assert head.levels.tolist() == [0.1, 0.5, 0.9]
    for level, value in zip(head.levels, (1.0, 2.0, 5.0)):
        np.testing.assert_allclose(head.at(raw, ndtri(level)), [value])
    with pytest.raises(ValueError, match=r"quantiles: expected a level other than 0\.5"):
        Quantiles([0.5])


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_differences_come_back(lag):
    x = np.random.default_rng(0).normal(size=(20, 2))
    steps = difference(x, lag)[None, -8:]
    np.testing.assert_allclose(undo_difference(steps, x[None, 12 - lag : 12]), x[None, 12:])


def test_windows_end_at_the_end():
    x = np.arange(10.0)[:, None]
    assert windows(x, 4, 3)[..., 0].tolist() == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]
    before, after = next_steps(x, 4)
    assert np.array_equal(after, before + 1)
    assert before[-1, -1, 0] == 8


def test_what_is_held_shares_no_target_with_the_rest():
    held, weight = last_held([10, 5], 0.2, 2)
    assert np.flatnonzero(held).tolist() == [8, 9, 14]
    assert np.flatnonzero(weight == 0).tolist() == [6, 7, 12, 13]
    with pytest.warns(UserWarning, match="too short to hold out"):
        RNNForecaster(3, **SMALL).fit(wave(6))
    with pytest.raises(ValueError, match="early_stopping: expected series long enough"):
        RNNAnomalyDetector(early_stopping=True).fit(wave(5))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("interval", ["gaussian", "quantile", None])
def test_a_wave_is_forecast(mode, interval):
    series = wave()
    forecaster = RNNForecaster(6, mode=mode, interval=interval, random_state=0).fit(series[:180])
    assert np.abs(forecaster.predict() - series[180:186]).max() < 0.5
    assert np.abs(forecaster.predict(series=series[:150]) - series[150:156]).max() < 0.5
    assert forecaster.score(series) > 0.97


@pytest.mark.parametrize("mode", MODES)
def test_forms_of_series(mode):
    series = wave(80, 2)
    forecaster = RNNForecaster(3, mode=mode, **SMALL)
    one = forecaster.fit(series).predict()
    assert one.shape == (3, 2)
    assert forecaster.n_features_in_ == 2
    assert np.array_equal(forecaster.predict(series=series), one)
    assert np.array_equal(forecaster.predict(2), one[:2])
    assert np.array_equal(forecaster.predict(series=[series, series[:50]])[0], one)
    assert forecaster.predict(series=np.stack([series, series])).shape == (2, 3, 2)
    assert [p.shape for p in forecaster.fit([series, series[:60]]).predict()] == [(3, 2), (3, 2)]
    assert forecaster.fit(series[:, 0]).predict().shape == (3,)
    assert forecaster.predict(series=series[:, :1]).shape == (3, 1)
    assert [p.shape for p in forecaster.predict(series=[series[:, 0], series[:, :1]])] == [(3,), (3, 1)]
    with pytest.raises(ValueError, match="2 features, but RNNForecaster is expecting 1"):
        forecaster.predict(series=series)


@pytest.mark.parametrize("mode", MODES)
def test_a_season_repeats_with_its_trend(mode):
    season = np.array([0.0, 5.0, -3.0, 1.0])
    series = 0.5 * np.arange(83) + np.tile(season, 21)[:83]
    forecaster = RNNForecaster(10, mode=mode, season=4, window=4, **SMALL).fit(series[:73])
    np.testing.assert_allclose(forecaster.predict(), series[73:], atol=0.2)
    low, high = forecaster.predict_interval()
    assert ((low < forecaster.predict()) & (forecaster.predict() < high)).all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("interval", ["gaussian", "quantile"])
def test_intervals_hold_what_they_say(mode, interval):
    rng = np.random.default_rng(3)
    x = np.zeros(1200)
    for t in range(1, 1200):
        x[t] = 0.7 * x[t - 1] + rng.normal()
    forecaster = RNNForecaster(4, mode=mode, interval=interval, window=8, n_paths=200, random_state=0).fit(x[:800])
    held = within = 0
    width = []
    for t in range(800, 1196, 4):
        low, high = forecaster.predict_interval(series=x[:t], coverage=0.8)
        held += 4
        within += ((low <= x[t : t + 4]) & (x[t : t + 4] <= high)).sum()
        width.append(high - low)
    assert 0.7 < within / held < 0.9  # 396 steps: deviation 0.02, and a network's own error
    assert 1 < np.mean(width, axis=0)[3] / np.mean(width, axis=0)[0] < 2  # 1.36 in theory


def test_quantiles_are_in_order_and_repeatable():
    series = wave(noise=1.0)
    for mode in MODES:
        forecaster = RNNForecaster(4, mode=mode, **SMALL).fit(series)
        levels = np.stack(forecaster.predict_quantiles([0.05, 0.4, 0.6, 0.95], 3))
        assert levels.shape == (4, 3, 1)
        assert (np.diff(levels, axis=0) > 0).all()
        assert np.array_equal(levels, forecaster.predict_quantiles([0.05, 0.4, 0.6, 0.95], 3))


def test_what_forecasters_refuse():
    series = wave(60)
    forecaster = RNNForecaster(4, interval=None, **SMALL).fit(series)
    with pytest.raises(ValueError, match="horizon: expected at most the 4 steps"):
        forecaster.predict(5)
    with pytest.raises(ValueError, match="interval: expected 'gaussian' or 'quantile'"):
        forecaster.predict_interval()
    with pytest.raises(ValueError, match="X: expected at least 64 steps"):
        RNNForecaster(4, window=60, **SMALL).fit(series)
    with pytest.raises(ValueError, match="mode: expected one of"):
        RNNForecaster(mode="both").fit(series)
    forecaster = RNNForecaster(4, **SMALL).fit(series)
    with pytest.raises(ValueError, match="levels: expected shape"):
        forecaster.predict_quantiles([])
    with pytest.raises(ValueError, match=r"levels: expected shape .* found \(\)"):
        forecaster.predict_quantiles(0.5)
    with pytest.raises(ValueError, match=r"levels\[1\]: expected a finite number above 0 and below 1"):
        forecaster.predict_quantiles([0.5, 1.0])
    with pytest.raises(NotFittedError):
        RNNForecaster().predict()


def test_search_over_series():
    series = [wave(60, noise=0.1) for _ in range(4)]
    search = GridSearchCV(RNNForecaster(2, **SMALL), {"mode": MODES, "season": [None, 12]}, cv=KFold(2), n_jobs=2)
    search.fit(series)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert len(search.best_estimator_.predict()) == 4


def spiked(n=600, at=(450, 500, 570)):
    series = wave(n, noise=0.1)
    series[list(at)] += 3.0
    return series, np.array(at)


def test_anomalies_are_found():
    clean, (series, at) = wave(1000, noise=0.1), spiked()
    detector = RNNAnomalyDetector(0.01, random_state=0).fit(clean)
    found = np.flatnonzero(detector.predict(series) == -1)
    assert set(at) <= set(found)
    quiet = np.ones(600, bool)
    quiet[:10] = False  # nothing is known yet
    for k in at:
        quiet[k : k + 10] = False  # a spike misleads what follows
    assert quiet[found].sum() < 0.05 * 600
    assert set(np.argsort(detector.score_samples(series), axis=0)[:3]) <= {*at, *(at + 1)}
    assert (detector.decision_function(series) == detector.score_samples(series) - detector.offset_).all()


def test_after_a_constant_series_another_value_has_a_finite_score():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        detector = RNNAnomalyDetector(**SMALL).fit(np.full(60, 5.0))
        scores = detector.score_samples(np.r_[np.full(20, 5.0), 6.0, np.full(5, 5.0)])
    assert np.isfinite(scores).all() and scores.argmin() == 20


def test_the_threshold_is_that_of_the_held_out_part():
    series = wave(500, noise=0.5)
    detector = RNNAnomalyDetector(0.1, calibration_fraction=0.4, **SMALL).fit(series)
    assert (detector.predict(series)[300:] == -1).sum() == 20


@pytest.mark.parametrize("channels", [1, 3])
def test_updates_are_the_scores_of_the_whole(channels):
    series = wave(120, channels, noise=0.2)
    detector = RNNAnomalyDetector(**SMALL).fit(series)
    whole = detector.decision_function(series)
    for _ in range(2):
        detector.reset()
        assert np.array_equal([detector.update(x) for x in series], whole)
    copied = pickle.loads(pickle.dumps(detector))
    assert copied.update(series[0]) == whole[0]
    with pytest.raises(ValueError, match=rf"x: expected shape \({channels},\), found"):
        detector.update(np.ones(channels + 1))
    with pytest.raises(ValueError, match=r"x\[0\]: expected a finite number, found nan"):
        detector.update(np.full(channels, np.nan))
    with pytest.raises(TypeError, match="x: expected an array of real numbers"):
        detector.update("high")


def test_forms_of_what_is_searched():
    series = wave(100, 2, noise=0.2)
    detector = RNNAnomalyDetector(**SMALL, early_stopping=True).fit([series, series[:80]])
    assert [s.shape for s in detector.predict([series, series[:30]])] == [(100,), (30,)]
    assert detector.score_samples(np.stack([series, series])).shape == (2, 100)
    assert detector.score_samples(series[:1]).tolist() == [0]
    assert set(detector.fit_predict(series)) <= {-1, 1}
    with pytest.raises(ValueError, match="X: expected at least two steps to train on"):
        RNNAnomalyDetector(**SMALL).fit(series[:2])
    with pytest.raises(NotFittedError):
        RNNAnomalyDetector().update(1.0)


def test_copies_and_files_are_the_same(tmp_path):
    series = wave(100, 2, noise=0.2)
    for estimator in (RNNForecaster(2, season=12, **SMALL), RNNAnomalyDetector(**SMALL)):
        estimator.fit([series, series[:60]])
        estimator.save(tmp_path / "estimator")
        for other in (pickle.loads(pickle.dumps(estimator)), load(tmp_path / "estimator")):
            arguments = (None, [series]) if isinstance(other, RNNForecaster) else ([series],)
            assert np.array_equal(other.predict(*arguments), estimator.predict(*arguments))
            assert other.get_params() == estimator.get_params()
        with pytest.raises(NotFittedError):
            clone(estimator).save(tmp_path / "other")
