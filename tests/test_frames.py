"""Estimators and frames: columns matched by name or refused, dates kept, gaps named, missing values filled on wish."""

import subprocess
import sys
import warnings

import numpy as np
import pytest

from fastrnn import GRU, Linear, Sequential, Trainer
from fastrnn.sklearn import RNNAnomalyDetector, RNNClassifier, RNNForecaster, RNNRegressor, RNNTagger, load

pd = pytest.importorskip("pandas")
SMALL = {"hidden_size": 6, "epochs": 3, "random_state": 0}
NAMES = ["load", "heat", "wind"]


def steps(n=12, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 3)) + np.array([0, 10, -10])


def arrays(count=12):
    return [steps(5 + k % 4, k) for k in range(count)]


def pandas_frame(x, names=NAMES):
    return pd.DataFrame(x, columns=names)


def polars_frame(x, names=NAMES):
    return pytest.importorskip("polars").DataFrame(dict(zip(names, x.T)))


def pyarrow_table(x, names=NAMES):
    return pytest.importorskip("pyarrow").table(dict(zip(names, np.ascontiguousarray(x.T))))


MAKERS = [pandas_frame, polars_frame, pyarrow_table]


def shuffled(make, x):
    return make(x[:, [2, 0, 1]], [NAMES[k] for k in (2, 0, 1)])


def bent(make, x):
    return make(x, ["load", "heat", "rain"])


ESTIMATORS = {
    "classifier": (RNNClassifier, lambda xs: np.arange(len(xs)) % 2, "predict_proba"),
    "regressor": (RNNRegressor, lambda xs: np.arange(len(xs)) * 1.0, "predict"),
    "tagger": (RNNTagger, lambda xs: [np.arange(len(x)) % 2 for x in xs], "predict_proba"),
    "detector": (RNNAnomalyDetector, lambda xs: None, "score_samples"),
    "forecaster": (RNNForecaster, lambda xs: None, None),
}


def outputs(estimator, method, xs):
    found = estimator.predict(series=xs) if method is None else getattr(estimator, method)(xs)
    return np.concatenate([np.ravel(y) for y in found])


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_columns_are_matched_by_name_in_lists_of_frames(name, make, tmp_path):
    cls, targets, method = ESTIMATORS[name]
    xs = [steps(20 + k, k) for k in range(8)]
    frames = [make(x) for x in xs]
    plain = cls(**SMALL).fit(xs, targets(xs))
    assert plain.n_features_in_ == 3 and not hasattr(plain, "feature_names_in_")
    estimator = cls(**SMALL).fit(frames, targets(xs))
    assert estimator.n_features_in_ == 3 and estimator.feature_names_in_.tolist() == NAMES
    wanted = outputs(plain, method, xs)
    mixed = [frame if k % 2 else shuffled(make, x) for k, (x, frame) in enumerate(zip(xs, frames))]
    again = cls(**SMALL).fit(mixed, targets(xs))    # in another order, and so another network
    assert again.feature_names_in_.tolist() == [NAMES[k] for k in (2, 0, 1)]
    estimator.save(tmp_path / "estimator")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for one in estimator, load(tmp_path / "estimator"):
            np.testing.assert_array_equal(outputs(one, method, frames), wanted)
            np.testing.assert_array_equal(outputs(one, method, mixed), wanted)
        np.testing.assert_array_equal(outputs(again, method, frames), outputs(again, method, mixed))
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        np.testing.assert_array_equal(outputs(estimator, method, xs), wanted)
    with pytest.warns(UserWarning, match="was fitted without feature names"):
        outputs(plain, method, frames)
    for wrong in [bent(make, xs[0])], [frames[0], bent(make, xs[1])], [make(xs[0][:, :2], NAMES[:2])], [
            make(np.c_[xs[0], xs[0][:, :1]], [*NAMES, "rain"])]:
        with pytest.raises(ValueError, match=r"expected the columns \['load', 'heat', 'wind'\] as in fit, found"):
            outputs(estimator, method, wrong)
    with pytest.raises(ValueError, match=r"X\[1\]: expected the columns .* as in the first"):
        cls(**SMALL).fit([frames[0], bent(make, xs[1]), *frames[2:]], targets(xs))
    with pytest.raises(ValueError, match=r"X\[1\]: expected columns named as those of X\[0\], found ndarray"):
        outputs(estimator, method, [frames[0], xs[1]])
    assert not hasattr(estimator.fit(xs, targets(xs)), "feature_names_in_")


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("cls", [RNNForecaster, RNNAnomalyDetector])
def test_columns_of_one_series_are_matched_by_name(cls, make):
    x = steps(60)
    estimator = cls(**SMALL).fit(make(x))
    assert estimator.feature_names_in_.tolist() == NAMES and estimator.n_features_in_ == 3
    call = estimator.score_samples if cls is RNNAnomalyDetector else lambda x: estimator.predict(series=x)
    wanted = call(make(x))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(call(shuffled(make, x)), wanted)
    with pytest.raises(ValueError, match="X: expected the columns"):
        call(bent(make, x))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        np.testing.assert_array_equal(call(x), wanted)
    if cls is RNNForecaster:
        assert estimator.score(shuffled(make, x)) == estimator.score(make(x))
        estimator.calibrate(shuffled(make, x))


@pytest.mark.parametrize("cls, y", [(RNNClassifier, np.arange(20) % 2), (RNNRegressor, np.arange(20.0))])
def test_tables_are_held_to_the_names_of_their_steps(cls, y):
    x = np.random.default_rng(0).normal(size=(20, 3))
    for make in MAKERS:
        estimator = cls(**SMALL).fit(make(x), y)
        assert estimator.feature_names_in_.tolist() == NAMES
        wanted = estimator.predict(make(x))
        with pytest.raises(ValueError, match="Feature names must be in the same order"):
            estimator.predict(shuffled(make, x))
        with pytest.raises(ValueError, match="Feature names unseen at fit time"):
            estimator.predict(bent(make, x))
        np.testing.assert_array_equal(estimator.predict(list(x)), wanted)
        np.testing.assert_array_equal(estimator.predict([pd.Series(row) for row in x]), wanted)
        np.testing.assert_array_equal(estimator.predict([pd.DataFrame({"any": row}) for row in x]), wanted)


@pytest.mark.parametrize("column", [pd.Series, lambda x: pytest.importorskip("polars").Series(x),
                                    lambda x: pytest.importorskip("pyarrow").array(x),
                                    lambda x: pytest.importorskip("pyarrow").chunked_array([x])])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_columns_by_themselves(name, column):
    cls, targets, method = ESTIMATORS[name]
    xs = [steps(20 + k, k)[:, 0].copy() for k in range(8)]
    estimator = cls(**SMALL).fit([column(x) for x in xs], targets(xs))
    assert estimator.n_features_in_ == 1 and not hasattr(estimator, "feature_names_in_")
    np.testing.assert_array_equal(outputs(estimator, method, [column(x) for x in xs]), outputs(estimator, method, xs))
    if name in ("detector", "forecaster"):
        one = cls(**SMALL).fit(column(xs[0]))
        np.testing.assert_array_equal(outputs(one, method, column(xs[0])), outputs(one, method, xs[0]))
    elif name != "tagger":
        nested = pd.Series([np.asarray(x) for x in xs])
        np.testing.assert_array_equal(outputs(estimator, method, nested), outputs(estimator, method, xs))


def test_labels_in_order_of_time():
    dates = pd.date_range("2024-01-01", periods=20)
    x, y = pd.DataFrame(steps(20), index=dates, columns=NAMES), pd.Series(list("ab" * 10), index=dates)
    tagger = RNNTagger(**SMALL).fit([x, x], [y, y])
    for call in lambda: RNNTagger(**SMALL).fit([x, x], [y, y[::-1]]), lambda: tagger.score([x, x], [y, y[::-1]]):
        with pytest.raises(ValueError, match=r"y\[1\]: expected steps in order of time"):
            call()


@pytest.mark.parametrize(
    "frame, message",
    [
        (pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]}), r"X\[0\]: expected numbers, found dtype .* in column 'b'"),
        (pd.DataFrame({"a": [1.0, 2.0], "b": pd.to_datetime(["2020", "2021"])}), r"X\[0\]: expected numbers, .*'b'"),
        (pd.DataFrame([[1.0, 2.0]], columns=["a", "a"]), r"X\[0\]: expected columns of different names"),
        (pd.DataFrame([[1.0, 2.0]], columns=[1, 0]), r"X\[0\]: expected columns with strings as names, or numbered"),
        (pd.DataFrame([[1.0, 2.0]], columns=["a", 0]), "Feature names are only supported if all"),
        (pd.DataFrame([[1.0, 2.0]], columns=pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")])), "expected columns"),
        (pd.DataFrame({"a": pd.array([1, None], dtype="Int64"), "b": [1.0, 2.0]}), r"X\[0\]: expected finite numbers"),
        (pd.DataFrame({"a": [1.0, 2.0]}, index=pd.to_datetime(["2021", "2020"])), r"X\[0\]: .* dates that go back"),
    ],
)
def test_frames_that_are_refused(frame, message):
    with pytest.raises((ValueError, TypeError), match=message):
        RNNClassifier(**SMALL).fit([frame, frame], [0, 1])


def test_kinds_of_columns_that_are_numbers():
    x = np.arange(10.0).reshape(5, 2) % 3
    frame = pd.DataFrame({"a": pd.array(x[:, 0].astype(int), dtype="Int64"), "b": x[:, 1] > 0})
    wanted = RNNClassifier(**SMALL).fit([np.c_[x[:, 0], x[:, 1] > 0]] * 2, [0, 1])
    found = RNNClassifier(**SMALL).fit([frame] * 2, [0, 1])
    np.testing.assert_array_equal(found.predict_proba([frame]), wanted.predict_proba([np.c_[x[:, 0], x[:, 1] > 0]]))


def test_an_update_finds_its_features_by_name():
    x = steps(60)
    frame = pandas_frame(x)
    detector = RNNAnomalyDetector(**SMALL).fit(frame)
    wanted = detector.decision_function(frame)[:4]
    rows = [frame.iloc[0], shuffled(pandas_frame, x).iloc[1], shuffled(pandas_frame, x).iloc[[2]], x[3]]
    np.testing.assert_allclose([detector.update(row) for row in rows], wanted, rtol=1e-12)
    with pytest.raises(ValueError, match="x: expected the columns"):
        detector.update(bent(pandas_frame, x).iloc[0])


@pytest.mark.parametrize("make", MAKERS)
def test_a_trainer_takes_no_frames_whose_columns_may_be_mistaken(make):
    trainer = Trainer(Sequential(GRU(3, 4, seed=0), Linear(4, 1, seed=0)), "mse")
    frames, y = [make(x) for x in arrays(3)], [np.ones((len(x), 1)) for x in arrays(3)]
    for call in (lambda: trainer.fit(frames, y, progress=False), lambda: trainer.predict(frames, progress=False),
                 lambda: trainer.model(frames), lambda: GRU(3, 4)(frames),
                 lambda: trainer.fit(arrays(3), y, validation_data=(frames, y), progress=False)):
        with pytest.raises(TypeError, match=r"\[0\]: expected an array, found .* with the columns load, heat, wind"):
            call()
    one = Trainer(Sequential(GRU(1, 4, seed=0), Linear(4, 1, seed=0)), "mse")
    assert len(one.predict([make(x[:, :1], NAMES[:1]) for x in arrays(3)], progress=False)) == 3


# Dates

INDEXES = {
    "days": pd.date_range("2024-01-30", periods=60, freq="D"),
    "days without freq": pd.DatetimeIndex(pd.date_range("2024-01-30", periods=60, freq="D").to_numpy()),
    "business days": pd.DatetimeIndex(pd.date_range("2024-01-30", periods=60, freq="B").to_numpy()),
    "hours over a change of clocks": pd.date_range("2024-03-29", periods=60, freq="h", tz="Europe/Berlin"),
    "quarters of an hour": pd.date_range("2024-03-29", periods=60, freq="15min", name="when"),
    "month ends": pd.date_range("2020-01-31", periods=60, freq=pd.offsets.MonthEnd()),
    "sundays": pd.date_range("2024-01-07", periods=60, freq="W-SUN"),
    "months": pd.period_range("2020-01", periods=60, freq="M", name="month"),
    "weeks": pd.period_range("2020-01-01", periods=60, freq="W-WED"),
    "milliseconds": pd.date_range("2024-01-01", periods=60, freq="ms"),
}


def following(index, count):
    """The dates after an index."""
    freq = index.freq or pd.DatetimeIndex(index, freq="infer").freq
    make = pd.period_range if isinstance(index, pd.PeriodIndex) else pd.date_range
    return make(index[-1], periods=count + 1, freq=freq, name=index.name)[1:]


def same_index(found, index, count):
    pd.testing.assert_index_equal(found, following(index, count))


@pytest.mark.parametrize("mode", ["direct", "autoregressive"])
@pytest.mark.parametrize("name", INDEXES)
def test_forecasts_have_the_dates_that_follow(name, mode, tmp_path):
    index, x = INDEXES[name], steps(60)
    plain = RNNForecaster(4, mode=mode, n_paths=10, **SMALL).fit(x)
    forecaster = RNNForecaster(4, mode=mode, n_paths=10, **SMALL).fit(pd.DataFrame(x, index=index, columns=NAMES))
    forecaster.save(tmp_path / "forecaster")
    for one in forecaster, load(tmp_path / "forecaster"):
        found = one.predict()
        same_index(found.index, index, 4)
        assert found.columns.tolist() == NAMES
        np.testing.assert_array_equal(found, plain.predict())
        same_index(one.predict(2).index, index, 2)
        for bound, values in zip(one.predict_interval(), plain.predict_interval()):
            same_index(bound.index, index, 4)
            np.testing.assert_array_equal(bound, values)
        part = pd.DataFrame(x[:50], index=index[:50], columns=NAMES)
        other = one.predict(series=part[NAMES[::-1]])
        same_index(other.index, index[:50], 4) if index.freq is not None else None
        assert other.index[0] == index[50] and other.columns.tolist() == NAMES
        np.testing.assert_array_equal(other, plain.predict(series=x[:50]))
        with pytest.warns(UserWarning, match="valid feature names"):
            assert isinstance(one.predict(series=x), np.ndarray)
    series = pd.Series(x[:, 0], index=index, name="load")
    found = RNNForecaster(4, mode=mode, **SMALL).fit(series).predict()
    same_index(found.index, index, 4)
    assert isinstance(found, pd.Series) and found.name == "load"
    both = RNNForecaster(4, mode=mode, **SMALL).fit([series, series[:50], x[:, 0]]).predict()
    assert both[1].index[0] == index[50] and isinstance(both[2], np.ndarray)
    assert isinstance(RNNForecaster(4, mode=mode, **SMALL).fit(series.reset_index(drop=True)).predict(), np.ndarray)


@pytest.mark.parametrize("name", INDEXES)
def test_gaps_and_duplicates_are_named_and_filled_on_request(name):
    index, x = INDEXES[name], steps(60)
    whole = pd.DataFrame(x, index=index, columns=NAMES)
    gaps = whole.drop(index[[20, 33, 34]])
    with pytest.raises(ValueError, match="X: expected a step for each date, found none for ") as error:
        RNNForecaster(4, **SMALL).fit(gaps)
    assert all(str(index[k]) in str(error.value) for k in (20, 33, 34))
    twice = pd.concat([whole[:30], whole[29:]])
    with pytest.raises(ValueError, match="X: expected each date once, found ") as error:
        RNNForecaster(4, **SMALL, fill_missing="linear").fit(twice)
    assert str(index[29]) in str(error.value)
    with pytest.raises(ValueError, match=r"X\[1\]: expected steps in order of time, found dates that go back"):
        RNNForecaster(4, **SMALL, fill_missing="linear").fit([whole, whole[::-1]])
    holed = x.copy()
    holed[[20, 33, 34]] = np.nan
    for fill in "linear", "previous":
        filled = holed.copy()
        for k, (a, b) in {20: (19, 21), 33: (32, 35), 34: (32, 35)}.items():
            filled[k] = x[a] + (x[b] - x[a]) * (k - a) / (b - a) if fill == "linear" else x[a]
        wanted = RNNForecaster(4, **SMALL).fit(filled)
        for given in gaps, pd.DataFrame(holed, index=index, columns=NAMES), holed, [holed]:
            found = RNNForecaster(4, **SMALL, fill_missing=fill).fit(given)
            np.testing.assert_allclose(np.squeeze(found.predict()), wanted.predict(), rtol=1e-4)
        assert RNNForecaster(4, **SMALL, fill_missing=fill).fit(gaps).predict().index[0] == following(index, 1)[0]
    with pytest.raises(ValueError, match=r"X: expected finite numbers, found nan at \[20, 0\]"):
        RNNForecaster(4, **SMALL).fit(pd.DataFrame(holed, index=index, columns=NAMES))
    for given in holed, [holed]:
        with pytest.raises(ValueError, match=r"NaN|finite"):
            RNNForecaster(4, **SMALL).fit(given)


def test_what_cannot_be_filled():
    x = steps(60)
    first, last = x.copy(), x.copy()
    first[0, 1], last[-1, 2] = np.nan, np.nan
    with pytest.raises(ValueError, match=r"X: expected a value at the first and the last step .* number 2"):
        RNNForecaster(fill_missing="linear", **SMALL).fit(last)
    RNNForecaster(fill_missing="previous", **SMALL).fit(last)
    for fill in "linear", "previous":
        with pytest.raises(ValueError, match=r"X\[0\]: expected a value at the first .* number 1"):
            RNNForecaster(fill_missing=fill, **SMALL).fit([first])
    with pytest.raises(ValueError, match="fill_missing: expected one of 'linear', 'previous'"):
        RNNForecaster(fill_missing="zero").fit(x)
    for fill in None, "linear":
        with pytest.raises((ValueError, TypeError), match="masked"):
            RNNForecaster(fill_missing=fill).fit(np.ma.masked_array(x, x > 0))


def test_dates_that_are_refused():
    x, days = steps(60)[:, 0], INDEXES["days"]
    fitted = RNNForecaster(2, **SMALL).fit(pd.Series(x, index=days))
    uneven = days + pd.to_timedelta(np.random.default_rng(0).integers(0, 12, 60), unit="h")
    for index, message in [(uneven, "at even steps"), (days.where(np.arange(60) != 3), "found NaT"),
                           (days[::-1], "dates that go back")]:
        with pytest.raises(ValueError, match=f"X: expected .*{message}"):
            RNNForecaster(2, **SMALL).fit(pd.Series(x, index=index))
    for name in "business days", "quarters of an hour", "months":
        with pytest.raises(ValueError, match=r"X: expected (dates at steps of D as|a step for each date)"):
            fitted.predict(series=pd.Series(x, index=INDEXES[name]))
    few = pd.Series(x[-fitted.window_ - 1 :], index=days[-fitted.window_ - 1 :])
    assert fitted.predict(series=few).index[0] == following(days, 1)[0]
    before = fitted.predict()
    with pytest.raises(ValueError, match="found none for"):
        fitted.predict(series=pd.Series(x, index=days).drop(days[5]))
    pd.testing.assert_series_equal(fitted.predict(), before)


def test_pandas_is_not_imported_for_arrays():
    code = ("import sys, numpy as np; from fastrnn.sklearn import RNNForecaster, RNNClassifier\n"
            "before = 'pandas' in sys.modules\n"
            "RNNForecaster(2, hidden_size=2, epochs=1).fit(np.arange(40.0)).predict()\n"
            "RNNClassifier(hidden_size=2, epochs=1).fit([np.ones(3), np.ones(4)], [0, 1])\n"
            "assert before or 'pandas' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True)


# Targets and masks


def test_targets_are_matched_by_name(tmp_path):
    xs, y = arrays(16), np.random.default_rng(0).normal(size=(16, 3))
    frame, other = pandas_frame(y), shuffled(pandas_frame, y)
    regressor = RNNRegressor(**SMALL).fit(xs, frame)
    wanted = RNNRegressor(**SMALL).fit(xs, y)
    regressor.save(tmp_path / "regressor")
    for one in regressor, load(tmp_path / "regressor"):
        np.testing.assert_array_equal(one.predict(xs), wanted.predict(xs))
        assert one.score(xs, other) == one.score(xs, frame) == wanted.score(xs, y)
        with pytest.raises(ValueError, match="y: expected the columns"):
            one.score(xs, bent(pandas_frame, y))
    again = RNNRegressor(**SMALL).fit(xs, frame).partial_fit(xs, other)
    np.testing.assert_array_equal(again.predict(xs), RNNRegressor(**SMALL).fit(xs, y).partial_fit(xs, y).predict(xs))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_masked_arrays_are_refused(name):
    cls, targets, method = ESTIMATORS[name]
    xs = [steps(20 + k, k) for k in range(4)]
    y = targets(xs)

    def mask(x):
        return np.ma.masked_array(x, np.arange(np.size(x)).reshape(np.shape(x)) == 0)

    fitted = cls(**SMALL).fit(xs, y)
    calls = [lambda: cls(**SMALL).fit([mask(x) for x in xs], y),
             lambda: cls(**SMALL).fit(mask(np.stack([xs[0]] * 4)), y),
             lambda: outputs(fitted, method, [mask(xs[0])]), lambda: outputs(fitted, method, mask(xs[0][None])),
             lambda: cls(**SMALL).fit([xs[0], mask(xs[1]), *xs[2:]], y)]
    if y is None:
        calls += [lambda: cls(**SMALL).fit(mask(xs[0])), lambda: outputs(fitted, method, mask(xs[0]))]
        calls += [lambda: fitted.update(mask(xs[0][0]))] if name == "detector" else [lambda: fitted.score(mask(xs[0]))]
    else:
        masked = [mask(a) for a in y] if name == "tagger" else mask(y)
        calls += [lambda: cls(**SMALL).fit(xs, masked), lambda: fitted.score(xs, masked),
                  lambda: cls(**SMALL).fit(xs, y, sample_weight=mask(np.ones(4))),
                  lambda: fitted.score(xs, y, mask(np.ones(4)))]
    if name in ("classifier", "regressor"):
        calls += [lambda: cls(**SMALL).fit(mask(xs[0]), np.arange(20) % 2)]
    for call in calls:
        with pytest.raises(TypeError, match="expected an array without a mask, found a masked array"):
            call()
