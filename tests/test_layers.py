"""The layers without a state: values, gradients by finite differences, torch, streams, and bad input."""

import numpy as np
import pytest
from gradcheck import check_gradients
from tolerances import relative_error, tolerance

from fastrnn import Dropout, Embedding, LastStep, LayerNorm, Linear, MeanOverTime

DTYPES = ["float32", "float64"]
LENGTHS = [4, 0, 2]


def normal(*shape, dtype="float64", seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def randomised(module):
    for name, p in module.params.items():
        p[...] = normal(*p.shape, seed=len(name))
    return module


def check_module(module, x, lengths=None, of_input=True):
    """The gradients of a fixed random weighting of the output."""
    y, state, tape = module.forward(x, lengths=lengths)
    assert state is None
    np.testing.assert_array_equal(y, module(x, lengths=lengths))
    weighting = normal(*y.shape, seed=5)
    module.zero_grad()
    dx, dstate = module.backward(tape, weighting)
    assert dstate is None
    arrays, gradients = dict(module.params), dict(module.grads)
    if of_input:
        assert dx.dtype == x.dtype
        arrays["x"], gradients["x"] = x, dx
    check_gradients(lambda: float((module(x, lengths=lengths) * weighting).sum()), arrays, gradients)


# Embedding


@pytest.mark.parametrize("shape", [(), (3,), (2, 5), (2, 0), (2, 3, 2)])
def test_embedding(shape):
    module = Embedding(7, 4, dtype="float64", seed=0)
    ids = np.random.default_rng(1).integers(0, 7, shape)
    np.testing.assert_array_equal(module(ids), module.params["weight"][ids])
    check_module(module, ids, of_input=False)


def test_embedding_adds_up_repeated_ids():
    module = Embedding(5, 2, seed=0)
    _, _, tape = module.forward([3, 3, 1, 3])
    dx, _ = module.backward(tape, np.array([[1, 2], [3, 4], [5, 6], [7, 8]]))
    assert dx is None
    np.testing.assert_array_equal(module.grads["weight"], [[0, 0], [5, 6], [0, 0], [11, 14], [0, 0]])


@pytest.mark.parametrize("kind", ["int8", "uint8", "int32", "uint64"])
def test_embedding_takes_ints_of_any_kind_and_order(kind):
    module = Embedding(7, 4, seed=0)
    ids = np.arange(6).astype(kind).reshape(2, 3)
    np.testing.assert_array_equal(module(ids.T), module.params["weight"][ids.T.astype(int)])


def test_embedding_keeps_the_ids_it_saw():
    module = Embedding(3, 1, seed=0)
    ids = np.array([0, 2])
    _, _, tape = module.forward(ids)
    ids[:] = 1
    module.backward(tape, np.ones((2, 1)))
    np.testing.assert_array_equal(module.grads["weight"][:, 0], [1, 0, 1])


# Linear


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 5, 3), (2, 0, 3), (2, 2, 2, 3)])
def test_linear(shape, bias):
    module = randomised(Linear(3, 4, bias=bias, dtype="float64"))
    x = normal(*shape)
    expected = np.einsum("...i,oi->...o", x, module.params["weight"]) + module.params.get("bias", 0)
    np.testing.assert_allclose(module(x), expected, rtol=tolerance("layers, float64"), atol=1e-14)
    check_module(module, x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows, inputs, outputs", [(1, 1, 1), (7, 33, 17), (64, 65, 100), (300, 128, 257)])
def test_linear_of_any_size(rows, inputs, outputs, dtype):
    module = Linear(inputs, outputs, dtype=dtype, seed=0)
    x, dy = normal(rows, inputs, dtype=dtype), normal(rows, outputs, dtype=dtype, seed=1)
    y, _, tape = module.forward(x)
    dx, _ = module.backward(tape, dy)
    weight = module.params["weight"].astype(np.float64)
    limit = tolerance(f"layers, {dtype}")
    assert relative_error(y, np.einsum("ni,oi->no", x.astype(float), weight)) < limit
    assert relative_error(dx, np.einsum("no,oi->ni", dy.astype(float), weight)) < limit
    assert (
        relative_error(module.grads["weight"], np.einsum("no,ni->oi", dy.astype(float), x.astype(float)))
        < limit
    )
    assert relative_error(module.grads["bias"], dy.astype(float).sum(axis=0)) < limit


def test_linear_gives_a_row_the_same_bits_in_any_batch():
    module = Linear(37, 51, seed=0)
    x = normal(200, 37, dtype="float32")
    whole = module(x)
    for rows in [slice(0, 1), slice(3, 4), slice(10, 17), slice(50, 200)]:
        assert module(x[rows]).tobytes() == whole[rows].tobytes()


# LayerNorm


def normalised(x, module):
    x = x.astype(np.float64)
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    weight, bias = module.params["weight"].astype(np.float64), module.params["bias"].astype(np.float64)
    return (x - mean) / np.sqrt(variance + module.eps) * weight + bias


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 16, 131])
def test_layer_norm_values(size, dtype):
    module = randomised(LayerNorm(size, dtype=dtype))
    x = normal(3, 5, size, dtype=dtype) * 3 + 2
    y = module(x)
    assert y.dtype == dtype
    assert relative_error(y, normalised(x, module)) < tolerance(f"layers, {dtype}")


@pytest.mark.parametrize("shape", [(7,), (4, 7), (2, 3, 7), (2, 0, 7), (2, 12)])
def test_layer_norm_gradients(shape):
    check_module(randomised(LayerNorm(shape[-1], eps=1e-3, dtype="float64")), normal(*shape))


def test_layer_norm_of_equal_and_of_far_elements():
    module = LayerNorm(4)
    np.testing.assert_array_equal(module(np.full((2, 4), 7)), 0)
    far = np.array([10000, 10001, 10002, 10003], np.float32)
    assert relative_error(module(far), normalised(far, module)) < tolerance("layers, float32")


# Dropout


@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout(dtype):
    module = Dropout(0.25, seed=0)
    x = np.full((100, 200), 3, dtype)
    y, _, tape = module.forward(x)
    assert y.dtype == dtype
    kept = y != 0
    assert abs(kept.mean() - 0.75) < 5 * np.sqrt(0.25 * 0.75 / x.size)
    np.testing.assert_allclose(y[kept], 4, rtol=1e-6)
    dy = normal(100, 200, dtype=dtype)
    dx, _ = module.backward(tape, dy)
    np.testing.assert_allclose(dx, np.where(kept, dy / 0.75, 0), rtol=1e-6)
    np.testing.assert_array_equal(module(x), x)


def test_dropout_draws_from_its_generator():
    x = np.ones((20, 20))
    masks = [Dropout(0.5, seed=3).forward(x)[0], Dropout(0.5, seed=3).forward(x)[0]]
    np.testing.assert_array_equal(*masks)
    module = Dropout(0.5, seed=3)
    assert not np.array_equal(module.forward(x)[0], module.forward(x)[0])
    module.set_rng(np.random.default_rng(3))
    np.testing.assert_array_equal(module.forward(x)[0], masks[0])


def test_dropout_of_none():
    module = Dropout(0.0)
    x = normal(3, 4)
    y, _, tape = module.forward(x)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(module.backward(tape, x)[0], x)


# Pooling


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("lengths", [None, LENGTHS, np.array(LENGTHS, np.int8)])
@pytest.mark.parametrize("kind", [LastStep, MeanOverTime])
def test_pooling(kind, lengths, batch_first):
    x = normal(3, 4, 6)
    counts = [4] * 3 if lengths is None else LENGTHS
    expected = np.zeros((3, 6))
    for b, n in enumerate(counts):
        if n:
            expected[b] = x[b, n - 1] if kind is LastStep else x[b, :n].mean(axis=0)
    module = kind(batch_first=batch_first)
    x = x if batch_first else np.ascontiguousarray(x.swapaxes(0, 1))
    np.testing.assert_allclose(module(x, lengths=lengths), expected, rtol=1e-14)
    check_module(module, x, lengths)


@pytest.mark.parametrize("kind", [LastStep, MeanOverTime])
def test_pooling_ignores_what_padding_holds(kind):
    x = normal(3, 4, 6)
    module = kind(batch_first=True)
    expected = module(x, lengths=LENGTHS)
    for b, n in enumerate(LENGTHS):
        x[b, n:] = np.nan
    y, _, tape = module.forward(x, lengths=LENGTHS)
    np.testing.assert_array_equal(y, expected)
    assert np.isfinite(module.backward(tape, y)[0]).all()


def test_pooling_of_a_reverse_direction():
    x = normal(3, 4, 6)
    module = LastStep(bidirectional=True, batch_first=True)
    y = module(x, lengths=LENGTHS)
    for b, n in enumerate(LENGTHS):
        np.testing.assert_array_equal(y[b, :3], x[b, n - 1, :3] if n else np.zeros(3))
        np.testing.assert_array_equal(y[b, 3:], x[b, 0, 3:] if n else np.zeros(3))
    check_module(module, x, LENGTHS)
    check_module(module, x)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("features", [1, 2, 5])
def test_the_last_step_of_whole_sequences_is_that_of_full_lengths(features, direction, batch_first):
    x, dy = normal(3, 3, features), normal(3, features, seed=1)
    module = LastStep(direction=direction, batch_first=batch_first)
    found, _, tape = module.forward(x)
    expected, _, other = module.forward(x, lengths=[3, 3, 3])
    np.testing.assert_array_equal(found, expected)
    assert not np.shares_memory(found, x)
    np.testing.assert_array_equal(module.backward(tape, dy)[0], module.backward(other, dy)[0])


@pytest.mark.parametrize("kind", [LastStep, MeanOverTime])
@pytest.mark.parametrize("dtype", DTYPES)
def test_pooling_of_one_sequence_and_of_none(kind, dtype):
    x = normal(5, 3, dtype=dtype)
    module = kind(batch_first=True)
    assert module(x).dtype == dtype
    np.testing.assert_array_equal(module(x), module(x[None])[0])
    assert module.backward(module.forward(x)[2], np.ones(3))[0].shape == (5, 3)
    np.testing.assert_array_equal(module(x[:0]), np.zeros(3))
    np.testing.assert_array_equal(module(np.zeros((2, 0, 3))), np.zeros((2, 3)))
    assert module.backward(module.forward(np.zeros((2, 0, 3)))[2], np.ones((2, 3)))[0].shape == (2, 0, 3)


def test_pooling_keeps_the_lengths_it_saw():
    lengths = np.array([2, 1])
    module = LastStep(batch_first=True)
    _, _, tape = module.forward(np.zeros((2, 2, 1)), lengths=lengths)
    lengths[:] = 0
    np.testing.assert_array_equal(module.backward(tape, np.ones((2, 1)))[0][..., 0], [[0, 1], [1, 0]])


# All of them

STATELESS = {
    "embedding": (lambda: Embedding(9, 4, seed=0), np.array([[1, 8, 3], [0, 0, 7]])),
    "linear": (lambda: Linear(5, 4, seed=0), normal(2, 3, 5, dtype="float32")),
    "norm": (lambda: randomised(LayerNorm(5)), normal(2, 3, 5, dtype="float32")),
    "dropout": (lambda: Dropout(0.5), normal(2, 3, 5, dtype="float32")),
}
POOLING = {"last": LastStep, "mean": MeanOverTime}


@pytest.mark.parametrize("name", STATELESS)
def test_streams_are_the_call(name):
    build, x = STATELESS[name]
    module = build()
    stream = module.stream(2)
    expected = module(x)
    for t in range(3):
        out = np.empty_like(expected[:, t])
        assert stream.step(x[:, t], out=out) is out
        assert out.tobytes() == stream.step(x[:, t]).tobytes() == expected[:, t].tobytes()
    np.testing.assert_array_equal(stream.run(x), expected)
    single = module.stream()
    np.testing.assert_array_equal(single.step(x[0, 1]), expected[0, 1])
    assert stream.state is None
    stream.reset()
    stream.copy().state = None
    with pytest.raises(ValueError, match=r"^state: expected None"):
        stream.state = np.zeros(3)


@pytest.mark.parametrize("name", POOLING)
def test_streams_of_pooling(name):
    x = normal(2, 5, 3)
    module = POOLING[name](batch_first=True)
    stream = module.stream(2)
    for t in range(3):
        np.testing.assert_allclose(stream.step(x[:, t]), module(x[:, : t + 1]), rtol=1e-14)
    twin, kept = stream.copy(), stream.state
    np.testing.assert_allclose(stream.run(x[:, 3:]), module(x), rtol=1e-14)
    np.testing.assert_allclose(twin.step(x[:, 3]), module(x[:, :4]), rtol=1e-14)
    stream.state = kept
    out = np.empty((2, 3))
    assert stream.step(x[:, 3], out) is out
    np.testing.assert_allclose(out, module(x[:, :4]), rtol=1e-14)
    stream.reset()
    np.testing.assert_allclose(stream.step(x[:, 0]), x[:, 0], rtol=1e-14)
    single = module.stream()
    np.testing.assert_allclose(single.run(x[0]), module(x[0]), rtol=1e-14)


def test_a_refused_step_leaves_the_mean():
    stream = MeanOverTime().stream()
    stream.step(np.ones((1, 3)))
    for x, out in [(np.ones((1, 4)), None), (np.ones(2), None), (np.ones(3), np.ones((5, 3)))]:
        with pytest.raises(ValueError, match=r"^(x|out): expected"):
            stream.step(x, out)
    np.testing.assert_array_equal(stream.step(np.full(3, 2.0)), np.full(3, 1.5))


@pytest.mark.parametrize("name", STATELESS)
def test_no_gradient_is_a_gradient_of_zero(name):
    build, x = STATELESS[name]
    module = build()
    dx, _ = module.backward(module.forward(x)[2])
    assert dx is None if name == "embedding" else not dx.any()
    assert not any(g.any() for g in module.grads.values())


@pytest.mark.parametrize("name", STATELESS)
def test_layout_in_memory_does_not_matter(name):
    build, x = STATELESS[name]
    module = build()
    expected = module(x)
    turned = np.asfortranarray(x)
    np.testing.assert_array_equal(module(turned), expected)
    y, _, tape = build().forward(turned)
    module.set_rng(np.random.default_rng(0))
    y, _, tape = module.forward(turned)
    dy = normal(*y.shape)
    other, _ = module.backward(tape, np.asfortranarray(dy))
    module.set_rng(np.random.default_rng(0))
    first, _ = module.backward(module.forward(x)[2], dy)
    np.testing.assert_array_equal(first, other)


LINEAR, EMBEDDING, NORM = Linear(3, 4), Embedding(5, 2), LayerNorm(3)
BAD = {
    "features": (
        lambda: LINEAR(np.zeros((2, 5))),
        ValueError,
        r"^x: expected shape \(\.\.\., 3\), found \(2, 5\)$",
    ),
    "a scalar": (lambda: LINEAR(1.0), ValueError, r"^x: expected shape \(\.\.\., 3\), found \(\)$"),
    "words": (
        lambda: LINEAR(["a", "b", "c"]),
        TypeError,
        r"^x: expected an array of real numbers, found dtype <U1$",
    ),
    "uneven": (
        lambda: LINEAR([[1, 2, 3], [1]]),
        TypeError,
        r"^x: expected an array of real numbers, found list",
    ),
    "norm's features": (
        lambda: NORM(np.zeros(4)),
        ValueError,
        r"^x: expected shape \(\.\.\., 3\), found \(4,\)$",
    ),
    "id too high": (
        lambda: EMBEDDING([[1, 5]]),
        ValueError,
        r"^x: expected ints in 0 \.\. 4, found 5 at \[0, 1\]$",
    ),
    "id below 0": (lambda: EMBEDDING(-1), ValueError, r"^x: expected ints in 0 \.\. 4, found -1$"),
    "ids of floats": (
        lambda: EMBEDDING([1.0]),
        TypeError,
        r"^x: expected an array of ints, found dtype float64$",
    ),
    "in_features": (
        lambda: Linear(0, 3),
        ValueError,
        r"^in_features: expected an int of at least 1, found 0$",
    ),
    "out_features": (lambda: Linear(3, 2.5), TypeError, r"^out_features: expected an int, found 2\.5$"),
    "bias": (lambda: Linear(3, 2, bias=1), TypeError, r"^bias: expected True or False, found 1$"),
    "num_embeddings": (
        lambda: Embedding(True, 3),
        TypeError,
        r"^num_embeddings: expected an int, found True$",
    ),
    "embedding_dim": (lambda: Embedding(3, -3), ValueError, r"^embedding_dim: expected an int of at least 1"),
    "eps": (lambda: LayerNorm(3, eps=0), ValueError, r"^eps: expected a finite number above 0, found 0\.0$"),
    "p": (
        lambda: Dropout(1.0),
        ValueError,
        r"^p: expected a finite number at least 0 and below 1, found 1\.0$",
    ),
    "state": (lambda: LINEAR.forward(np.zeros(3), state=1), ValueError, r"^state: expected None for Linear"),
    "dstate": (
        lambda: LINEAR.backward(LINEAR.forward(np.zeros(3))[2], dstate=1),
        ValueError,
        r"^dstate: expected None",
    ),
    "dy": (
        lambda: LINEAR.backward(LINEAR.forward(np.zeros(3))[2], np.zeros(3)),
        ValueError,
        r"^dy: expected shape \(4,\) as the output, found \(3,\)$",
    ),
    "pooling a vector": (
        lambda: LastStep()(np.zeros(3)),
        ValueError,
        r"^x: expected two axes, or three with a batch",
    ),
    "lengths": (
        lambda: LastStep()(np.zeros((4, 2, 3)), lengths=[5, 1]),
        ValueError,
        r"^lengths: expected ints in 0 \.\. 4, found 5 at \[0\]$",
    ),
    "lengths' number": (
        lambda: MeanOverTime()(np.zeros((4, 2, 3)), lengths=[1]),
        ValueError,
        r"^lengths: expected 2 ints, one per sequence; found shape \(1,\)$",
    ),
    "lengths of floats": (
        lambda: MeanOverTime()(np.zeros((4, 2, 3)), lengths=[1.0, 2.0]),
        TypeError,
        r"^lengths: expected an array of ints, found dtype float64$",
    ),
    "reverse stream": (
        lambda: LastStep(bidirectional=True).stream(),
        ValueError,
        r"^bidirectional: expected False",
    ),
    "stream": (lambda: LINEAR.stream(0), ValueError, r"^batch_size: expected an int of at least 1, found 0$"),
    "mean's batch": (
        lambda: MeanOverTime().stream(1).step(np.ones((7, 3))),
        ValueError,
        r"^x: expected a batch of 1, found shape \(7, 3\)$",
    ),
    "mean's chunk": (
        lambda: MeanOverTime().stream(2).run(np.ones((4, 3))),
        ValueError,
        r"^chunk: expected a batch of 2, found shape \(4, 3\)$",
    ),
    "lengths beyond int64": (
        lambda: MeanOverTime()(np.zeros((4, 1, 3)), lengths=np.array([2**64 - 1], np.uint64)),
        ValueError,
        r"^lengths: expected ints in 0 \.\. 4, found 18446744073709551615 at \[0\]$",
    ),
    "size": (lambda: Linear(3, 10**30), ValueError, r"^out_features: expected an int of at most 2147483647, found 10"),
    "dtype": (lambda: Linear(3, 3, dtype=None), ValueError, r"^dtype: expected 'float32' or 'float64', found None$"),
    "out": (lambda: NORM.stream().step(np.ones(3), np.ones((2, 3))), (ValueError, TypeError), r"^out: expected"),
    "mean's state": (
        lambda: setattr(MeanOverTime().stream(), "state", 3),
        TypeError,
        r"^state: expected a pair",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    call, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        call()


@pytest.mark.parametrize("dtype", DTYPES)
def test_torch_agrees(dtype):
    torch = pytest.importorskip("torch")
    kind = getattr(torch, dtype)
    x, limit = normal(4, 6, 9, dtype=dtype), tolerance(f"layers, {dtype}")
    for ours, theirs in [
        (Linear(9, 13, dtype=dtype, seed=0), torch.nn.Linear(9, 13, dtype=kind)),
        (randomised(LayerNorm(9, dtype=dtype)), torch.nn.LayerNorm(9, dtype=kind)),
    ]:
        theirs.load_state_dict({name: torch.tensor(p) for name, p in ours.params.items()})
        tensor = torch.tensor(x, requires_grad=True)
        expected = theirs(tensor)
        y, _, tape = ours.forward(x)
        dy = normal(*y.shape, dtype=dtype, seed=1)
        expected.backward(torch.tensor(dy))
        dx, _ = ours.backward(tape, dy)
        assert relative_error(y, expected.detach().numpy()) < limit
        assert relative_error(dx, tensor.grad.numpy()) < limit
        for name, parameter in theirs.named_parameters():
            assert relative_error(ours.grads[name], parameter.grad.numpy()) < limit
