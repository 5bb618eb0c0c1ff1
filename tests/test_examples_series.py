"""The examples of series: the benchmark's score by hand and by its properties, and forecasts that see no future."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import expit

pytest.importorskip("sklearn")

from fastrnn.examples import anomaly, files, forecasting, nab

STANDARD, FALSE = (1.0, 0.11, 1.0), -0.11


def settings(**values):
    return SimpleNamespace(**{"quick": True, "seed": 0, "data": None, "plot": None, **values})


def series(windows, steps=1000, name="s"):
    return nab.Series(name, [str(k) for k in range(steps)], np.zeros(steps), np.array(windows, int).reshape(-1, 2))


def detections(one, *steps):
    scores = np.zeros(len(one.values))
    scores[list(steps)] = 1
    return scores


# The benchmark's score


def test_nothing_detected_scores_0_and_each_windows_first_step_100():
    corpus = [series([[300, 399], [600, 609]]), series([]), series([[200, 220]])]
    for cost in (STANDARD, (1.0, 0.22, 1.0), (1.0, 0.11, 2.0)):
        nothing = nab.evaluate(corpus, [np.zeros(1000)] * 3, cost, threshold=1)
        assert nothing == (0, 1, 0, 0)
        scores = [detections(one, *one.windows[:, 0]) for one in corpus]
        assert nab.evaluate(corpus, scores, cost) == (pytest.approx(100), 1, 3, 0)


@pytest.mark.parametrize(
    "steps, gain",
    [
        ([300], 1),  # the window's left edge
        ([350], (2 * expit(2.5) - 1) / (2 * expit(5) - 1)),  # half-way: y = -50 / 100
        ([399], (2 * expit(0.05) - 1) / (2 * expit(5) - 1)),  # its last step: y = -1 / 100
        ([350, 300, 399], 1),  # only the earliest counts
        ([], -1),
        ([200], -1 + FALSE),  # before any window
        ([400], -1 + 0.11 * (2 * expit(-5 / 99) - 1)),  # one step after it: y = 1 / (100 - 1)
        ([499], -1 + 0.11 * (2 * expit(-500 / 99) - 1)),
        ([399 + 3 * 99], -1 + FALSE),  # three windows after it, as bad as anywhere
        ([300, 200, 900], 1 + 2 * FALSE),
        ([0, 149], -1),  # probation: the first 15 % do not count
        ([150], -1 + FALSE),
    ],
)
def test_single_detections_by_hand(steps, gain):
    one = series([[300, 399]])
    found = nab.evaluate([one], [detections(one, *steps)], STANDARD, threshold=0.5)
    assert found.score == pytest.approx(100 * (gain + 1) / 2)
    assert found.found == any(300 <= k < 400 for k in steps)
    assert found.false == sum(k >= 150 and not 300 <= k < 400 for k in steps)


def test_of_two_windows_the_last_one_before_a_detection_excuses_it():
    one = series([[300, 399], [600, 609]])
    gain, number = nab.weigh(one, STANDARD)
    assert gain[610] == pytest.approx(0.11 * (2 * expit(-5 / 9) - 1)) and gain[637:].tolist() == [FALSE] * 363
    assert gain[599] == pytest.approx(0.11 * (2 * expit(-5 * 200 / 99) - 1)) and (gain[:300] == FALSE).all()
    assert (number >= 0).sum() == 110 and set(number) == {-1, 0, 1}


def test_the_best_threshold_is_the_best_of_all_and_equal_scores_are_detected_together():
    rng = np.random.default_rng(0)
    corpus = [series([[300, 340], [700, 780]]), series([[500, 599]])]
    scores = [rng.integers(0, 40, 1000) + 10.0 * (nab.weigh(one, STANDARD)[1] >= 0) for one in corpus]
    best = nab.evaluate(corpus, scores, STANDARD)
    each = [nab.evaluate(corpus, scores, STANDARD, threshold) for threshold in range(51)]
    assert best == max(each, key=lambda result: result.score) and best.found > 0
    same = nab.evaluate(corpus, [np.ones(1000)] * 2, STANDARD)
    assert same == (0, np.inf, 0, 0)  # all or nothing, and nothing is better
    with pytest.raises(ValueError, match="scores: expected one for each of the 1000 steps of s, found shape"):
        nab.evaluate(corpus, [np.ones(999)] * 2, STANDARD)


def test_the_baseline_is_surprised_by_a_jump_only():
    scores = nab.windowed_gaussian(np.r_[np.tile([1.0, 2.0], 50), 30.0, 1.0])
    assert scores[0] == 0 and scores[100] == scores.max() and scores[90] < 0.9
    assert nab.windowed_gaussian(np.array([1.0, 1.0, 1.0]))[2] == 0.5


@pytest.fixture
def streams(tmp_path):
    """A folder in the benchmark's form: a series of waves with a flat piece, and noise without anomalies."""
    for folder in ("data/kind", "labels", "config"):
        (tmp_path / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    times = np.datetime64("2014-04-01") + np.arange(1200) * np.timedelta64(5, "m")
    times = [str(time).replace("T", " ") for time in times.astype("datetime64[s]")]
    waves = np.sin(np.arange(1200) / 5) + rng.normal(0, 0.05, 1200)
    waves[800:830] = 3.0
    for name, values in {"waves": waves, "noise": rng.normal(0, 1, 1200)}.items():
        rows = [f"{time},{value}" for time, value in zip(times, values)]
        (tmp_path / "data" / "kind" / f"{name}.csv").write_text("\n".join(["timestamp,value", *rows]))
    window = [[f"{times[780]}.000000", f"{times[859]}.000000"]]
    (tmp_path / nab.LABELS).write_text(json.dumps({"kind/waves.csv": window, "kind/noise.csv": []}))
    costs = {"tpWeight": 1.0, "fpWeight": 0.11, "fnWeight": 1.0}
    profiles = {name: {"CostMatrix": {**costs, "fpWeight": 0.11 * (k + 1)}} for k, name in enumerate(nab.PROFILES)}
    (tmp_path / nab.WEIGHTS).write_text(json.dumps(profiles))
    return tmp_path


def test_a_benchmark_of_ones_own(streams, capsys):
    corpus, costs = nab.read_corpus(streams)
    assert [one.name for one in corpus] == ["kind/noise.csv", "kind/waves.csv"]
    assert corpus[1].windows.tolist() == [[780, 859]] and corpus[1].probation == 180
    assert costs["standard"] == STANDARD and costs["reward_low_FP_rate"][1] == 0.22
    assert anomaly.main(settings(data=streams)) is None
    assert "1 series, 1,200 steps, 1 windows" in capsys.readouterr().out


def test_the_network_expects_waves_and_not_a_flat_piece(streams):
    corpus, costs = nab.read_corpus(streams)
    found = nab.evaluate(corpus, anomaly.score_all(corpus, 0, 1), costs["standard"])
    assert found.found == 1 and found.score > 50


def test_scores_know_nothing_of_what_comes_later(streams):
    one = nab.read_corpus(streams)[0][1]
    scores = anomaly.highest(anomaly.unusual(anomaly.prediction_errors(one, 0), one.probation))
    changed = one._replace(values=np.r_[one.values[:900], np.full(300, 9.0)])
    again = anomaly.highest(anomaly.unusual(anomaly.prediction_errors(changed, 0), one.probation))
    assert np.array_equal(scores[:900], again[:900]) and not np.array_equal(scores[900:], again[900:])


def test_a_score_counts_where_it_is_the_highest_for_a_while():
    found = anomaly.highest(np.array([1.0, 3, 2, 2, 2, 4, 5]), quiet=3)
    lowest = np.finfo(float).min
    assert found.tolist() == [1, 3, lowest, lowest, lowest, 4, 5]


def test_a_detector_at_random_has_the_published_score():
    if not (files.SHARED / "anomaly").is_dir():
        pytest.skip("anomaly: not beside this checkout")
    corpus, costs = nab.read_corpus(files.SHARED / "anomaly")
    assert len(corpus) == 58 and sum(len(one.windows) for one in corpus) == 116
    found = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        scores = [rng.random(len(one.values)) for one in corpus]
        found.append(nab.evaluate(corpus, scores, costs["standard"]).score)
    assert np.mean(found) == pytest.approx(11.0, abs=3)  # as the benchmark's table has it


# Forecasts


@pytest.fixture
def seasons(tmp_path):
    """The files that the example reads, each with a season and noise."""
    rng = np.random.default_rng(0)

    def write(name, column, season, steps, missing=()):
        x = 10 + 3 * np.sin(2 * np.pi * np.arange(steps) / season) + rng.normal(0, 0.3, steps)
        rows = ["" if k in missing else f"{value:.4f}" for k, value in enumerate(x)]
        (tmp_path / name).write_text("\n".join([f"day,{column}", *(f"{k},{row}" for k, row in enumerate(rows))]))

    write("seattle-temps.csv", "temp", 24, 2500)
    write("sf-temps.csv", "temp", 24, 2500)
    write("co2.csv", "co2", 52, 700, missing=(5, 6))
    write("seattle-weather.csv", "temp_max", 365, 900)
    write("elec_equip.csv", "STS.M.I7.W.TOVT.NS0016.4.000", 12, 200)
    (tmp_path / "stocks.csv").write_text("symbol,price\nMSFT,1\n")
    return tmp_path


def test_forecasts_of_ones_own_series(seasons, tmp_path, capsys):
    pytest.importorskip("statsmodels")
    pytest.importorskip("matplotlib")
    assert forecasting.main(settings(data=seasons, plot=tmp_path / "p.png")) is None
    assert "equipment, monthly" in capsys.readouterr().out and (tmp_path / "p.png").read_bytes()[1:4] == b"PNG"


def test_what_is_missing_lies_between_its_neighbours(seasons):
    x = forecasting.column(seasons, "co2.csv", "co2")
    assert np.allclose(x[4:8], np.linspace(x[4], x[7], 4)) and len(x) == 700
    assert forecasting.column(seasons, "stocks.csv", "price", ("symbol", "MSFT")).tolist() == [1]
    for arguments in [("co2.csv", "methane"), ("stocks.csv", "price", ("symbol", "IBM"))]:
        with pytest.raises(ValueError, match=rf"{arguments[0]}: expected a column '{arguments[1]}', found "):
            forecasting.column(seasons, *arguments)


def test_the_error_is_that_of_last_seasons_value_where_it_forecasts():
    x = np.tile(np.arange(12.0), 20) + np.repeat(np.arange(20.0), 12)  # one more each season
    task = forecasting.Task({"x": x}, 12, np.array([120, 150]), 10, {})
    naive = [forecasting.last_season(x[:t], 12) for t in task.origins]
    # of the 24 steps the first 12 are 1 too low, the others 2; known differences are all 1
    assert forecasting.scaled_error(task, x, naive) == pytest.approx(1.5)
    assert forecasting.scaled_error(task, x, forecasting.outcomes(task, x)) == 0
    assert forecasting.every(10, 60, 200).tolist() == [140, 150, 160, 170]


def test_a_forecast_sees_nothing_of_what_it_forecasts():
    rng = np.random.default_rng(0)
    x = np.sin(np.arange(240) / 2) + rng.normal(0, 0.1, 240)
    options = {"season": 12, "window": 12, "hidden_size": 8, "epochs": 3}
    task = forecasting.Task({"x": x}, 12, np.array([180, 200]), 24, options)
    changed = task._replace(series={"x": np.r_[x[:200], np.full(40, 7.0)]})
    first, second = (forecasting.rolling(one, forecasting.network(one, 0))["x"] for one in (task, changed))
    for a, b in zip(first, second):
        assert a.shape == (2, forecasting.HORIZON) and np.array_equal(a, b)
    assert (first[1] <= first[2]).all()
