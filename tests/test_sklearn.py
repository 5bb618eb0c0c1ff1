"""Estimators of scikit-learn's kind: classifier, regressor, tagger."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sklearn.utils.estimator_checks
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastrnn
from fastrnn.sklearn import RNNClassifier, RNNRegressor, RNNTagger, load

UCR = Path(__file__).parents[2] / "shared" / "data" / "ucr"
SMALL = {"hidden_size": 12, "epochs": 40, "random_state": 0}


@parametrize_with_checks([estimator(hidden_size=32, epochs=60) for estimator in (RNNClassifier, RNNRegressor)])
def test_estimator_checks_of_scikit_learn(estimator, check):
    check(estimator)


def ragged(n=60, features=2, seed=0):
    """Sequences whose class is that of the feature with the larger mean, and that difference."""
    rng = np.random.default_rng(seed)
    X = [rng.normal(size=(rng.integers(3, 12), features)) + rng.normal(size=features) for _ in range(n)]
    gap = np.array([x[:, 0].mean() - x[:, 1].mean() for x in X])
    return X, np.where(gap > 0, "first", "second"), gap


def tags(n=40, seed=0):
    """Ragged walks, whose steps are tagged by the sign of their sum so far."""
    rng = np.random.default_rng(seed)
    X = [rng.choice([-1.0, 1.0], size=(rng.integers(5, 15), 1)) for _ in range(n)]
    return X, [np.where(x[:, 0].cumsum() > 0, "up", "down") for x in X]


def test_ragged_sequences_are_learnt():
    X, y, gap = ragged(120)
    Xt, yt, gapt = ragged(100, seed=1)
    classifier = RNNClassifier(**SMALL).fit(X, y)
    assert classifier.score(Xt, yt) > 0.85
    assert classifier.classes_.tolist() == ["first", "second"]
    assert classifier.n_features_in_ == 2
    assert classifier.n_iter_ == 40 == len(classifier.loss_curve_)
    np.testing.assert_allclose(classifier.predict_proba(Xt).sum(axis=1), 1)
    np.testing.assert_allclose(np.exp(classifier.predict_log_proba(Xt)), classifier.predict_proba(Xt))
    assert RNNRegressor(**SMALL).fit(X, 1000 + gap).score(Xt, 1000 + gapt) > 0.85


def test_a_sequence_has_the_same_prediction_alone():
    X, y, _ = ragged()
    classifier = RNNClassifier(**SMALL, frame_size=2).fit(X, y)
    together = classifier.predict_proba(X)
    assert np.array_equal(together, np.concatenate([classifier.predict_proba([x]) for x in X]))


def test_one_feature_per_step_in_every_form():
    X = np.random.default_rng(0).normal(size=(30, 6))
    y = X[:, -1] > 0
    forms = [X, X[:, :, None], list(X), [x[:, None] for x in X]]
    fits = [RNNClassifier(**SMALL).fit(form, y) for form in forms]
    assert [fit.n_features_in_ for fit in fits] == [6, 1, 1, 1]
    first = fits[0].predict_proba(X)
    for fit in fits:
        for form in forms:
            assert np.array_equal(fit.predict_proba(form), first)
    with pytest.raises(ValueError, match="5 features, but RNNClassifier is expecting 6"):
        fits[0].predict(X[:, :5])
    assert len(fits[1].predict(X[:, :5])) == 30


def test_a_weight_is_a_number_of_repetitions():
    X, y, _ = ragged(20)
    weight = np.arange(20) % 3
    repeated = [x for x, w in zip(X, weight) for _ in range(w)]
    for estimator, target in ((RNNClassifier(**SMALL), y), (RNNRegressor(**SMALL), np.arange(20.0))):
        weighted = clone(estimator).fit(X, target, sample_weight=weight)
        other = clone(estimator).fit(repeated, np.repeat(target, weight))
        assert np.array_equal(weighted._raw(X), other._raw(X))


@pytest.mark.parametrize("estimator", [RNNClassifier, RNNRegressor])
def test_weights_are_repetitions_where_nothing_is_drawn(estimator):
    """scikit-learn's own check, and weights that are no whole numbers, to rounding: full batches, no dropout."""
    checks = sklearn.utils.estimator_checks
    exact = estimator(hidden_size=8, epochs=30, batch_size=1000, dropout=0.0, dtype="float64", random_state=0)
    check = getattr(checks, "check_sample_weight_equivalence_on_dense_data", None) or getattr(
        checks, "check_sample_weight_equivalence", None)
    if check is not None:
        check(estimator.__name__, exact)
    X, y, gap = ragged(30)
    target = y if estimator is RNNClassifier else gap
    copies = np.arange(30) % 4
    weighted = clone(exact).fit(X, target, sample_weight=0.3 * copies)
    repeated = clone(exact).fit([x for x, w in zip(X, copies) for _ in range(w)], np.repeat(target, copies))
    np.testing.assert_allclose(weighted._raw(X), repeated._raw(X), rtol=1e-6, atol=1e-8)
    plain = clone(exact).fit(X, target)
    assert np.abs(weighted._raw(X) - plain._raw(X)).max() > 1e-3


def test_repeated_samples_count_as_often_as_they_are_there():
    X, y = np.r_[np.zeros((90, 1)), np.arange(1, 11)[:, None] * 1e-9], np.r_[np.zeros(90, int), np.ones(10, int)]
    small = {"hidden_size": 1, "epochs": 40, "batch_size": 8, "dropout": 0.0, "standardize": False, "random_state": 0}
    fits = [RNNClassifier(**small).fit(X, y)]
    order = np.random.default_rng(0).permutation(100)
    fits.append(RNNClassifier(**small).fit(X[order], y[order]))
    assert np.array_equal(fits[0].predict_proba(X), fits[1].predict_proba(X))
    heavy = {**small, "epochs": 400, "clip_norm": None}
    fits.append(RNNClassifier(**heavy).fit(X[89:], y[89:], sample_weight=[90.0] + [1] * 10))
    fits.append(RNNClassifier(**{**heavy, "clip_norm": 1.0}).fit(X[89:], y[89:], sample_weight=[90.0] + [1] * 10))
    for fit in fits:
        assert 0.05 < fit.predict_proba([[0.0]])[0, 1] < 0.2
    assert RNNRegressor(**small).fit(X, y).predict([[0.0]]) == pytest.approx(0.1, abs=0.05)


def test_balanced_counts_weights_and_repetitions():
    one = {"hidden_size": 1, "epochs": 1, "class_weight": "balanced"}
    X, y = [[0.0]] * 9 + [[1.0]], ["a"] * 9 + ["b"]
    for fit in (
        RNNClassifier(**one).fit(X, y),
        RNNClassifier(**one).fit(X[8:], y[8:], sample_weight=[4.5, 0.5]),
        RNNClassifier(**one).fit([[0.0], *X], ["c", *y], sample_weight=[0, *[1] * 10]),
    ):
        np.testing.assert_allclose(fit._class_weight, [5 / 9, 5])
    tagger = RNNTagger(**one).fit([[0.0, 1, 2], [0.0]], [["a", "a", "b"], ["b"]], sample_weight=[1, 0.5])
    np.testing.assert_allclose(tagger._class_weight, [3.5 / 4, 3.5 / 3])


@pytest.mark.parametrize("estimator", [RNNClassifier, RNNTagger])
def test_class_weights_that_say_nothing_are_errors(estimator):
    X, y = np.arange(12.0).reshape(6, 2), np.array([["a", "b"]] * 6)
    y = y if estimator is RNNTagger else y[:, 0].copy()
    if estimator is RNNClassifier:
        y[3:] = "b"
    wrong = [
        ({"c": 2.0}, ValueError, "class_weight: expected labels that occur in y, among .* found 'c'"),
        ({"a": 1.0, "b": 3.0, "c": 2.0}, ValueError, "class_weight: expected labels that occur in y"),
        ({"a": -1.0}, ValueError, r"class_weight\['a'\]: expected a finite number at least 0"),
        ({"a": 0.0, "b": 0.0}, ValueError, "expected an element with a weight above 0, found all zero"),
        ("even", ValueError, "class_weight: expected one of 'balanced'; found 'even'"),
        ([1.0, 2.0], TypeError, "class_weight: expected a dict of label -> weight, 'balanced' or None, found list"),
    ]
    for class_weight, kind, message in wrong:
        with pytest.raises(kind, match=message):
            estimator(hidden_size=2, epochs=1, class_weight=class_weight).fit(X, y)
    with pytest.raises(ValueError, match="sample_weight: expected at least one weight above 0, found all zero"):
        estimator(hidden_size=2, epochs=1).fit(X, y, sample_weight=np.zeros(6))


def test_partial_fit_weighs_within_its_call_unless_told_otherwise():
    X, _, gap = ragged(24)
    labels = np.where(gap > 0, "first", "second")
    weight = np.where(np.arange(24) < 12, 0.5, 5.5)
    for estimator, y, first in (
        (RNNClassifier, labels, {"classes": ["first", "second"]}),
        (RNNRegressor, gap, {}),
        (RNNTagger, [np.repeat(label, len(x)) for x, label in zip(X, labels)], {"classes": ["first", "second"]}),
    ):
        base = estimator(hidden_size=4, dropout=0.0, standardize=False, random_state=0, dtype="float64", batch_size=50,
                         weight_decay=0.0, clip_norm=None)

        def moved(part, base=base, y=y, first=first, **given):
            fit = clone(base)
            fit._optimizer = None
            fit.partial_fit(X, y, **first)
            before = fit.network_.state_dict()
            fit._optimizer = fastrnn.SGD(0.1)
            fit.partial_fit(X[part], y[part], **given)
            return np.concatenate([(fit.network_.params[name] - p).ravel() for name, p in before.items()])

        light, heavy = slice(0, 12), slice(12, 24)
        plain = moved(light), moved(heavy)
        for part, of_call, expected in ((light, 0.5, plain[0]), (heavy, 5.5, plain[1])):
            # Equal within the call: as none. With the mean of all, 3: in proportion to it
            assert np.array_equal(moved(part, sample_weight=weight[part]), expected)
            scaled = moved(part, sample_weight=weight[part], mean_weight=3.0)
            np.testing.assert_allclose(scaled, expected * of_call / 3, rtol=1e-9, atol=1e-12)
        with pytest.raises(ValueError, match="mean_weight: expected a finite number above 0"):
            clone(base).partial_fit(X, y, mean_weight=-1, **first)


def test_class_weights_move_the_decision():
    rng = np.random.default_rng(0)
    y = np.arange(200) % 10 == 0
    X = rng.normal(size=(200, 4)) + 0.8 * y[:, None]
    plain = RNNClassifier(**SMALL, batch_size=64).fit(X, y).predict(X)
    for class_weight in ("balanced", {True: 9.0, False: 1.0}):
        weighted = RNNClassifier(**SMALL, batch_size=64, class_weight=class_weight).fit(X, y).predict(X)
        assert weighted.sum() > plain.sum() + 10


def test_early_stopping_ends_and_keeps_the_best():
    X, _, _ = ragged(60)
    y = np.random.default_rng(0).permutation(np.arange(60) % 2)  # nothing to learn
    classifier = RNNClassifier(
        hidden_size=12, epochs=200, early_stopping=True, validation_fraction=0.3, n_iter_no_change=4, random_state=0
    ).fit(X, y)
    validation = classifier.history_["val_loss"]
    assert classifier.n_iter_ == int(np.argmin(validation)) + 5 < 200


def test_partial_fit_goes_on():
    X, y, gap = ragged(100)
    classifier, regressor = RNNClassifier(hidden_size=12, random_state=0), RNNRegressor(hidden_size=12, random_state=0)
    with pytest.raises(ValueError, match="classes: expected all labels"):
        classifier.partial_fit(X, y)
    for _ in range(20):
        classifier.partial_fit(X, y, classes=["first", "second", "third"])
        regressor.partial_fit(X, gap)
    assert classifier.predict_proba(X).shape == (100, 3)
    assert classifier.score(X, y) > 0.9
    assert regressor.score(X, gap) > 0.8
    assert classifier.n_iter_ == 20
    with pytest.raises(ValueError, match="expected classes among"):
        classifier.partial_fit(X[:1], ["fourth"])
    with pytest.raises(ValueError, match="expected weights or None with partial_fit"):
        RNNClassifier(class_weight="balanced").partial_fit(X, y, classes=["first", "second"])


def test_warm_start_goes_on_from_the_fit_before():
    X, y, _ = ragged()
    warm = RNNClassifier(**SMALL, warm_start=True).fit(X, y)
    network, last = warm.network_, warm.loss_curve_[-1]
    warm.fit(X, y)
    assert warm.network_ is network
    assert warm.loss_curve_[0] < 2 * last
    cold = RNNClassifier(**SMALL).fit(X, y)
    assert cold.loss_curve_[0] > 2 * last


def test_searches_pipelines_and_two_processes():
    X, y, gap = ragged(40)
    tiny = {"hidden_size": 4, "epochs": 10, "random_state": 0}
    search = GridSearchCV(RNNClassifier(**tiny), {"cell": ["gru", "rnn"], "pooling": ["last", "mean"]}, cv=2, n_jobs=2)
    search.fit(X, y)
    assert search.best_estimator_.predict(X).shape == (40,)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    doubled = make_pipeline(FunctionTransformer(lambda X: [2 * x for x in X]), RNNRegressor(**tiny))
    assert doubled.fit(X, gap).predict(X).shape == (40,)
    scores = cross_val_score(RNNRegressor(**tiny), X, gap, cv=2, n_jobs=2)
    assert np.array_equal(scores, cross_val_score(RNNRegressor(**tiny), X, gap, cv=2))
    X, y = tags(20)
    assert np.isfinite(cross_val_score(RNNTagger(**tiny), X, y, cv=2, n_jobs=2)).all()


def fitted():
    X, y, gap = ragged(20)
    yield RNNClassifier(**SMALL, class_weight={"first": 2.0}).fit(X, y), X
    yield RNNRegressor(**SMALL).fit(X, np.stack([gap, -gap], axis=1)), X
    X, y = tags(10)
    yield RNNTagger(**SMALL).fit(X, y), X


def test_copies_and_files_predict_the_same_bits(tmp_path):
    for estimator, X in fitted():
        path = tmp_path / "estimator.safetensors"
        estimator.save(path)
        for other in (pickle.loads(pickle.dumps(estimator)), load(path)):
            assert other.get_params() == estimator.get_params()
            assert other.loss_curve_ == estimator.loss_curve_
            for a, b in zip(other.predict(X), estimator.predict(X)):
                assert np.array_equal(a, b)
        with pytest.raises(NotFittedError):
            clone(estimator).predict(X)
        with pytest.raises(NotFittedError):
            clone(estimator).save(path)


def test_other_files_are_refused(tmp_path):
    fastrnn.save(fastrnn.GRU(1, 2), tmp_path / "model")
    with pytest.raises(ValueError, match="found a fastrnn model"):
        load(tmp_path / "model")


def test_several_targets():
    X, _, gap = ragged(100)
    regressor = RNNRegressor(**SMALL, loss="huber").fit(X, np.stack([gap, 5 - 100 * gap], axis=1))
    predicted = regressor.predict(X)
    assert predicted.shape == (100, 2)
    assert np.corrcoef(predicted[:, 0], gap)[0, 1] > 0.9
    assert np.corrcoef(predicted[:, 1], gap)[0, 1] < -0.9


def test_every_step_is_tagged():
    X, y = tags(80)
    Xt, yt = tags(40, seed=1)
    tagger = RNNTagger(hidden_size=12, epochs=60, bidirectional=False, random_state=0).fit(X, y)
    assert tagger.score(Xt, yt) > 0.95
    assert [len(a) for a in tagger.predict(Xt)] == [len(x) for x in Xt]
    assert tagger.predict_proba(Xt)[0].shape == (len(Xt[0]), 2)
    table = np.random.default_rng(0).choice([-1.0, 1.0], size=(50, 8))
    tagger.fit(table, table > 0)
    assert tagger.predict(table).shape == (50, 8)
    assert tagger.score(table, table > 0) == 1
    with pytest.raises(ValueError, match=r"y\[0\]: expected 8 labels, one for each step"):
        tagger.fit(table, table[:, :7] > 0)
    with pytest.raises(ValueError, match="continuous"):
        tagger.fit(table, table + 0.5)
    assert tagger.score(table, table > 0) == 1


def test_long_sequences_are_framed():
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(n, 2)) for n in (300, 330, 310, 290)]
    classifier = RNNClassifier(**SMALL).fit(X, [0, 1, 0, 1])
    assert classifier.frame_size_ == 10
    assert classifier.network_.modules[0].input_size == 20
    assert classifier.predict([X[0][:5]]).shape == (1,)
    assert RNNClassifier(**SMALL, frame_size=3).fit(X, [0, 1, 0, 1]).network_.modules[0].input_size == 6


@pytest.mark.parametrize(
    "X, message",
    [
        ([np.ones((3, 2)), np.ones((3, 3))], r"X\[1\]: expected 2 features per step as in X\[0\], found 3"),
        ([np.ones((3, 2)), np.ones((0, 2))], r"X\[1\]: expected shape .* at least one step, found \(0, 2\)"),
        ([np.ones((3, 2)), np.full((3, 2), np.nan)], r"X\[1\]: expected finite numbers, found nan at \[0, 0\]"),
        (np.ones((2, 3, 2, 2)), "Found array with dim 4"),
        (np.ones((2, 0, 2)), "expected at least one step"),
        ([np.ones(3), np.ones(3) + 1j], r"X\[1\]: expected numbers, found dtype complex128"),
    ],
)
def test_wrong_sequences(X, message):
    with pytest.raises((ValueError, TypeError), match=message):
        RNNClassifier(**SMALL).fit(X, [0, 1])


@pytest.mark.parametrize(
    "parameter, value",
    [("cell", "transformer"), ("hidden_size", 0), ("pooling", "max"), ("epochs", "many"), ("dropout", 1.0),
     ("frame_size", 0), ("standardize", 1), ("dtype", "float16"), ("batch_size", 2.5), ("clip_norm", -1.0)],
)
def test_wrong_parameters(parameter, value):
    with pytest.raises((ValueError, TypeError), match=f"{parameter}: expected"):
        RNNClassifier(**{parameter: value}).fit([[0.0, 1.0], [1.0, 0.0]], [0, 1])


def test_other_features_than_fitted():
    X, y, _ = ragged(10)
    classifier = RNNClassifier(**SMALL).fit(X, y)
    with pytest.raises(ValueError, match="X: expected 2 features per step as in fit, found 1"):
        classifier.predict([x[:, :1] for x in X])
    with pytest.raises(ValueError, match="X: expected 2 features per step as in fit, found 1"):
        classifier.predict(np.ones((3, 4)))


def test_scale_does_not_matter():
    X, y, _ = ragged(30)
    far = [1e6 + 1e3 * x for x in X]
    near, moved = RNNClassifier(**SMALL).fit(X, y), RNNClassifier(**SMALL).fit(far, y)
    assert moved.score(far, y) > 0.9
    assert near.score(X, y) > 0.9


def read_ucr(name, part):
    X, y, data = [], [], False
    for line in (UCR / name / f"{name}_{part}.ts").read_text(encoding="latin-1").splitlines():
        if data and line.strip():
            *channels, label = line.strip().split(":")
            X.append(np.array([channel.split(",") for channel in channels], float).T)
            y.append(label)
        data = data or line.strip().lower() == "@data"
    return X, np.array(y)


@pytest.mark.skipif(not UCR.exists(), reason="needs the data folder")
def test_japanese_vowels():
    X, y = read_ucr("JapaneseVowels", "TRAIN")
    assert RNNClassifier(random_state=0).fit(X, y).score(*read_ucr("JapaneseVowels", "TEST")) >= 0.96


def test_without_scikit_learn_one_line_says_what_to_install():
    code = "import sys; sys.modules['sklearn'] = None; import fastrnn.sklearn"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert last == 'ImportError: fastrnn.sklearn needs scikit-learn: pip install "fastrnn[sklearn]"'
