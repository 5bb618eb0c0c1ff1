"""MaxPool1d, AvgPool1d, MaxOverTime and AttentionPooling: values, lengths, gradients, torch, streams, bad arguments."""

import copy

import numpy as np
import pytest
import reference_layers as reference
from gradcheck import check_gradients
from tolerances import relative_error, tolerance

import fastrnn
from fastrnn import (
    GRU,
    Adam,
    AttentionPooling,
    AvgPool1d,
    Concat,
    Conv1d,
    Embedding,
    LaneStream,
    LastStep,
    Linear,
    MaxOverTime,
    MaxPool1d,
    MeanOverTime,
    Sequential,
    Trainer,
)

QUIET = {"progress": False}
DTYPES = ["float32", "float64"]
WINDOWS = {
    "max": (MaxPool1d, (2,), {}),
    "max, one": (MaxPool1d, (1,), {}),
    "max, overlapping": (MaxPool1d, (3,), {"stride": 1, "padding": 1}),
    "max, gaps": (MaxPool1d, (2, 3), {}),
    "max, dilated": (MaxPool1d, (3, 2), {"padding": 1, "dilation": 2}),
    "mean": (AvgPool1d, (3,), {}),
    "mean, overlapping": (AvgPool1d, (3, 1, 1), {}),
    "mean of steps": (AvgPool1d, (3,), {"stride": 2, "padding": 1, "count_include_pad": False}),
    "mean, wide": (AvgPool1d, (4, 2, 2), {"count_include_pad": False}),
}
LENGTHS = [8, 0, 5, 6]


def normal(*shape, dtype="float64", seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def make(name, batch_first=True):
    kind, sizes, options = WINDOWS[name]
    return kind(*sizes, **options, batch_first=batch_first)


def expected(module, x):
    options = (module.kernel_size, module.stride, module.padding)
    if isinstance(module, MaxPool1d):
        return reference.max_pool(x, *options, module.dilation)
    return reference.mean_pool(x, *options, module.count_include_pad)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", WINDOWS)
def test_values_of_windows(name, dtype):
    module = make(name)
    x = normal(3, 9, 4, dtype=dtype)
    y = module(x)
    assert y.dtype == dtype
    assert relative_error(y, np.stack([expected(module, row) for row in x])) < tolerance(f"layers, {dtype}")
    np.testing.assert_array_equal(module(x[1]), y[1])
    np.testing.assert_array_equal(module.forward(x)[0], y)
    assert module(x[:, :0]).shape == (3, 0, 4) and module(x[:0]).shape == (0, *y.shape[1:])


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("name", WINDOWS)
def test_gradients_and_lengths_of_windows(name, lengths, batch_first):
    module = make(name, batch_first)
    x = normal(4, 8, 3, seed=1)
    for row, n in zip(x, lengths or []):
        row[n:] = np.nan
    given = x if batch_first else np.ascontiguousarray(x.swapaxes(0, 1))
    y, _, tape = module.forward(given, lengths=lengths)
    np.testing.assert_array_equal(y, module(given, lengths=lengths))
    counts = module.output_lengths(np.array(lengths or [8] * 4))
    rows = y if batch_first else y.swapaxes(0, 1)
    for row, found, n, count in zip(x, rows, lengths or [8] * 4, counts):
        if n:
            np.testing.assert_allclose(found[:count], expected(module, row[:n]), rtol=1e-13)
        assert not found[count:].any()
    valid = (np.arange(rows.shape[1]) < counts[:, None])[..., None]
    dy = normal(*y.shape, seed=3) * (valid if batch_first else valid.swapaxes(0, 1))
    dx, _ = module.backward(tape, np.where(dy == 0, np.nan, dy) if lengths else dy)
    given[np.isnan(given)] = 9.0
    check_gradients(lambda: float((module(given, lengths=lengths) * dy).sum()), {"x": given}, {"x": dx})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", WINDOWS)
def test_torch(name, dtype):
    torch = pytest.importorskip("torch")
    kind, sizes, options = WINDOWS[name]
    theirs = getattr(torch.nn, kind.__name__)(*sizes, **options)
    x = normal(3, 9, 4, dtype=dtype)
    x[0, 2:6] = 0.5     # ties
    tensor = torch.tensor(x.swapaxes(1, 2).copy(), requires_grad=True)
    wanted = theirs(tensor)
    module = make(name)
    y, _, tape = module.forward(x)
    dy = normal(*y.shape, dtype=dtype, seed=1)
    wanted.backward(torch.tensor(dy.swapaxes(1, 2).copy()))
    limit = tolerance(f"torch, {dtype}")
    assert relative_error(y, wanted.detach().numpy().swapaxes(1, 2)) < limit
    assert relative_error(module.backward(tape, dy)[0], tensor.grad.numpy().swapaxes(1, 2)) < limit


def test_what_is_not_a_number_or_infinite():
    x = np.array([[1.0, np.nan, 3, 4, -np.inf, -np.inf, np.inf, 0]])[..., None]
    module = MaxPool1d(2, batch_first=True)
    y, _, tape = module.forward(x)
    np.testing.assert_array_equal(y[0, :, 0], [np.nan, 4, -np.inf, np.inf])
    np.testing.assert_array_equal(module.backward(tape, np.ones(y.shape))[0][0, :, 0], [0, 1, 0, 1, 1, 0, 1, 0])
    np.testing.assert_array_equal(MaxOverTime(batch_first=True)(x[:, 2:]), [[np.inf]])
    assert np.isnan(MaxOverTime(batch_first=True)(x)).all() and np.isnan(AvgPool1d(2)(x[0])[0]).all()


# Over time

OVER = {
    "max": (lambda **options: MaxOverTime(**options), lambda module, x: x.max(0)),
    "attention": (lambda **options: attention(4, **options), lambda module, x: reference.attention_pool(
        x, *(p.astype(float) for p in module.params.values()))),
    "wide attention": (lambda **options: attention(4, 6, **options), lambda module, x: reference.attention_pool(
        x, *(p.astype(float) for p in module.params.values()))),
}


def attention(*sizes, dtype="float64", **options):
    module = AttentionPooling(*sizes, dtype=dtype, **options)
    for name, p in module.params.items():
        p[...] = normal(*p.shape, seed=len(name))
    return module


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("name", OVER)
def test_over_time(name, lengths, batch_first):
    build, equation = OVER[name]
    module = build(batch_first=batch_first)
    x = normal(4, 8, 4, seed=1)
    for row, n in zip(x, lengths or []):
        row[n:] = np.nan
    given = x if batch_first else np.ascontiguousarray(x.swapaxes(0, 1))
    y, _, tape = module.forward(given, lengths=lengths)
    assert y.tobytes() == module(given, lengths=lengths).tobytes()
    for row, found, n in zip(x, y, lengths or [8] * 4):
        np.testing.assert_allclose(found, equation(module, row[:n]) if n else np.zeros(4), rtol=1e-12)
        if n:
            assert module(row[:n]).tobytes() == found.tobytes(), "the same bits alone"
    dy = normal(*y.shape, seed=3)
    dx, _ = module.backward(tape, dy)
    given[np.isnan(given)] = 9.0
    check_gradients(lambda: float((module(given, lengths=lengths) * dy).sum()), {**module.params, "x": given},
                    {**module.grads, "x": dx})
    empty = module(x[:, :0] if batch_first else np.zeros((0, 4, 4)))
    np.testing.assert_array_equal(empty, np.zeros((4, 4)))
    assert module(x[0, :0]).shape == (4,)
    single, _, tape = module.forward(np.ones((5, 4)))
    assert single.shape == (4,) and module.backward(tape, single)[0].shape == (5, 4)


def test_attention_of_far_scores():
    module = attention(2, dtype="float32", batch_first=True)
    module.params["context"][...] = 1e5
    x = normal(1, 6, 2, dtype="float32")
    y = module(x)
    assert np.isfinite(y).all() and any(np.array_equal(y[0], step) for step in x[0]), "one step has all the weight"


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", OVER)
def test_streams_over_time(name, batch):
    module = OVER[name][0](batch_first=True)
    x = normal(batch, 7, 4, seed=2)
    stream = module.stream(batch)
    np.testing.assert_array_equal(stream.run(x[:, :0]), np.zeros((batch, 4)))
    for t in range(3):
        np.testing.assert_allclose(stream.step(x[:, t]), module(x[:, : t + 1]), rtol=1e-12)
    twin, kept = stream.copy(), stream.state
    for wrong in (np.ones((batch + 1, 4)), np.ones((batch, 3)), "x", np.ones((batch, 1, 4, 1))):
        with pytest.raises((ValueError, TypeError)):
            twin.step(wrong)
    for out in np.empty((7, 7)), [0.0]:
        with pytest.raises((ValueError, TypeError), match=r"^out: expected"):
            twin.step(x[:, 3], out)
    out = np.empty((batch, 4))
    assert twin.step(x[:, 3], out) is out
    np.testing.assert_allclose(out, module(x[:, :4]), rtol=1e-12)
    out[...] = 99
    np.testing.assert_allclose(twin.run(x[:, 4:]), module(x), rtol=1e-12)
    np.testing.assert_allclose(stream.run(x[:, 3:]), module(x), rtol=1e-12)
    stream.state = kept
    np.testing.assert_allclose(stream.step(x[:, 3]), module(x[:, :4]), rtol=1e-12)
    np.testing.assert_allclose(stream.run(x[:, :0]), module(x[:, :4]), rtol=1e-12)
    with pytest.raises((ValueError, TypeError), match=r"^state"):
        stream.state = np.ones(7)
    stream.reset()
    np.testing.assert_allclose(stream.step(x[:, 0]), x[:, 0], rtol=1e-12)
    if batch == 1:
        np.testing.assert_allclose(module.stream().run(x[0]), module(x[0]), rtol=1e-12)
        np.testing.assert_allclose(module.stream().step(x[0, 0]), x[0, 0], rtol=1e-12)


NETS = {
    "speech": lambda: Sequential(Conv1d(4, 6, 3, padding="same", seed=0), MaxPool1d(2), GRU(6, 5, seed=0),
                                 AttentionPooling(5, 3, seed=1), Linear(5, 2, seed=2)),
    "text": lambda: Sequential(Embedding(9, 4, seed=0), Conv1d(4, 6, 2, padding="same", seed=0), MaxOverTime(),
                               Linear(6, 2, seed=1)),
    "all": lambda: Sequential(GRU(4, 4, bidirectional=True, seed=0), AvgPool1d(3, 2, 1, count_include_pad=False),
                              Concat(MaxOverTime(), MeanOverTime(), AttentionPooling(8, seed=1), LastStep()),
                              Linear(32, 2, seed=2)),
}


@pytest.mark.parametrize("name", NETS)
def test_networks_train_and_are_kept(name, tmp_path):
    net, rng = NETS[name](), np.random.default_rng(0)
    lengths, classes = rng.integers(4, 10, 40), rng.integers(0, 2, 40)
    if name == "text":
        x = [np.where(rng.random(n) < 0.4, 7 + y, rng.integers(0, 7, n)) for n, y in zip(lengths, classes)]
    else:
        x = [normal(n, 4, seed=n) + 2 * y for n, y in zip(lengths, classes)]
    trainer = Trainer(net, optimizer=Adam(0.02), metrics=["accuracy"], seed=0)
    assert trainer.memory_estimate(x, classes) > 0
    assert trainer.fit(x, classes, epochs=25, batch_size=8, **QUIET)["accuracy"][-1] > 0.8
    before = trainer.predict(x, **QUIET)
    fastrnn.save(net, tmp_path / "m")
    for found in fastrnn.load(tmp_path / "m"), copy.deepcopy(net):
        assert found.config() == net.config() and repr(found) == repr(net)
        np.testing.assert_array_equal(Trainer(found).predict(x, **QUIET), before)


def test_attention_sees_written_and_loaded_parameters():
    module = AttentionPooling(4, batch_first=True, seed=0)
    x = normal(2, 5, 4, dtype="float32")
    before = module(x)
    for name in module.params:
        held = module.params[name]
        held += 0.5
        changed = module(x)
        assert not np.array_equal(changed, before), name
        held -= 0.25
        assert not np.array_equal(module(x), changed), name
        before = module(x)
    module.load_state_dict({name: np.zeros(p.shape) for name, p in module.params.items()})
    np.testing.assert_allclose(module(x), x.mean(1), rtol=1e-5)
    module.freeze("context")
    assert module.frozen == ("context",)


X = np.zeros((2, 7, 3))
BAD = {
    "kernel_size": (lambda: MaxPool1d(0), ValueError, r"^kernel_size: expected an int of at least 1, found 0"),
    "stride": (lambda: AvgPool1d(2, 0), ValueError, r"^stride: expected an int of at least 1, found 0"),
    "padding": (lambda: MaxPool1d(3, padding=2), ValueError, r"^padding: expected an int of at most 1, found 2"),
    "padding of a mean": (lambda: AvgPool1d(5, padding=3), ValueError, r"^padding: expected an int of at most 2"),
    "a word": (lambda: MaxPool1d(3, padding="same"), TypeError, r"^padding: expected an int, found 'same'"),
    "dilation": (lambda: MaxPool1d(3, dilation=0.5), TypeError, r"^dilation: expected an int, found 0\.5"),
    "count": (lambda: AvgPool1d(3, count_include_pad=1), TypeError, r"^count_include_pad: expected True or False"),
    "short": (lambda: MaxPool1d(9)(X), ValueError, r"^lengths: expected sequences of at least 9 steps, or none, for t"),
    "axes": (lambda: AvgPool1d(2)(np.zeros(3)), ValueError, r"^x: expected two axes, or three with a batch"),
    "stream": (lambda: MaxPool1d(2).stream(), TypeError, r"expected one with a stream, found MaxPool1d, which needs"),
    "lanes": (lambda: Trainer(Sequential(AvgPool1d(1), GRU(2, 2)), "mse").fit(LaneStream(X[0, :, :2], 2, 2), **QUIET),
              ValueError, r"^a LaneStream: expected a model that takes a sequence part by part"),
    "features": (lambda: AttentionPooling(3)(X[..., :2]), ValueError, r"^x: expected shape \(\.\.\., 3\), found"),
    "a step": (lambda: AttentionPooling(3)(X[0, 0]), ValueError, r"^x: expected shape \(T, C\) or \(B, T, C\)"),
    "attention_size": (lambda: AttentionPooling(3, 0), ValueError, r"^attention_size: expected an int of at least 1"),
    "init": (lambda: AttentionPooling(3, init={"key": 1}), ValueError, r"^init: expected 'default', an initialiser, o"),
    "behind": (lambda: Sequential(MaxOverTime(), MaxPool1d(2)), ValueError, r"^modules\[1\]: expected no module that"),
    "lengths": (lambda: AttentionPooling(3)(X[0], lengths=[7]), ValueError, r"^lengths: expected None with unbatched"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments(name):
    call, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        call()
