"""The CTC loss against the sum over all paths, finite differences and torch."""

import itertools
import math

import numpy as np
import pytest
from gradcheck import check_gradients
from tolerances import relative_error, tolerance

import fastrnn
from fastrnn import losses
from fastrnn.decoding import ctc_greedy


def collapse(path, blank):
    """What a path spells: repetitions once, then no blanks."""
    return [k for k, _ in itertools.groupby(path) if k != blank]


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def by_all_paths(x, target, blank=0):
    """-log of the probability of `target`, from every path of every length there is."""
    p = softmax(np.asarray(x, np.float64))
    total = 0.0
    for path in itertools.product(range(p.shape[1]), repeat=len(p)):
        if collapse(path, blank) == list(target):
            total += math.prod(p[t, k] for t, k in enumerate(path))
    return -math.log(total) if total else math.inf


TARGETS = [[1, 2], [1, 1], [2], [], [2, 1, 2], [1, 1, 1]]


@pytest.mark.parametrize("blank", [0, 2])
@pytest.mark.parametrize("steps", range(6))
def test_the_sum_over_all_paths(steps, blank):
    x = np.random.default_rng(steps).normal(size=(len(TARGETS), steps, 3)) * 2
    for row, labels in zip(x, TARGETS):
        target = [0 if k == blank else k for k in labels]
        loss, _ = losses.ctc(row, target, blank=blank)
        assert loss == pytest.approx(by_all_paths(row, target, blank), rel=tolerance("losses, float64"), abs=1e-15)


LENGTHS, LABELS, STEPS, CLASSES = [7, 0, 4, 3, 6], [[1, 3, 3], [], [2], [1, 2, 3], []], 7, 5
WEIGHTS = [1.5, 1.0, 0.0, 0.5, 2.0]


def logits(scale=2.0, dtype="float64", shape=(5, STEPS, CLASSES)):
    return (np.random.default_rng(1).normal(size=shape) * scale).astype(dtype)


@pytest.mark.parametrize("reduction", ["mean", "sum", "batchmean"])
@pytest.mark.parametrize(
    "given, weight",
    [
        ({}, np.ones(5)),
        ({"sample_weight": WEIGHTS}, np.array(WEIGHTS)),
        ({"mask": [True, False, True, True, False]}, np.array([1.0, 0, 1, 1, 0])),
        ({"mask": [True, False, True, True, False], "sample_weight": WEIGHTS}, np.array([1.5, 0, 0, 0.5, 0])),
    ],
)
def test_weights_reduction_and_gradients(given, weight, reduction):
    x = logits()
    each = [losses.ctc(row[:n], labels)[0] for row, n, labels in zip(x, LENGTHS, LABELS)]
    expected = weight @ each / (1 if reduction == "sum" else weight.sum())

    def call():
        return losses.ctc(x, LABELS, LENGTHS, reduction=reduction, **given)

    loss, gradient = call()
    assert isinstance(loss, float) and loss == pytest.approx(expected, rel=tolerance("losses, float64"))
    check_gradients(lambda: call()[0], {"x": x}, {"x": gradient})


def test_a_gradient_sums_to_zero_at_every_step():
    x = logits(10.0, shape=(5, 60, CLASSES))
    _, gradient = losses.ctc(x, LABELS)
    assert np.abs(gradient).max() > 0.01
    np.testing.assert_allclose(gradient.sum(axis=-1), 0, atol=1e-14)


def test_every_form_of_the_targets_is_the_same():
    x = logits()
    loss, gradient = losses.ctc(x, LABELS, LENGTHS)
    counts = [len(labels) for labels in LABELS]
    padded = np.full((5, 4), -9)
    for row, labels in zip(padded, LABELS):
        row[: len(labels)] = labels
    flat = np.concatenate([np.array(labels, np.uint8) for labels in LABELS])
    turned = x.swapaxes(0, 1)
    for again, swapped in [
        (losses.ctc(x, padded, LENGTHS, counts), False),
        (losses.ctc(x, flat, LENGTHS, counts), False),
        (losses.ctc(x, [np.array(labels, np.uint64) for labels in LABELS], np.array(LENGTHS)), False),
        (losses.ctc(np.asfortranarray(x), tuple(LABELS), lengths=LENGTHS), False),
        (losses.ctc(turned, LABELS, LENGTHS, batch_first=False), True),
        (losses.ctc(turned, padded, LENGTHS, target_lengths=counts, batch_first=False), True),
    ]:
        assert again[0] == loss
        np.testing.assert_array_equal(again[1].swapaxes(0, 1) if swapped else again[1], gradient)


def test_logarithms_of_probabilities_are_logits_too():
    x = logits()
    loss, gradient = losses.ctc(x, LABELS, LENGTHS)
    again, same = losses.ctc(np.log(softmax(x)), LABELS, LENGTHS)
    assert again == pytest.approx(loss, rel=tolerance("losses, float64"))
    np.testing.assert_allclose(same, gradient, atol=1e-14)


@pytest.mark.parametrize("threads", [2, 3])
def test_any_number_of_threads_gives_the_same_bits(threads):
    x = logits(3.0, "float32", (7, 150, 12))
    labels = [np.random.default_rng(k).integers(1, 12, 3 * k) for k in range(7)]
    kept = fastrnn.get_num_threads()
    try:
        fastrnn.set_num_threads(1)
        loss, gradient = losses.ctc(x, labels)
        fastrnn.set_num_threads(threads)
        again, same = losses.ctc(x, labels)
    finally:
        fastrnn.set_num_threads(kept)
    assert again == loss
    np.testing.assert_array_equal(same, gradient)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_target_that_does_not_fit(dtype):
    x = logits(dtype=dtype)
    targets = [[1] * 4, [], [1, 1, 1], [2], [1] * 7]
    loss, gradient = losses.ctc(x, targets, reduction="sum")
    assert loss == math.inf
    assert np.isnan(gradient[4]).all() and np.isfinite(gradient[:4]).all()
    kept, zero = losses.ctc(x, targets, reduction="sum", zero_infinity=True)
    assert kept == pytest.approx(losses.ctc(x[:4], targets[:4], reduction="sum")[0])
    assert not zero[4].any()
    np.testing.assert_array_equal(zero[:4], gradient[:4])
    assert losses.ctc(x[:1, :0], [[]]) [0] == 0
    assert losses.ctc(x[:1], [[1]], lengths=[0])[0] == math.inf
    masked = np.where(np.arange(CLASSES) == 1, -np.inf, x)
    assert losses.ctc(masked[0], [2, 1])[0] == math.inf
    assert np.isfinite(losses.ctc(masked[0], [2, 3])[1]).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_least_likely_alignment_is_not_lost(dtype):
    """Probabilities far below the smallest double, and the gradient of a path that there is only one of."""
    x = np.zeros((400, 4), dtype)
    x[:, 0] = 1000
    target = np.tile([1, 2], 200)
    loss, gradient = losses.ctc(x, target)
    assert loss == 400_000
    expected = np.zeros_like(gradient)
    expected[:, 0] = 1
    expected[np.arange(400), target] = -1
    np.testing.assert_allclose(gradient, expected, atol=1e-14)
    x[:, 0] = np.finfo("float32").max / 4
    assert losses.ctc(x, [1])[0] == pytest.approx(x[0, 0])
    loss, gradient = losses.ctc(x, [])
    assert loss == 0 and not gradient.any()


def test_small_losses_keep_their_digits():
    x = np.array([[30.0, 0.0]] * 3)
    assert losses.ctc(x, [])[0] == pytest.approx(3 * math.log1p(math.exp(-30)), rel=1e-2)


def test_nan_stays_in_its_sequence_and_padding_is_not_read():
    x = logits()
    loss, gradient = losses.ctc(x, LABELS, LENGTHS)
    spoiled = x.copy()
    for row, n in zip(spoiled, LENGTHS):
        row[n:] = np.nan
    again, same = losses.ctc(spoiled, LABELS, LENGTHS)
    assert again == loss
    np.testing.assert_array_equal(same, gradient)
    assert not any(row[n:].any() for row, n in zip(same, LENGTHS))
    for bad in np.nan, np.inf:
        spoiled = x.copy()
        spoiled[2, 1, 4] = bad
        found, gradient = losses.ctc(spoiled, LABELS, LENGTHS)
        assert math.isnan(found)
        assert np.isnan(gradient[2, :4]).all() and np.isfinite(np.delete(gradient, 2, 0)).all()
        assert losses.ctc(spoiled, [[1], [], [99], [], []], sample_weight=[1, 1, 0, 1, 1])[0] > 0
    np.testing.assert_array_equal(x, logits())


def test_nothing_to_count_is_zero():
    loss, gradient = losses.ctc(np.full((2, 3, 4), np.nan), [[1], [2]], mask=[False, False])
    assert loss == 0 and not gradient.any()
    loss, gradient = losses.ctc(np.empty((0, 3, 4)), [])
    assert loss == 0 and gradient.shape == (0, 3, 4)
    loss, gradient = losses.ctc(np.empty((2, 0, 4), np.float32), [[], []])
    assert loss == 0 and gradient.shape == (2, 0, 4) and gradient.dtype == np.float32
    assert losses.ctc(np.zeros((2, 3, 1)), [[], []])[0] == 0


def test_float32_is_close_to_float64():
    x = logits(5.0, "float32", (5, 200, 20))
    labels = [np.random.default_rng(k).integers(1, 20, 30) for k in range(5)]
    loss, gradient = losses.ctc(x, labels)
    expected, gradient64 = losses.ctc(x.astype(np.float64), labels)
    assert gradient.dtype == np.float32
    assert loss == pytest.approx(expected, rel=tolerance("losses, float32"))
    assert relative_error(gradient, gradient64) < tolerance("losses, float32")


@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_torch_agrees(scale):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(9)
    steps = [50, 0, 50, 31, 44, 20]
    targets = [rng.integers(0, 6, n) for n in (12, 0, 0, 9, 20, 25)]
    targets = [np.where(t >= 2, t + 1, t) for t in targets]  # all but the blank, 2
    x = rng.normal(size=(50, 6, 7)) * scale
    for zero_infinity in False, True:
        loss, gradient = losses.ctc(x, targets, steps, blank=2, batch_first=False, reduction="sum",
                                    zero_infinity=zero_infinity)
        tensor = torch.tensor(x, requires_grad=True)
        expected = torch.nn.functional.ctc_loss(
            tensor.log_softmax(-1), torch.tensor(np.concatenate(targets)), torch.tensor(steps),
            torch.tensor([len(t) for t in targets]), blank=2, reduction="sum", zero_infinity=zero_infinity)
        expected.backward()
        assert loss == pytest.approx(expected.item(), rel=tolerance("torch, float64"))
        theirs = tensor.grad.numpy()
        assert np.array_equal(np.isnan(gradient), np.isnan(theirs))
        assert np.isnan(theirs[:, 5]).any() != zero_infinity
        assert relative_error(np.nan_to_num(gradient), np.nan_to_num(theirs)) < tolerance("torch, float64")


def spoken(count, rng):
    """Sequences of 1 to 4 symbols, each held for 1 to 3 steps in noise with a pause before: (list of x, of labels)."""
    xs, labels = [], []
    for _ in range(count):
        labels.append(rng.integers(1, 5, rng.integers(1, 5)))
        steps = np.concatenate([[0, *[k] * rng.integers(1, 4)] for k in labels[-1]])
        xs.append((np.eye(5)[steps] + rng.normal(0, 0.2, (len(steps), 5))).astype("float32"))
    return xs, labels


def test_a_network_learns_to_transcribe():
    rng = np.random.default_rng(0)
    net = fastrnn.Sequential(fastrnn.GRU(5, 24, seed=0), fastrnn.Linear(24, 5, seed=1))
    optimizer = fastrnn.Adam(0.02)
    for _ in range(60):
        xs, labels = spoken(32, rng)
        lengths = [len(x) for x in xs]
        x = np.stack([np.pad(x, ((0, max(lengths) - len(x)), (0, 0))) for x in xs])
        y, _, tape = net.forward(x, lengths=lengths)
        loss, gradient = losses.ctc(y, labels, lengths)
        net.zero_grad()
        net.backward(tape, gradient)
        optimizer.step(net.params, net.grads)
    assert loss < 0.5
    xs, labels = spoken(50, rng)
    found = [ctc_greedy(y) for y in net(xs)[0]]
    assert sum(np.array_equal(a, b) for a, b in zip(found, labels)) >= 45


X = np.zeros((2, 4, 3), np.float32)
BAD = {
    "the blank": (lambda: losses.ctc(X, [[1], [2, 0]]), ValueError,
                  r"^target: expected labels in 0 \.\. 2 other than the blank, 0; found 0 at \[1, 1\]$"),
    "too high": (lambda: losses.ctc(X, np.array([[1, 3], [1, 1]])), ValueError, r"found 3 at \[0, 1\]$"),
    "negative": (lambda: losses.ctc(X, [[], [-1]]), ValueError, r"found -1 at \[1, 0\]$"),
    "floats": (lambda: losses.ctc(X, [[1.0], [2]]), TypeError, r"^target\[0\]: expected an array of ints"),
    "axes of one": (lambda: losses.ctc(X, [[[1]], [2]]), ValueError, r"^target\[0\]: expected shape \(n,\)"),
    "number": (lambda: losses.ctc(X, [[1]]), ValueError, r"^target: expected the labels of 2 sequences, found"),
    "no lengths": (lambda: losses.ctc(X, np.array([1, 2])), ValueError, r"^target: expected a list of arrays"),
    "their sum": (lambda: losses.ctc(X, np.array([1, 2]), target_lengths=[1, 0]), ValueError,
                  r"^target_lengths: expected 2 labels in all as in target, found 1$"),
    "their number": (lambda: losses.ctc(X, np.array([1, 2]), target_lengths=[2]), ValueError,
                     r"^target_lengths: expected 2 ints"),
    "too long": (lambda: losses.ctc(X, np.ones((2, 1), int), target_lengths=[1, 2]), ValueError,
                 r"^target_lengths: expected ints in 0 \.\. 1, found 2"),
    "lengths": (lambda: losses.ctc(X, [[], []], [5, 1]), ValueError, r"^lengths: expected ints in 0 \.\. 4"),
    "blank": (lambda: losses.ctc(X, [[], []], blank=3), ValueError, r"^blank: expected an int of at most 2"),
    "zero_infinity": (lambda: losses.ctc(X, [[], []], zero_infinity=1), TypeError, r"^zero_infinity: expected"),
    "prediction": (lambda: losses.ctc(X[0, 0], []), ValueError, r"^prediction: expected shape \(B, T, K\) or"),
    "one's lengths": (lambda: losses.ctc(X[0], [1], lengths=[4]), ValueError, r"^lengths: expected None"),
    "mask": (lambda: losses.ctc(X, [[], []], mask=[True]), ValueError, r"^mask: expected shape \(2,\)"),
    "weight": (lambda: losses.ctc(X, [[], []], sample_weight=[1, -1]), ValueError, r"^sample_weight: expected"),
    "reduction": (lambda: losses.ctc(X, [[], []], reduction="none"), ValueError, r"^reduction: expected"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    call, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        call()
