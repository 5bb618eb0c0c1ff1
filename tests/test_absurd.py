"""Absurd numbers and things that are no arrays: an error that names the argument, or the right result; never NaN."""

import numpy as np
import pytest

import fastrnn
from fastrnn import GRU, SGD, Adagrad, Adam, AdamW, Embedding, Linear, RMSprop, losses
from fastrnn.decoding.sampling import penalise
from fastrnn.windows import forecast_windows, windows

HUGE = 10**400          # no float holds it
LONG = 10**5000         # nor does Python write it out


@pytest.mark.parametrize("value", [HUGE, -HUGE, LONG, float("inf"), float("nan")], ids=["+", "-", "long", "inf", "nan"])
@pytest.mark.parametrize("make", [lambda v: Adam(v), lambda v: SGD(0.1, weight_decay=v),
                                  lambda v: fastrnn.clip_grad_norm([np.ones(2)], v),
                                  lambda v: GRU(2, 3, dropout=v), lambda v: fastrnn.LayerNorm(3, eps=v)])
def test_numbers_that_no_float_holds(make, value):
    with pytest.raises(ValueError, match=r"^\w+: expected a"):
        make(value)


@pytest.mark.parametrize("value", [HUGE, -HUGE, LONG, -LONG], ids=["+", "-", "+long", "-long"])
def test_ints_beyond_all_sizes(value):
    for make in (lambda: GRU(value, 3), lambda: Embedding(3, value), lambda: fastrnn.set_num_threads(value),
                 lambda: windows(np.ones(3), value)):
        with pytest.raises(ValueError, match=r"^\w+: expected an int of at"):
            make()


OPTIMIZERS = [lambda lr: Adam(lr), lambda lr: Adam(lr, eps=1e-300), lambda lr: Adam(lr, weight_decay=1e300),
              lambda lr: AdamW(lr, weight_decay=1e10), lambda lr: SGD(lr), lambda lr: SGD(lr, momentum=0.9),
              lambda lr: SGD(lr, 0.9, True, 1e200), lambda lr: RMSprop(lr, eps=1e-200, centered=True, momentum=0.5),
              lambda lr: Adagrad(lr, eps=1e-100)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("lr", [1e-3, 1e38, 1e300])
@pytest.mark.parametrize("make", OPTIMIZERS)
def test_zero_gradients_move_nothing_at_any_rate(make, lr, dtype):
    optimizer = make(lr)
    params, grads = {"p": np.zeros(5, dtype)}, {"p": np.zeros(5, dtype)}
    for _ in range(3):
        optimizer.step(params, grads)
    np.testing.assert_array_equal(params["p"], 0)


def test_penalties_and_windows():
    logits, seen = np.array([[1.0, -1.0]]), np.array([[True, True]])
    np.testing.assert_array_equal(penalise(logits, seen, 2), [[0.5, -2]])
    for penalty in (0, -1, float("nan"), HUGE):
        with pytest.raises(ValueError, match="penalty"):
            penalise(logits, seen, penalty)
    np.testing.assert_array_equal(windows([1, 2, 3], 2), [[1, 2], [2, 3]])
    for series in ("x", 3.0, None, {"a": 1}, ["a", "b"], np.ones(3, complex)):
        with pytest.raises((TypeError, ValueError), match="series"):
            windows(series, 2)
    for length in (0, -1, 1.5, "x"):
        with pytest.raises((TypeError, ValueError), match="length"):
            windows(np.ones(5), length)
    with pytest.raises((TypeError, ValueError), match="series"):
        forecast_windows("x", 2)


MASKED = np.ma.masked_array(np.ones((4, 2), "f"), [[0, 1]] * 4)


@pytest.mark.parametrize("call", [
    lambda: GRU(2, 3)(MASKED), lambda: GRU(2, 3).stream().step(MASKED[0]), lambda: Linear(2, 1)(MASKED),
    lambda: losses.mse(MASKED, np.ones((4, 2), "f")), lambda: losses.mse(np.ones((4, 2), "f"), MASKED),
    lambda: Embedding(3, 2)(np.ma.masked_array([0, 1], [0, 1])), lambda: windows(MASKED, 2),
    lambda: GRU(2, 3)([MASKED, MASKED]),
    lambda: GRU(2, 3)(np.ones((4, 1, 2)), np.ma.masked_array(np.ones((1, 1, 3))))])
def test_masked_arrays_are_refused(call):
    with pytest.raises(TypeError, match="mask"):
        call()
