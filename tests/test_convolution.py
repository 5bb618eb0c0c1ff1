"""Conv1d: values, lengths, gradients, torch, streams, networks, training, and bad arguments."""

import copy
import pickle

import numpy as np
import pytest
import reference_layers as reference
from gradcheck import check_gradients
from tolerances import relative_error, tolerance

import fastrnn
from fastrnn import (
    GRU,
    Adam,
    Concat,
    Conv1d,
    LaneStream,
    LastStep,
    Linear,
    ReLU,
    Residual,
    Sequential,
    Trainer,
)
from fastrnn.engine.ops import _products
from fastrnn.nn.layers import windows

QUIET = {"progress": False}
DOUBLE = {"dtype": "float64", "seed": 2}
# (in, out, kernel_size) and options
CASES = {
    "plain": ((3, 4, 3), {}),
    "one": ((3, 4, 1), {}),
    "one, strided": ((3, 4, 1), {"stride": 2}),
    "no bias": ((3, 2, 2), {"bias": False}),
    "stride": ((3, 4, 3), {"stride": 2}),
    "wide stride": ((2, 3, 2), {"stride": 3, "padding": 1}),
    "padding": ((3, 4, 3), {"padding": 2}),
    "dilation": ((3, 4, 3), {"dilation": 2, "padding": 1}),
    "groups": ((4, 6, 3), {"groups": 2, "padding": 1}),
    "depthwise": ((4, 4, 3), {"groups": 4, "padding": 1, "stride": 2}),
    "multiplied": ((3, 6, 2), {"groups": 3}),
    "same": ((3, 4, 3), {"padding": "same"}),
    "same, even": ((3, 4, 4), {"padding": "same"}),
    "same, dilated": ((3, 4, 2), {"padding": "same", "dilation": 3}),
    "valid": ((3, 4, 2), {"padding": "valid"}),
    "causal": ((3, 4, 3), {"padding": "causal"}),
    "causal, dilated": ((3, 4, 3), {"padding": "causal", "dilation": 2}),
    "causal, strided": ((3, 4, 3), {"padding": "causal", "stride": 2}),
    "causal groups": ((4, 2, 2), {"padding": "causal", "groups": 2}),
    "all": ((4, 6, 3), {"stride": 2, "padding": 3, "dilation": 2, "groups": 2}),
}
STREAMED = {
    "causal": CASES["causal"], "causal, dilated": CASES["causal, dilated"], "causal groups": CASES["causal groups"],
    "one": CASES["one"], "wide": ((16, 33, 5), {"padding": "causal"}),
}
each_case = pytest.mark.parametrize("name", CASES)


def normal(*shape, dtype="float64", seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def make(name, **more):
    sizes, options = {**CASES, **STREAMED}[name]
    module = Conv1d(*sizes, **options, **{"batch_first": True, **DOUBLE, **more})
    for key, p in module.params.items():
        p[...] = normal(*p.shape, seed=len(key))
    return module


def around(module):
    reach = module.dilation * (module.kernel_size - 1)
    return {"same": (reach // 2, reach - reach // 2), "causal": (reach, 0), "valid": (0, 0)}.get(
        module.padding, (module.padding,) * 2)


def expected(module, x):
    left, right = around(module)
    return reference.conv1d(x, module.params["weight"].astype(float), module.params.get("bias"), module.stride, left,
                            right, module.dilation, module.groups)


def shortest(module):
    return max(module.dilation * (module.kernel_size - 1) + 1 - sum(around(module)), 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@each_case
def test_values(name, dtype):
    module = make(name, dtype=dtype)
    x = normal(3, 9, module.in_channels, dtype=dtype)
    y = module(x)
    assert y.dtype == dtype
    assert relative_error(y, np.stack([expected(module, row) for row in x])) < tolerance(f"layers, {dtype}")
    np.testing.assert_array_equal(module(x[1]), y[1])
    assert y.tobytes() == module.forward(x)[0].tobytes()
    assert module.output_lengths(np.array([9, 0])).tolist() == [y.shape[1], 0]
    assert module(x[:0]).shape == (0, *y.shape[1:]) and module(x[:, :0]).shape == (3, 0, module.out_channels)


@pytest.mark.parametrize("block", [None, 20])
@pytest.mark.parametrize("batch_first", [True, False])
@each_case
def test_gradients_and_lengths(name, batch_first, block, monkeypatch):
    if block:
        monkeypatch.setattr(windows, "BLOCK", block)
    module = make(name, batch_first=batch_first)
    for lengths in None, [8, 0, max(5, shortest(module)), shortest(module)]:
        x = normal(4, 8, module.in_channels, seed=1)
        for row, n in zip(x, lengths or []):
            row[n:] = np.nan
        if not batch_first:
            x = np.ascontiguousarray(x.swapaxes(0, 1))
        before = x.copy()
        y, state, tape = module.forward(x, lengths=lengths)
        assert state is None and y.tobytes() == module(x, lengths=lengths).tobytes()
        rows, of = (a if batch_first else a.swapaxes(0, 1) for a in (y, x))
        counts = module.output_lengths(np.array(lengths or [8] * 4))
        for row, found, n, count in zip(of, rows, lengths or [8] * 4, counts):
            if n:
                np.testing.assert_allclose(found[:count], expected(module, row[:n]), rtol=1e-12, atol=1e-13)
            assert not found[count:].any()
        dy = normal(*y.shape, seed=3)
        valid = (np.arange(rows.shape[1]) < counts[:, None])[..., None]
        weight = dy * (valid if batch_first else valid.swapaxes(0, 1))
        dy[weight == 0] = np.nan
        module.zero_grad()
        dx, _ = module.backward(tape, dy)
        np.testing.assert_array_equal(x, before)
        for row, n in zip(dx if batch_first else dx.swapaxes(0, 1), lengths or []):
            assert not row[n:].any()
        x[np.isnan(x)] = 0.5
        check_gradients(lambda: float((module(x, lengths=lengths) * weight).sum()),  # noqa: B023
                        {**module.params, "x": x}, {**module.grads, "x": dx})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@each_case
def test_torch(name, dtype):
    torch = pytest.importorskip("torch")
    module = make(name, dtype=dtype)
    if module.padding == "causal":
        pytest.skip("torch has none")
    sizes, options = CASES[name]
    theirs = torch.nn.Conv1d(*sizes, **options, dtype=getattr(torch, dtype))
    module.load_state_dict(theirs.state_dict())
    x, dy = normal(3, 9, sizes[0], dtype=dtype), None
    tensor = torch.tensor(x.swapaxes(1, 2).copy(), requires_grad=True)
    wanted = theirs(tensor)
    y, _, tape = module.forward(x)
    dy = normal(*y.shape, dtype=dtype, seed=4)
    wanted.backward(torch.tensor(dy.swapaxes(1, 2).copy()))
    dx, _ = module.backward(tape, dy)
    limit = tolerance(f"torch, {dtype}")
    assert relative_error(y, wanted.detach().numpy().swapaxes(1, 2)) < limit
    assert relative_error(dx, tensor.grad.numpy().swapaxes(1, 2)) < limit
    for key, p in theirs.named_parameters():
        assert relative_error(module.grads[key], p.grad.numpy()) < limit


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", STREAMED)
def test_a_stream_has_the_bits_of_the_whole(name, batch, dtype):
    module = make(name, dtype=dtype)
    x = normal(batch, 23, module.in_channels, dtype=dtype)
    whole = module(x)
    stream = module.stream(batch)
    for t in range(4):
        assert stream.step(x[:, t]).tobytes() == whole[:, t].tobytes()
    twin, kept = stream.copy(), stream.state
    out = np.empty((batch, module.out_channels), dtype)
    assert stream.step(x[:, 4], out) is out and out.tobytes() == whole[:, 4].tobytes()
    assert stream.run(x[:, 5:7]).tobytes() == whole[:, 5:7].tobytes()
    assert stream.run(x[:, 7:7]).shape == (batch, 0, module.out_channels)
    assert np.ascontiguousarray(stream.run(x[:, 7:])).tobytes() == whole[:, 7:].tobytes()
    for wrong in (x[:, 4, :1], "x", np.zeros((batch + 1, module.in_channels)), np.zeros((batch, 1, 1, 1))):
        with pytest.raises((ValueError, TypeError)):
            twin.step(wrong)
    for out in np.empty((7, 7)), [0.0]:
        with pytest.raises((ValueError, TypeError), match=r"^out: expected"):
            twin.step(x[:, 4], out)
    assert twin.step(x[:, 4]).tobytes() == whole[:, 4].tobytes(), "an error left the state as it was"
    twin.state = kept
    kept += 1
    assert twin.step(x[:, 4]).tobytes() == whole[:, 4].tobytes()
    twin.reset()
    assert twin.step(x[:, 0]).tobytes() == whole[:, 0].tobytes()
    with pytest.raises(ValueError, match=r"^state: expected shape"):
        twin.state = np.zeros((batch, 7, 1))
    if batch == 1:
        single = module.stream()
        assert single.step(x[0, 0]).tobytes() == whole[0, 0].tobytes()
        assert single.run(x[0, 1:]).tobytes() == whole[0, 1:].tobytes()


def test_it_sees_written_and_loaded_parameters():
    module = Conv1d(3, 4, 2, groups=1, batch_first=True, seed=0)
    x = normal(1, 5, 3, dtype="float32")
    held = module.params["weight"]
    before = module(x)
    held *= 2
    assert not np.array_equal(module(x), before)
    held /= 2
    assert module(x).tobytes() == before.tobytes()
    module.load_state_dict({"weight": np.zeros((4, 3, 2)), "bias": np.arange(4)})
    np.testing.assert_array_equal(module(x)[0, 0], np.arange(4))


def test_a_sequence_has_the_same_bits_in_any_batch():
    module = Conv1d(13, 29, 5, padding="same", batch_first=True, seed=0)
    x = normal(40, 31, 13, dtype="float32")
    whole = module(x)
    for part in slice(0, 1), slice(7, 19):
        assert module(x[part]).tobytes() == whole[part].tobytes()
    lengths = np.random.default_rng(0).integers(1, 32, 40)
    ragged = module(x, lengths=lengths)
    for row, found, n in zip(x, ragged, lengths):
        assert found[:n].tobytes() == module(row[:n]).tobytes()


NETS = {
    "front end": lambda: Sequential(Conv1d(3, 4, 3, padding="same", **DOUBLE), ReLU(), GRU(4, 3, **DOUBLE),
                                    Linear(3, 2, **DOUBLE)),
    "subsampled": lambda: Sequential(Linear(3, 3, **DOUBLE), Conv1d(3, 4, 3, stride=2, padding=1, **DOUBLE),
                                     GRU(4, 3, bidirectional=True, **DOUBLE), Linear(6, 2, **DOUBLE)),
    "temporal": lambda: Sequential(
        *(Residual(Sequential(Conv1d(3, 3, 2, padding="causal", dilation=d, **DOUBLE), ReLU())) for d in (1, 2)),
        Linear(3, 2, **DOUBLE)),
    "text": lambda: Sequential(
        Concat(Conv1d(3, 2, 2, padding="same", **DOUBLE), Conv1d(3, 2, 3, padding="same", **DOUBLE)), LastStep(),
        Linear(4, 2, **DOUBLE)),
}
LENGTHS = [7, 0, 3, 4]


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("name", NETS)
def test_networks(name, batch_first):
    net = NETS[name]()
    net.batch_first = batch_first
    x = normal(4, 7, 3)
    filled = x.copy()
    for row, n in zip(filled, LENGTHS):
        row[n:] = np.nan
    filled = filled if batch_first else np.ascontiguousarray(filled.swapaxes(0, 1))

    def call(*args, **options):
        y = net(*args, **options)
        return y[0] if net.recurrent else y

    y = call(filled, lengths=LENGTHS)
    found = call([row[:n] for row, n in zip(x, LENGTHS)])
    counts = net.output_lengths(np.array(LENGTHS))
    for k, n in enumerate(LENGTHS):
        alone = call(x[k, :n])
        row = y[k] if net.pools_time else (y[k] if batch_first else y[:, k])[: counts[k]]
        for one in row, found[k]:
            np.testing.assert_allclose(one, alone, rtol=1e-11, atol=1e-13)
    y, _, tape = net.forward(filled, None, LENGTHS)
    dy = normal(*y.shape, seed=4)
    dx, _ = net.backward(tape, dy)
    filled[np.isnan(filled)] = 0.5
    check_gradients(lambda: float((net.forward(filled, None, LENGTHS)[0] * dy).sum()), {**net.params, "x": filled},
                    {**net.grads, "x": dx})


def test_a_temporal_convolutional_network_streams():
    net = NETS["temporal"]()
    x = normal(2, 9, 3)
    whole = net(x)
    stream = net.stream(2)
    for t in range(3):
        assert stream.step(x[:, t]).tobytes() == whole[:, t].tobytes()
    twin = stream.copy()
    assert np.ascontiguousarray(stream.run(x[:, 3:])).tobytes() == whole[:, 3:].tobytes()
    assert np.ascontiguousarray(twin.run(x[:, 3:])).tobytes() == whole[:, 3:].tobytes()


@pytest.mark.parametrize("name", NETS)
def test_files_and_copies(name, tmp_path):
    net = NETS[name]()
    net.freeze("0.*")
    fastrnn.save(net, tmp_path / "m")
    for found in fastrnn.load(tmp_path / "m"), copy.deepcopy(net), pickle.loads(pickle.dumps(net)):
        assert found.config() == net.config() and repr(found) == repr(net) and found.frozen == net.frozen
        for key, p in net.params.items():
            assert p.tobytes() == found.params[key].tobytes()


def test_training_through_a_stride_with_ctc():
    """Subsampled frames, as speech recognisers have them; sequences and label counts differ."""
    rng = np.random.default_rng(0)
    labels = [rng.integers(1, 4, n) for n in rng.integers(1, 4, 60)]
    x = [np.repeat(np.eye(4)[y], 6, axis=0) + 0.1 * normal(6 * len(y), 4) for y in labels]
    net = Sequential(Conv1d(4, 12, 3, stride=2, padding=1, seed=0), ReLU(), GRU(12, 12, seed=0), Linear(12, 4, seed=1))
    trainer = Trainer(net, "ctc", Adam(0.02), seed=0)
    history = trainer.fit(x, labels, epochs=25, batch_size=8, validation_data=(x, labels), **QUIET)
    assert history["val_loss"][-1] < 0.3 * history["val_loss"][0]
    found = trainer.predict(x, **QUIET)
    assert [len(y) for y in found] == [3 * len(y) for y in labels]
    padded, lengths = np.zeros((60, 18, 4)), [len(row) for row in x]
    for row, values in zip(padded, x):
        row[: len(values)] = values
    rows = trainer.predict(padded, lengths=lengths, **QUIET)
    assert rows.shape == (60, 9, 4)
    for row, one in zip(rows, found):
        np.testing.assert_allclose(row[: len(one)], one, atol=1e-5)
        assert not row[len(one):].any()
    batches = [(x[:30], labels[:30]), (x[30:], labels[30:])]
    np.testing.assert_allclose(trainer.evaluate(batches.__iter__(), **QUIET)["loss"],
                               trainer.evaluate(x, labels, **QUIET)["loss"], rtol=1e-5)
    assert [len(y) for y in trainer.predict((b for b in batches), **QUIET)] == [3 * len(y) for y in labels]


def test_training_of_a_classifier_and_its_memory():
    rng = np.random.default_rng(1)
    classes = rng.integers(0, 2, 80)
    x = np.sin((1 + classes[:, None]) * np.linspace(0, 6, 24) + rng.uniform(0, 6, (80, 1)))[..., None]
    net = Sequential(Conv1d(1, 8, 5, stride=3, seed=0), ReLU(), GRU(8, 8, seed=1), LastStep(), Linear(8, 2, seed=2))
    trainer = Trainer(net, optimizer=Adam(0.02), metrics=["accuracy"], seed=0)
    assert 32 * 7 * 8 * 4 * 3 < trainer.memory_estimate(x, classes) < 10**6
    assert trainer.fit(x, classes, epochs=25, **QUIET)["accuracy"][-1] > 0.9


REFUSED = {
    "too short": (lambda t: t(Conv1d(2, 2, 5)).predict([np.ones((7, 2)), np.ones((3, 2))], **QUIET),
                  r"^lengths: expected sequences of at least 5 steps, or none, for the windows of Conv1d, found one o"),
    "other steps": (lambda t: t(Conv1d(2, 2, 3)).fit(np.ones((4, 7, 2)), np.ones((4, 7, 2)), **QUIET),
                    r"^y: expected targets for ctc or one per sequence, as the model makes 5 steps of 7"),
    "tbptt": (lambda t: Trainer(Sequential(Conv1d(2, 2, 3, padding="causal"), GRU(2, 2)), "mse", tbptt=3).fit(
        np.ones((4, 7, 2)), np.ones((4, 7, 2)), **QUIET), r"^tbptt: expected a model that takes a sequence part by pa"),
    "lanes": (lambda t: t(Conv1d(2, 2, 3, padding="same")).fit(LaneStream(np.ones((40, 2)), 2, 5), **QUIET),
              r"^a LaneStream: expected a model that takes a sequence part by part, found a Conv1d"),
    "predict": (lambda t: t(Conv1d(2, 2, 5)).predict(np.ones((4, 3, 2)), **QUIET), r"^lengths: expected sequences of"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_training_refuses(name):
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        call(lambda module: Trainer(Sequential(module), "mse"))


X = np.zeros((2, 7, 3))
BAD = {
    "kernel_size": (lambda: Conv1d(3, 4, 0), ValueError, r"^kernel_size: expected an int of at least 1, found 0"),
    "stride": (lambda: Conv1d(3, 4, 2, 1.5), TypeError, r"^stride: expected an int, found 1\.5"),
    "dilation": (lambda: Conv1d(3, 4, 2, dilation=0), ValueError, r"^dilation: expected an int of at least 1"),
    "padding": (lambda: Conv1d(3, 4, 2, padding=-1), ValueError, r"^padding: expected an int of at least 0, found -1"),
    "a padding": (lambda: Conv1d(3, 4, 2, padding="full"), ValueError, r"^padding: expected one of 'valid', 'same', '"),
    "same": (lambda: Conv1d(3, 4, 2, 2, "same"), ValueError, r"^padding: expected another one than 'same' with stride"),
    "groups": (lambda: Conv1d(4, 6, 2, groups=4), ValueError, r"^groups: expected a divisor of out_channels=6, found"),
    "groups of x": (lambda: Conv1d(3, 4, 2, groups=2), ValueError, r"^groups: expected a divisor of in_channels=3, fo"),
    "padding_mode": (lambda: Conv1d(3, 4, 2, padding_mode="reflect"), ValueError, r"^padding_mode: expected one of 'z"),
    "bias": (lambda: Conv1d(3, 4, 2, bias=1), TypeError, r"^bias: expected True or False, found 1"),
    "init": (lambda: Conv1d(3, 4, 2, init="identity"), ValueError, r"^init\['weight'\]: expected a matrix for 'identi"),
    "features": (lambda: Conv1d(3, 4, 2)(X[..., :2]), ValueError, r"^x: expected shape \(\.\.\., 3\), found \(2, 7, 2"),
    "axes": (lambda: Conv1d(3, 4, 2)(np.zeros((2, 2, 2, 3))), ValueError, r"^x: expected shape \(T, C\) or \(B, T, C"),
    "one step": (lambda: Conv1d(3, 4, 2)(np.zeros(3)), ValueError, r"^x: expected shape \(T, C\) or \(B, T, C\)"),
    "short": (lambda: Conv1d(3, 4, 9)(X), ValueError, r"^lengths: expected sequences of at least 9 steps, or none"),
    "a short one": (lambda: Conv1d(3, 4, 5, batch_first=True)(X, lengths=[7, 4]), ValueError, r"found one of 4$"),
    "lengths": (lambda: Conv1d(3, 4, 2)(X[0], lengths=[3]), ValueError, r"^lengths: expected None with unbatched x"),
    "stream": (lambda: Conv1d(3, 4, 2).stream(), ValueError, r"^padding: expected 'causal' in a stream, .* found 0$"),
    "same stream": (lambda: Sequential(Conv1d(3, 4, 2, padding="same")).stream(), ValueError, r"^padding: expected 'c"),
    "strided stream": (lambda: Conv1d(3, 4, 2, 2, "causal").stream(), ValueError, r"^stride: expected 1 in a stream"),
    "a changed size": (lambda: setattr(Conv1d(3, 4, 2), "stride", 2), TypeError, r"^stride: fixed when the Conv1d was"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments(name):
    call, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        call()


def test_initialisers():
    weight = Conv1d(8, 16, 5, init="orthogonal", dtype="float64", seed=0).params["weight"].reshape(16, 40)
    np.testing.assert_allclose(weight @ weight.T, np.eye(16), atol=1e-12)
    for name, variance in (("glorot_normal", 2 / (400 + 200)), ("he_normal", 2 / 400), ("uniform", 1 / 400 / 3)):
        weight = Conv1d(80, 40, 5, init=name, seed=0).params["weight"]
        assert abs(weight.var() / variance - 1) < 0.05, name


def test_packings_of_another_layer_are_refused():
    one, other = Conv1d(3, 4, 2, groups=1), Conv1d(4, 4, 2, groups=2)
    dx, dy = np.zeros((5, 6), "f"), np.zeros((5, 4), "f")
    for packings in (other._watched.backward_packings(), Linear(3, 4)._watched.backward_packings(), (), (3,)):
        with pytest.raises(ValueError, match=r"^packings: expected"):
            one._watched.backward_input(dx, dy, 0, packings)
    with pytest.raises(ValueError, match=r"^group: expected an int in 0 \.\. 0, found 1"):
        one._watched.forward(np.zeros((5, 4), "f"), dx, 1)
    with pytest.raises(ValueError, match=r"^groups: expected a divisor of 4, found 3"):
        _products.PackedLinear(dict(one.params), 3)
