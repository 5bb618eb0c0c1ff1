"""Updates made of several batches: the gradient is that of one batch as large."""

import numpy as np
import pytest
from tolerances import tolerance

from fastrnn import GRU, LSTM, SGD, ActivationRegularization, LaneStream, LastStep, Linear, Sequential, Trainer

RNG = np.random.default_rng(0)
LENGTHS = RNG.integers(1, 12, 26)
X = [RNG.normal(size=(n, 3)) for n in LENGTHS]
STEPS = [RNG.integers(0, 4, n) for n in LENGTHS]
CLASSES = RNG.integers(0, 4, len(X))
DOUBLE = {"dtype": "float64"}


def tagger():
    return Sequential(
        LSTM(3, 5, seed=1, **DOUBLE),
        ActivationRegularization(ar=0.3, tar=0.2),
        Linear(5, 4, seed=2, **DOUBLE),
    )


def classifier():
    return Sequential(
        GRU(3, 5, seed=1, **DOUBLE),
        ActivationRegularization(ar=0.3, tar=0.2),
        LastStep(),
        Linear(5, 4, seed=2, **DOUBLE),
    )


@pytest.mark.parametrize("weights", [None, {0: 3.0, 2: 0.0}])
@pytest.mark.parametrize("bucket", [True, False])
@pytest.mark.parametrize(
    "make, y, tbptt", [(classifier, CLASSES, None), *((tagger, STEPS, tbptt) for tbptt in (None, 3, (2, 5)))]
)
def test_parts_make_the_large_batchs_update(make, y, tbptt, bucket, weights):
    results = []
    for batch_size, accumulate in ((12, 1), (4, 3), (3, 4)):
        model = make()
        trainer = Trainer(
            model,
            optimizer=SGD(0.2, momentum=0.5),
            tbptt=tbptt,
            accumulate=accumulate,
            clip_norm=0.5,
            l2=1e-3,
            seed=0,
            metrics=("accuracy",),
        )
        history = trainer.fit(
            X, y, epochs=2, batch_size=batch_size, class_weight=weights, bucket_by_length=bucket, progress=False
        )
        results.append((model, history, trainer.step))
    expected, figures, steps = results[0]
    limit = tolerance("ten updates, float64")
    for model, history, made in results[1:]:
        assert made == steps
        for name, value in expected.params.items():
            np.testing.assert_allclose(model.params[name], value, rtol=0, atol=limit, err_msg=name)
        for name in ("loss", "accuracy", "penalty", "grad_norm"):
            assert history[name] == pytest.approx(figures[name], rel=1e-9), name


def test_a_part_without_weight_is_left_out():
    weight = np.ones(26)
    weight[:13] = 0
    models = []
    for batch_size, accumulate in ((26, 1), (1, 26)):
        model = tagger()
        trainer = Trainer(model, optimizer=SGD(0.2), accumulate=accumulate, seed=0)
        trainer.fit(X, STEPS, batch_size=batch_size, sample_weight=weight, progress=False)
        models.append(model)
    for name, value in models[0].params.items():
        np.testing.assert_allclose(models[1].params[name], value, rtol=0, atol=tolerance("ten updates, float64"))


def test_bad_counts_are_named():
    with pytest.raises(ValueError, match="accumulate: expected an int of at least 1, found 0"):
        Trainer(tagger(), accumulate=0)
    stream = LaneStream(X[0], 1, 2, STEPS[0])
    with pytest.raises(ValueError, match=r"accumulate: expected 1 with a LaneStream, .* found 2"):
        Trainer(tagger(), accumulate=2).fit(stream, progress=False)
