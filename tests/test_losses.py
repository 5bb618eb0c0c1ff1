"""Every loss against its formula written out in NumPy, its gradient against finite differences, and torch."""

import math

import numpy as np
import pytest
from gradcheck import check_gradients
from tolerances import relative_error, tolerance

from fastrnn import losses

B, T, K, D = 3, 4, 5, 2
RNG = np.random.default_rng(3)
LENGTHS = [4, 0, 2]
MASK = RNG.random((B, T)) < 0.6
BY_SEQUENCE = np.array([0.5, 2.0, 0.0])
BY_STEP = RNG.random((B, T)) + 0.1
CLASS_WEIGHT = np.array([0.5, 1.0, 2.0, 0.0, 1.5])

# name -> (what the loss is called with, weight of each step, written out)
WEIGHTINGS = {
    "plain": ({}, np.ones((B, T))),
    "lengths": ({"lengths": LENGTHS}, (np.arange(T) < np.array(LENGTHS)[:, None]).astype(float)),
    "mask": ({"mask": MASK}, MASK.astype(float)),
    "by sequence": ({"sample_weight": BY_SEQUENCE}, np.repeat(BY_SEQUENCE[:, None], T, 1)),
    "by step": ({"sample_weight": BY_STEP}, BY_STEP),
    "all": (
        {"lengths": LENGTHS, "mask": MASK, "sample_weight": BY_STEP},
        (np.arange(T) < np.array(LENGTHS)[:, None]) * MASK * BY_STEP,
    ),
}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def pinball(x, t, quantiles):
    e = t[..., None] - x
    return np.maximum(quantiles * e, (quantiles - 1) * e)


def normal_nll(x, t, scale):
    mean, raw = x[..., :D], x[..., D:]
    s = np.exp(raw / 2) if scale == "log_variance" else np.log1p(np.exp(raw)) + 0.01
    return -np.log(np.exp(-((t - mean) ** 2) / (2 * s**2)) / (s * math.sqrt(2 * math.pi)))


# name -> (function, its keywords, width of the prediction, targets, loss of each element)
REAL = RNG.normal(size=(B, T, D)) * 1.5
UNIT = RNG.random((B, T, D))
SCALAR = REAL[..., 0]
ELEMENTWISE = {
    "mse": (losses.mse, {}, D, REAL, lambda x, t: (x - t) ** 2),
    "mae": (losses.mae, {}, D, REAL, lambda x, t: np.abs(x - t)),
    "huber": (
        losses.huber,
        {"delta": 0.7},
        D,
        REAL,
        lambda x, t: np.where(np.abs(x - t) < 0.7, (x - t) ** 2 / 2, 0.7 * (np.abs(x - t) - 0.35)),
    ),
    "binary": (
        losses.binary_cross_entropy,
        {"pos_weight": 2.5},
        D,
        UNIT,
        lambda x, t: -2.5 * t * np.log(sigmoid(x)) - (1 - t) * np.log(1 - sigmoid(x)),
    ),
    "quantile": (losses.quantile, {}, 3, SCALAR, lambda x, t: pinball(x, t, np.array([0.1, 0.5, 0.9]))),
    "one quantile": (
        losses.quantile,
        {"quantiles": [0.3]},
        1,
        SCALAR,
        lambda x, t: pinball(x, t, np.array([0.3])),
    ),
    "normal": (losses.gaussian_nll, {}, 2 * D, REAL, lambda x, t: normal_nll(x, t, "log_variance")),
    "normal, softplus": (
        losses.gaussian_nll,
        {"scale": "softplus", "min_scale": 0.01},
        2 * D,
        REAL,
        lambda x, t: normal_nll(x, t, "softplus"),
    ),
}


def weighted(elements, weight, reduction):
    """Sum of weight times loss over the elements (B, T, ...), divided by the sum of weights for the mean."""
    weight = np.broadcast_to(
        weight.reshape(weight.shape + (1,) * (elements.ndim - weight.ndim)), elements.shape
    )
    total = sum(w * e for w, e in zip(weight.flat, elements.flat) if w)
    return total / divisor(weight, reduction)


def divisor(weight, reduction):
    """Of the sum, where `weight` is that of each element (B, T, ...)."""
    if reduction == "batchmean":
        counted = [[w for w in sequence.flat if w] for sequence in weight]
        return sum(sum(ws) / len(ws) for ws in counted if ws)
    return weight.sum() if reduction == "mean" else 1


def check(call, x, expected):
    """`call(x)` gives the loss `expected` and a gradient that finite differences confirm."""
    loss, gradient = call(x)
    assert isinstance(loss, float)
    assert gradient.shape == x.shape and gradient.dtype == x.dtype
    assert loss == pytest.approx(expected, rel=tolerance("losses, float64"))
    check_gradients(lambda: call(x)[0], {"prediction": x}, {"prediction": gradient})


@pytest.mark.parametrize("reduction", ["mean", "sum", "batchmean"])
@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise(name, weighting, reduction):
    function, keywords, width, target, formula = ELEMENTWISE[name]
    given, weight = WEIGHTINGS[weighting]
    x = np.random.default_rng(5).normal(size=(B, T, width))
    expected = weighted(formula(x, target), weight, reduction)
    check(lambda x: function(x, target, reduction=reduction, **keywords, **given), x, expected)


def cross_entropy_elements(x, target, class_weight=None, smoothing=0.0):
    """Loss of each step and its count in the divisor, as torch.nn.CrossEntropyLoss defines them."""
    c = np.ones(K) if class_weight is None else class_weight
    loss, count = np.zeros(target.shape), np.zeros(target.shape)
    for at in np.ndindex(target.shape):
        nll = -np.log(np.exp(x[at]) / np.exp(x[at]).sum())
        t = target[at]
        loss[at] = (1 - smoothing) * c[t] * nll[t] + smoothing / K * (c * nll).sum()
        count[at] = c[t]
    return loss, count


CLASSES = RNG.integers(0, K, (B, T))


@pytest.mark.parametrize("reduction", ["mean", "sum", "batchmean"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"label_smoothing": 0.2},
        {"class_weight": CLASS_WEIGHT},
        {"label_smoothing": 0.2, "class_weight": CLASS_WEIGHT},
    ],
)
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_cross_entropy(weighting, options, reduction):
    given, weight = WEIGHTINGS[weighting]
    x = np.random.default_rng(6).normal(size=(B, T, K)) * 2
    loss, count = cross_entropy_elements(
        x, CLASSES, options.get("class_weight"), options.get("label_smoothing", 0)
    )
    expected = (weight * loss).sum() / divisor(weight * count, reduction)
    check(lambda x: losses.cross_entropy(x, CLASSES, reduction=reduction, **options, **given), x, expected)


def test_batchmean_is_summed_over_steps_and_averaged_over_sequences():
    """As Zaremba et al. (2014) write it, and torch's "batchmean" of the elements."""
    x = np.random.default_rng(6).normal(size=(B, T, K))
    loss, _ = cross_entropy_elements(x, CLASSES)
    found = losses.cross_entropy(x, CLASSES, reduction="batchmean")[0]
    assert found == pytest.approx(loss.sum(1).mean(), rel=1e-12)
    # a row of padding more changes nothing, and neither does a unit of the weights
    more, classes = np.concatenate([x, x[:1]]), np.concatenate([CLASSES, CLASSES[:1]])
    lengths = [*[T] * B, 0]
    assert losses.cross_entropy(more, classes, lengths=lengths, reduction="batchmean")[0] == pytest.approx(found)
    by_seven = np.full((B, T), 7.0)
    assert losses.cross_entropy(x, CLASSES, sample_weight=by_seven, reduction="batchmean")[0] == pytest.approx(found)


@pytest.mark.parametrize("reduction", losses.REDUCTIONS)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 2)])
def test_cross_entropy_takes_any_leading_shape(shape, reduction):
    x = np.random.default_rng(6).normal(size=(*shape, K))
    target = np.random.default_rng(7).integers(0, K, shape)
    loss, _ = cross_entropy_elements(x, target)
    total = {"mean": loss.size, "sum": 1, "batchmean": len(loss) if shape else 1}[reduction]
    check(lambda x: losses.cross_entropy(x, target, reduction=reduction), x, loss.sum() / total)
    weight = np.full(shape, 2.0) if shape else None
    expected = loss.sum() / total * (2 if shape and reduction == "sum" else 1)
    options = {"sample_weight": weight, "reduction": reduction}
    check(lambda x: losses.cross_entropy(x, target, **options), x, expected)


@pytest.mark.parametrize("name", ["cross_entropy", *ELEMENTWISE])
@pytest.mark.parametrize("reduction", ["mean", "batchmean"])
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_time_major_is_the_same(name, weighting, reduction):
    given, _ = WEIGHTINGS[weighting]
    function, keywords, width, target, _ = ELEMENTWISE.get(name, (losses.cross_entropy, {}, K, CLASSES, None))
    x = np.random.default_rng(8).normal(size=(B, T, width))
    given = {**given, "reduction": reduction}
    loss, gradient = function(x, target, **keywords, **given)
    turned = {key: np.swapaxes(value, 0, 1) if np.ndim(value) == 2 else value for key, value in given.items()}
    loss_t, gradient_t = function(
        x.swapaxes(0, 1), target.swapaxes(0, 1), batch_first=False, **keywords, **turned
    )
    assert loss_t == pytest.approx(loss, rel=tolerance("losses, float64"))
    np.testing.assert_allclose(gradient_t.swapaxes(0, 1), gradient, rtol=1e-14)


@pytest.mark.parametrize("name", ["cross_entropy", *ELEMENTWISE])
def test_what_padding_holds_does_not_matter(name):
    function, keywords, width, target, _ = ELEMENTWISE.get(name, (losses.cross_entropy, {}, K, CLASSES, None))
    x = np.random.default_rng(9).normal(size=(B, T, width))
    valid = np.arange(T) < np.array(LENGTHS)[:, None]
    loss, gradient = function(x, target, lengths=LENGTHS, **keywords)
    spoiled, wrong = x.copy(), target.copy()
    spoiled[~valid] = np.nan
    wrong[~valid] = -7 if name == "cross_entropy" else np.inf if name != "binary" else 55
    with np.errstate(all="raise"):
        again = function(spoiled, wrong, lengths=LENGTHS, **keywords)
    assert again[0] == loss
    np.testing.assert_array_equal(again[1], gradient)
    assert not gradient[~valid].any() and gradient[valid].any()


@pytest.mark.parametrize("name", ["cross_entropy", *ELEMENTWISE])
def test_nothing_valid_is_zero(name):
    function, keywords, width, target, _ = ELEMENTWISE.get(name, (losses.cross_entropy, {}, K, CLASSES, None))
    x = np.full((B, T, width), np.nan, np.float32)
    for reduction in losses.REDUCTIONS:
        options = {**keywords, "reduction": reduction}
        loss, gradient = function(x, target, mask=np.zeros((B, T), bool), **options)
        assert loss == 0.0
        assert not gradient.any()
        loss, gradient = function(x[:, :0], target[:, :0], **options)
        assert loss == 0.0
        assert gradient.shape == (B, 0, width)


@pytest.mark.parametrize("name", ["cross_entropy", *ELEMENTWISE])
def test_float32_stays_float32_and_close(name):
    function, keywords, width, target, _ = ELEMENTWISE.get(name, (losses.cross_entropy, {}, K, CLASSES, None))
    x = np.random.default_rng(10).normal(size=(B, T, width)).astype(np.float32)
    for given in {}, {"sample_weight": BY_STEP}:
        loss, gradient = function(x, target, **keywords, **given)
        loss64, gradient64 = function(x.astype(np.float64), target, **keywords, **given)
        assert gradient.dtype == np.float32
        assert loss == pytest.approx(loss64, rel=tolerance("losses, float32"))
        assert relative_error(gradient, gradient64) < tolerance("losses, float32")


def test_a_last_axis_of_one_may_be_missing_in_the_target():
    x = np.random.default_rng(11).normal(size=(B, T, 1))
    for function in losses.mse, losses.mae, losses.huber:
        assert function(x, SCALAR)[0] == function(x, SCALAR[..., None])[0]
    assert (
        losses.gaussian_nll(x.repeat(2, -1), SCALAR)[0]
        == losses.gaussian_nll(x.repeat(2, -1), SCALAR[..., None])[0]
    )
    assert losses.quantile(x, SCALAR, quantiles=[0.5])[0] == pytest.approx(losses.mae(x, SCALAR)[0] / 2)


def test_probabilities_agree_with_logits():
    x = np.random.default_rng(12).normal(size=(B, T, D))
    p = sigmoid(x)
    loss, _ = losses.binary_cross_entropy(x, UNIT, pos_weight=1.5)
    found, gradient = losses.binary_cross_entropy(p, UNIT, from_logits=False, pos_weight=1.5)
    assert found == pytest.approx(loss, rel=tolerance("losses, float64"))
    check_gradients(
        lambda: losses.binary_cross_entropy(p, UNIT, from_logits=False, pos_weight=1.5)[0],
        {"p": p},
        {"p": gradient},
    )


def test_certain_probabilities_stay_finite():
    p, t = np.array([0.0, 1.0, 0.0, 1.0], np.float32), np.array([0, 1, 1, 0])
    loss, gradient = losses.binary_cross_entropy(p, t, from_logits=False)
    assert loss == 50.0  # two right, two at the floor of 100
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_logits_stay_exact(dtype):
    x = np.array([[1e4, 0.0, -1e4], [-1e4, -1e4, 50.0]], dtype)
    loss, gradient = losses.cross_entropy(x, [1, 2])
    assert loss == 5e3
    np.testing.assert_array_equal(gradient, np.array([[0.5, -0.5, 0], [0, 0, 0]], dtype))
    x = np.array([800.0, -800.0, 800.0, -800.0], dtype)
    loss, gradient = losses.binary_cross_entropy(x, [1, 1, 0, 0])
    assert loss == 400.0
    np.testing.assert_array_equal(gradient, np.array([0, -0.25, 0.25, 0], dtype))


def test_small_losses_keep_their_digits():
    loss, _ = losses.cross_entropy(np.array([30.0, 0.0]), 0)
    assert loss == pytest.approx(math.log1p(math.exp(-30)), rel=1e-2)
    loss, gradient = losses.binary_cross_entropy(np.array([40.0]), [1])
    assert loss == pytest.approx(math.exp(-40), rel=1e-15)
    assert gradient[0] == pytest.approx(-math.exp(-40), rel=1e-15)


@pytest.mark.parametrize("name", ["cross_entropy", *ELEMENTWISE])
def test_nan_comes_through(name):
    function, keywords, width, target, _ = ELEMENTWISE.get(name, (losses.cross_entropy, {}, K, CLASSES, None))
    x = np.zeros((B, T, width))
    x[1, 2, 0] = np.nan
    loss, gradient = function(x, target, **keywords)
    assert math.isnan(loss)
    assert np.isnan(gradient[1, 2, 0]) and np.isfinite(gradient[0]).all()


def test_arguments_are_left_alone():
    x = np.random.default_rng(13).normal(size=(B, T, K)).astype(np.float32)
    kept = x.copy()
    losses.cross_entropy(x, CLASSES, lengths=LENGTHS)
    losses.mse(x, x[::-1], lengths=LENGTHS)
    losses.binary_cross_entropy(x, np.zeros((B, T, K)), lengths=LENGTHS)
    np.testing.assert_array_equal(x, kept)


X = np.zeros((B, T, K), np.float32)
BAD = {
    "target too high": (
        lambda: losses.cross_entropy(X, np.where(CLASSES[1, 2] == CLASSES, 5, 0)),
        ValueError,
        r"^target: expected ints in 0 \.\. 4, found 5 at \[\d, \d\]$",
    ),
    "target negative": (
        lambda: losses.cross_entropy(X[0], [0, 1, -1, 2]),
        ValueError,
        r"^target: expected ints in 0 \.\. 4, found -1 at \[2\]$",
    ),
    "target of floats": (
        lambda: losses.cross_entropy(X, np.zeros((B, T))),
        TypeError,
        r"^target: expected an array of ints, found dtype float64$",
    ),
    "target's shape": (
        lambda: losses.cross_entropy(X, CLASSES[0]),
        ValueError,
        r"^target: expected shape \(3, 4\)",
    ),
    "real target's shape": (
        lambda: losses.mse(X, CLASSES),
        ValueError,
        r"^target: expected shape \(3, 4, 5\), found",
    ),
    "target of words": (
        lambda: losses.mse(X, "word"),
        TypeError,
        r"^target: expected an array of real numbers",
    ),
    "prediction of ints": (
        lambda: losses.mse(np.zeros(3, int), np.zeros(3)),
        TypeError,
        r"^prediction: expected float32 or float64, found int64$",
    ),
    "prediction a scalar": (
        lambda: losses.mse(np.float32(1), 1),
        ValueError,
        r"^prediction: expected at least one axis",
    ),
    "no classes": (
        lambda: losses.cross_entropy(X[..., :0], CLASSES),
        ValueError,
        r"^prediction: expected at least",
    ),
    "probability above 1": (
        lambda: losses.binary_cross_entropy(X + 2, X, from_logits=False),
        ValueError,
        r"^prediction: expected values in 0 \.\. 1, found 2\.0 at \[0, 0, 0\]$",
    ),
    "binary target": (
        lambda: losses.binary_cross_entropy(X, X - 1),
        ValueError,
        r"^target: expected values in 0",
    ),
    "pos_weight": (
        lambda: losses.binary_cross_entropy(X, X, pos_weight=0),
        ValueError,
        r"^pos_weight: expected a finite number above 0, found 0",
    ),
    "length": (
        lambda: losses.mse(X, X, lengths=[1, 5, 2]),
        ValueError,
        r"^lengths: expected ints in 0 \.\. 4, found 5 at \[1\]$",
    ),
    "lengths' number": (lambda: losses.mse(X, X, lengths=[1, 2]), ValueError, r"^lengths: expected 3 ints"),
    "lengths without steps": (
        lambda: losses.cross_entropy(X[0], CLASSES[0], lengths=[1]),
        ValueError,
        r"^lengths: expected None for elements of shape \(4,\)",
    ),
    "mask of ints": (
        lambda: losses.mse(X, X, mask=CLASSES),
        TypeError,
        r"^mask: expected bool, found int64$",
    ),
    "mask's shape": (
        lambda: losses.mse(X, X, mask=MASK.T),
        ValueError,
        r"^mask: expected shape \(3, 4, 5\) or its",
    ),
    "weight below 0": (
        lambda: losses.mse(X, X, sample_weight=[1, -1, 1]),
        ValueError,
        r"^sample_weight: expected finite numbers of at least 0, found -1\.0 at \[1\]$",
    ),
    "weight's shape": (
        lambda: losses.mse(X, X, sample_weight=[1, 1]),
        ValueError,
        r"^sample_weight: expected shape",
    ),
    "class_weight": (
        lambda: losses.cross_entropy(X, CLASSES, class_weight=[1, 2]),
        ValueError,
        r"^class_weight: expected shape \(5,\), found \(2,\)$",
    ),
    "class_weight below 0": (
        lambda: losses.cross_entropy(X, CLASSES, class_weight=[1, 2, -3, 1, 1]),
        ValueError,
        r"^class_weight\[2\]: expected a finite number at least 0, found -3\.0$",
    ),
    "label_smoothing": (
        lambda: losses.cross_entropy(X, CLASSES, label_smoothing=1.5),
        ValueError,
        r"^label_smoothing: expected a finite number at least 0 and at most 1, found 1\.5$",
    ),
    "reduction of arrays": (
        lambda: losses.mae(X, X, reduction=np.array(["mean", "sum", "batchmean"])),
        ValueError,
        r"^reduction: expected one of 'mean', 'sum', 'batchmean'; found array",
    ),
    "reduction": (
        lambda: losses.mae(X, X, reduction="none"),
        ValueError,
        r"^reduction: expected one of 'mean', 'sum', 'batchmean'; found 'none'$",
    ),
    "quantiles": (
        lambda: losses.quantile(X, SCALAR),
        ValueError,
        r"^prediction: expected shape \(\.\.\., 3\), one",
    ),
    "quantile of 1": (
        lambda: losses.quantile(X[..., :1], SCALAR, quantiles=[1.0]),
        ValueError,
        r"^quantiles\[0\]: expected a finite number above 0 and below 1, found 1\.0$",
    ),
    "odd": (
        lambda: losses.gaussian_nll(X, SCALAR),
        ValueError,
        r"^prediction: expected a last axis of even size",
    ),
    "scale": (
        lambda: losses.gaussian_nll(X[..., :2], SCALAR, scale="exp"),
        ValueError,
        r"^scale: expected one of",
    ),
    "delta": (lambda: losses.huber(X, X, delta=-1), ValueError, r"^delta: expected a finite number above 0"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    call, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        call()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_torch_agrees(dtype):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    rng = np.random.default_rng(14)
    limit = tolerance(f"losses, {dtype}")

    def compare(ours, theirs, width):
        x = rng.normal(size=(B, T, width)).astype(dtype)
        loss, gradient = ours(x)
        tensor = torch.tensor(x, requires_grad=True)
        expected = theirs(tensor)
        expected.backward()
        assert loss == pytest.approx(expected.item(), rel=limit)
        assert relative_error(gradient, tensor.grad.numpy()) < limit

    def of(array):
        return torch.tensor(array.astype(dtype))

    ids = torch.tensor(CLASSES)
    compare(
        lambda x: losses.cross_entropy(x, CLASSES, class_weight=CLASS_WEIGHT, label_smoothing=0.1),
        lambda x: functional.cross_entropy(
            x.flatten(0, 1), ids.flatten(), of(CLASS_WEIGHT), label_smoothing=0.1
        ),
        K,
    )
    compare(lambda x: losses.mse(x, REAL), lambda x: functional.mse_loss(x, of(REAL)), D)
    compare(lambda x: losses.mae(x, REAL), lambda x: functional.l1_loss(x, of(REAL)), D)
    compare(
        lambda x: losses.huber(x, REAL, delta=0.6), lambda x: functional.huber_loss(x, of(REAL), delta=0.6), D
    )
    compare(
        lambda x: losses.binary_cross_entropy(x, UNIT, pos_weight=3.0),
        lambda x: functional.binary_cross_entropy_with_logits(x, of(UNIT), pos_weight=torch.tensor(3.0)),
        D,
    )
    compare(
        lambda x: losses.gaussian_nll(x, REAL),
        lambda x: functional.gaussian_nll_loss(x[..., :D], of(REAL), x[..., D:].exp(), full=True),
        2 * D,
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.2},
                                     {"label_smoothing": 0.2, "class_weight": [1, 2, 0, 3]},
                                     {"sample_weight": [1.0, 0.0]}])
def test_the_gradient_may_replace_the_logits(options, dtype):
    rng = np.random.default_rng(0)
    x, target = rng.standard_normal((2, 3, 4)).astype(dtype), rng.integers(0, 4, (2, 3))
    loss, gradient = losses.cross_entropy(x, target, **options)
    beside = np.empty_like(x)
    assert losses.cross_entropy(x, target, out=beside, **options)[0] == loss
    place = x.copy()
    in_place, returned = losses.cross_entropy(place, target, out=place, **options)
    assert in_place == loss and np.shares_memory(returned, place)
    for found in beside, place:
        np.testing.assert_array_equal(found, gradient)


@pytest.mark.parametrize("out, message", [
    (lambda x: x.ravel()[1:25].reshape(2, 3, 4), "overlaps"), (lambda x: np.empty((2, 3, 4), "f"), "float64"),
    (lambda x: np.empty((2, 3, 5)), "shape"), (lambda x: np.empty((4, 3, 2)).T, "contiguous"), (lambda x: [1], "list"),
])
def test_a_place_for_the_gradient_that_does_not_fit(out, message):
    x = np.ones(26)
    prediction = x[:24].reshape(2, 3, 4)
    with pytest.raises((ValueError, TypeError), match=f"out.*{message}"):
        losses.cross_entropy(prediction, np.zeros((2, 3), int), out=out(x))
    assert (x == 1).all()
