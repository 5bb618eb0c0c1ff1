"""Residual, Concat, Reverse and Flatten: values, gradients, lengths, streams, files, training, and bad arguments."""

import copy
import pickle

import numpy as np
import pytest
from gradcheck import check_gradients
from tolerances import tolerance

import fastrnn
from fastrnn import (
    GRU,
    LSTM,
    Adam,
    Concat,
    Dropout,
    Embedding,
    Flatten,
    GRUCell,
    LaneStream,
    LastStep,
    LayerNorm,
    Linear,
    MeanOverTime,
    ReLU,
    Residual,
    Reverse,
    Seq2Seq,
    Sequential,
    Trainer,
)
from fastrnn.diagnostics import diagnose

LENGTHS = [5, 0, 3]
DOUBLE = {"dtype": "float64", "seed": 2}
QUIET = {"progress": False}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


X = normal(3, 5, 3)
IDS = np.random.default_rng(1).integers(0, 6, (3, 5))


def block(width):
    return Sequential(LayerNorm(width, dtype="float64"), Linear(width, 4, **DOUBLE), ReLU(), Linear(4, width, **DOUBLE))


# name -> (network of float64, input)
NETWORKS = {
    "residual": (lambda: Residual(block(3)), X),
    "residual GRU": (lambda: Sequential(Residual(GRU(3, 3, **DOUBLE)), Linear(3, 2, **DOUBLE)), X),
    "residuals": (lambda: Sequential(Linear(3, 4, **DOUBLE), Residual(LSTM(4, 4, **DOUBLE)), Residual(block(4)),
                                     LastStep(), Linear(4, 2, **DOUBLE)), X),
    "concat": (lambda: Concat(GRU(3, 2, **DOUBLE), Linear(3, 3, **DOUBLE), LSTM(3, 1, **DOUBLE)), X),
    "concat of ids": (lambda: Sequential(Concat(Embedding(6, 3, **DOUBLE), Embedding(6, 2, **DOUBLE)),
                                         GRU(5, 3, **DOUBLE)), IDS),
    "pooled": (lambda: Sequential(LSTM(3, 4, bidirectional=True, **DOUBLE), Concat(LastStep(), MeanOverTime()),
                                  Linear(16, 2, **DOUBLE)), X),
    "nested": (lambda: Sequential(Concat(Residual(Linear(3, 3, **DOUBLE)), Sequential(Reverse(), GRU(3, 2, **DOUBLE),
                                                                                       Reverse())),
                                  Linear(5, 2, **DOUBLE)), X),
    "reverse": (lambda: Sequential(Reverse(), GRU(3, 4, **DOUBLE), Reverse(), Linear(4, 2, **DOUBLE)), X),
}
STREAMED = ["residual", "residual GRU", "residuals", "concat", "concat of ids"]


def flat(state, name="state"):
    if state is None:
        return {}
    if isinstance(state, tuple):
        return {key: a for k, part in enumerate(state) for key, a in flat(part, f"{name}[{k}]").items()}
    return {name: state}


def output(net, *args, **options):
    y = net(*args, **options)
    return y[0] if net.recurrent else y


@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("name", NETWORKS)
def test_gradients(name, lengths):
    build, x = NETWORKS[name]
    net = build()
    for key, p in net.params.items():
        p += 0.1 * normal(*p.shape, seed=len(key))
    x = x.copy()
    y, state, tape = net.forward(x, None, lengths)
    dy = normal(*y.shape, seed=4)
    random = {key: normal(*a.shape, seed=5) for key, a in flat(state).items()}

    def like(part, at):
        if isinstance(part, tuple):
            return tuple(like(one, f"{at}[{k}]") for k, one in enumerate(part))
        return None if part is None else random[at]

    def loss():
        found, final, _ = net.forward(x, None, lengths)
        return float((found * dy).sum() + sum((a * random[key]).sum() for key, a in flat(final).items()))

    dx, _ = net.backward(tape, dy, like(state, "state"))
    arrays, gradients = dict(net.params), dict(net.grads)
    if x.dtype.kind == "f":
        arrays["x"], gradients["x"] = x, dx
    else:
        assert dx is None
    check_gradients(loss, arrays, gradients)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_lists_lengths_and_layouts(name, batch_first):
    build, x = NETWORKS[name]
    net = build()
    net.batch_first = batch_first
    padded = x if batch_first else x.swapaxes(0, 1)
    filled = padded.copy()
    if x.dtype.kind == "f":
        for b, n in enumerate(LENGTHS):
            filled[(b, slice(n, None)) if batch_first else (slice(n, None), b)] = np.nan
    y = output(net, filled, lengths=LENGTHS)
    rows = y if batch_first or net.pools_time else y.swapaxes(0, 1)
    found = output(net, [row[:n] for row, n in zip(x, LENGTHS)])
    trained = net.forward(filled, None, LENGTHS)[0]
    np.testing.assert_allclose(trained, y, rtol=tolerance("layers, float64"), atol=1e-15)
    for row, listed, sequence, n in zip(rows, found, x, LENGTHS):
        alone = output(net, sequence[:n])
        for found in listed, row if net.pools_time else row[:n]:
            np.testing.assert_allclose(found, alone, rtol=tolerance("layers, float64"), atol=1e-15)
        assert net.pools_time or not row[n:].any()


def test_values_are_sums_and_joins():
    gru, linear = GRU(3, 3, batch_first=True, **DOUBLE), Linear(3, 2, **DOUBLE)
    np.testing.assert_array_equal(Residual(copy.deepcopy(gru))(X)[0], X + gru(X)[0])
    y, state = Concat(gru, linear)(X)
    np.testing.assert_array_equal(y, np.concatenate([gru(X)[0], linear(X)], -1))
    np.testing.assert_array_equal(state[0], gru(X)[1])
    assert state[1] is None
    assert Residual(Linear(3, 3))(X).dtype == np.float32 and Concat(Linear(3, 3), Dropout())(X).dtype == np.float32
    assert Residual(ReLU())(X).dtype == np.float64


def test_states_go_on():
    net = NETWORKS["residuals"][0]().modules[1]
    x = normal(3, 6, 4)
    whole, final = net(x)
    first, state = net(x[:, :2])
    rest, last = net(x[:, 2:], state)
    np.testing.assert_allclose(np.concatenate([first, rest], 1), whole, rtol=1e-12)
    np.testing.assert_allclose(last[0][1], final[0][1], rtol=1e-12)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", STREAMED)
def test_streams_are_the_call(name, batch):
    build, x = NETWORKS[name]
    net, x = build(), x[:batch]
    expected = (lambda t: output(net, x[:, :t])) if net.pools_time else (lambda t: output(net, x)[:, t - 1])
    stream = net.stream(batch)
    for t in range(2):
        assert stream.step(x[:, t]).tobytes() == expected(t + 1).tobytes()
    twin, kept = stream.copy(), stream.state
    out = np.empty(expected(3).shape)
    assert stream.step(x[:, 2], out=out) is out
    assert out.tobytes() == expected(3).tobytes() == twin.step(x[:, 2]).tobytes()
    if not net.pools_time:
        assert np.ascontiguousarray(stream.run(x[:, 3:])).tobytes() == output(net, x)[:, 3:].tobytes()
    twin.state = kept
    for wrong in (x[:, 2, ..., None], "x"):
        with pytest.raises((ValueError, TypeError)):
            twin.step(wrong)
    with pytest.raises((ValueError, TypeError), match=r"^out: expected"):
        twin.step(x[:, 2], out=np.empty(7))
    assert twin.step(x[:, 2]).tobytes() == expected(3).tobytes(), "an error left the state as it was"
    stream.reset()
    assert stream.step(x[:, 0]).tobytes() == expected(1).tobytes()


@pytest.mark.parametrize("name", NETWORKS)
def test_files_copies_and_frozen_parameters(name, tmp_path):
    build, x = NETWORKS[name]
    net = build()
    net.freeze(next(iter(net.params)))
    fastrnn.save(net, tmp_path / "m")
    for found in fastrnn.load(tmp_path / "m"), copy.deepcopy(net), pickle.loads(pickle.dumps(net)):
        assert found.config() == net.config() and repr(found) == repr(net) and found.frozen == net.frozen != ()
        np.testing.assert_array_equal(output(found, x), output(net, x))
        assert found.params.keys() == net.params.keys() and not any(
            np.shares_memory(p, net.params[key]) for key, p in found.params.items())


def test_dropout_inside_draws_from_the_networks_generator():
    net = Sequential(Concat(Dropout(0.5), Residual(Sequential(Linear(3, 3, seed=0), Dropout(0.5)))))
    found = []
    for _ in range(2):
        net.set_rng(np.random.default_rng(8))
        found.append(net.forward(X)[0])
    np.testing.assert_array_equal(*found)
    net.batch_first = False
    assert not net.modules[0].batch_first


def test_a_backward_pass_that_fails_leaves_the_tape():
    net = Concat(GRU(3, 2, **DOUBLE), Linear(3, 3, **DOUBLE))
    y, _, tape = net.forward(X)
    with pytest.raises(ValueError, match=r"^dy: expected shape \(3, 5, 5\)"):
        net.backward(tape, y[:, :2])
    net.backward(tape, y)
    with pytest.raises(ValueError, match="tape: expected one from a new forward"):
        net.backward(tape, y)
    _, _, tape = net.forward(X)
    assert net.backward(tape) == (None, (None, None))


def test_long_skips_train():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 4, (120, 6))
    blocks = [Residual(Sequential(LayerNorm(8), GRU(8, 8, seed=k))) for k in range(3)]
    net = Sequential(Embedding(4, 8, seed=0), *blocks, Concat(LastStep(), MeanOverTime()), Linear(16, 4, seed=9))
    trainer = Trainer(net, optimizer=Adam(0.01), metrics=["accuracy"], seed=0)
    assert trainer.memory_estimate(x, x[:, 0]) > 32 * 6 * 8 * 4 * 6
    history = trainer.fit([row[:n] for row, n in zip(x, rng.integers(3, 7, 120))], x[:, 0], epochs=25, **QUIET)
    assert history["accuracy"][-1] > 0.95


@pytest.mark.parametrize("tbptt", [3, (2, 3)])
def test_truncated_bptt_and_lanes_carry_the_states(tbptt):
    lanes = LaneStream(normal(60, 3), 2, tbptt, normal(60, 5, seed=1), dtype="float64")
    net = NETWORKS["concat"][0]()
    net = Concat(*net.modules[:2])
    trainer = Trainer(net, "mse", Adam(0.02), seed=0)
    before = trainer.evaluate(lanes, **QUIET)["loss"]
    trainer.fit(lanes, epochs=5, **QUIET)
    assert trainer.evaluate(lanes, **QUIET)["loss"] < before
    for layer in Reverse(), Concat(Reverse()):
        with pytest.raises(ValueError, match=r"a LaneStream: expected a model that takes a sequence part by part, "
                                             "found a (Reverse|Concat), which needs whole sequences"):
            Trainer(Sequential(layer, GRU(3, 5, seed=0)), "mse").fit(lanes, **QUIET)


# Reverse and Flatten


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_reverse(lengths, batch_first):
    for x in X, IDS:
        module = Reverse(batch_first=batch_first)
        given = x if batch_first else np.ascontiguousarray(x.swapaxes(0, 1))
        y = module(given, lengths=lengths)
        assert y.dtype == x.dtype
        rows = y if batch_first else y.swapaxes(0, 1)
        for row, found, n in zip(x, rows, lengths or [5] * 3):
            np.testing.assert_array_equal(found[:n], row[:n][::-1])
            assert not found[n:].any()
    y, _, tape = module.forward(X if batch_first else X.swapaxes(0, 1), lengths=lengths)
    dy = normal(*y.shape, seed=3)
    np.testing.assert_array_equal(module.backward(tape, dy)[0], module(dy, lengths=lengths))
    np.testing.assert_array_equal(module(X[0]), X[0, ::-1])
    np.testing.assert_array_equal(module(IDS[0]), IDS[0, ::-1])
    assert module(X[:0]).shape == (0, 5, 3) and module(X[0, :0]).shape == (0, 3)


def test_a_reversed_runner_is_one_that_reads_backwards():
    gru = GRU(3, 4, direction="reverse", batch_first=True, **DOUBLE)
    plain = GRU(3, 4, **DOUBLE)
    plain.load_state_dict({name.removesuffix("_reverse"): p for name, p in gru.params.items()})
    net = Sequential(Reverse(), plain, Reverse())
    np.testing.assert_allclose(net(X, lengths=LENGTHS)[0], gru(X, lengths=LENGTHS)[0], rtol=1e-12)
    ends = [Sequential(gru, LastStep()), Sequential(net, LastStep()), Sequential(Reverse(), plain, LastStep())]
    first, *others = [output(end, X, lengths=LENGTHS) for end in ends]
    for other in others:
        np.testing.assert_allclose(other, first, rtol=1e-12)


def test_last_step_of_branches():
    both = Sequential(GRU(3, 4, bidirectional=True, seed=0), Concat(LastStep(), Sequential(Dropout(0.1), LastStep())))
    assert both.modules[1].modules[0].direction == both.modules[1].modules[1].modules[1].direction == "bidirectional"
    for branches in (Concat(GRU(3, 4), GRU(3, 4, direction="reverse")),
                     Concat(GRU(3, 4), LSTM(3, 4, bidirectional=True)),
                     Sequential(GRU(3, 4, bidirectional=True), Reverse()),
                     Sequential(GRU(3, 3, direction="reverse"), Residual(GRU(3, 3)))):
        with pytest.raises(ValueError, match=r"^LastStep: expected features .* say LastStep\(direction=\.\.\.\)"):
            Sequential(branches, LastStep())
        assert Sequential(branches, LastStep(direction="reverse")).modules[1].direction == "reverse"
    assert Sequential(Concat(GRU(3, 4, direction="reverse"), Dropout()), LastStep()).modules[1].direction == "reverse"
    assert Sequential(Residual(GRU(3, 3, direction="reverse")), LastStep()).modules[1].direction == "reverse"


@pytest.mark.parametrize("batch_first", [True, False])
def test_flatten(batch_first):
    module = Flatten(batch_first=batch_first)
    x = X if batch_first else np.ascontiguousarray(X.swapaxes(0, 1))
    np.testing.assert_array_equal(module(x), X.reshape(3, 15))
    np.testing.assert_array_equal(module(X[1]), X[1].ravel())
    np.testing.assert_array_equal(module(x, lengths=[4, 4, 4]), X[:, :4].reshape(3, 12))
    np.testing.assert_array_equal(Sequential(Flatten(), batch_first=batch_first)([row[:2] for row in X]),
                                  X[:, :2].reshape(3, 6))
    for lengths in None, [2, 2, 2]:
        y, _, tape = module.forward(x, lengths=lengths)
        dy = normal(*y.shape, seed=1)
        dx, _ = module.backward(tape, dy)
        check_gradients(lambda: float((module(x, lengths=lengths) * dy).sum()), {"x": x}, {"x": dx})  # noqa: B023
    assert module.backward(module.forward(X[1])[2], np.ones(15))[0].shape == (5, 3)
    assert module(x[:, :0] if batch_first else x[:0]).shape == (3, 0)
    with pytest.raises(ValueError, match=r"^lengths: expected one length of all sequences for Flatten, found 0 to 5"):
        module(x, lengths=LENGTHS)


def test_all_steps_into_one_linear_layer_as_published_for_mnist_1d():
    rng = np.random.default_rng(6)
    t = np.linspace(0, 1, 20)
    classes = rng.integers(0, 3, 90)
    x = np.sin(2 * np.pi * (classes[:, None] + 1) * t + rng.uniform(0, 6, (90, 1)))
    net = Sequential(GRU(1, 6, bidirectional=True, seed=0), Flatten(), Linear(20 * 12, 3, seed=1))
    trainer = Trainer(net, optimizer=Adam(0.01), metrics=["accuracy"], seed=0)
    assert trainer.memory_estimate(x, classes) > 32 * 20 * 12 * 4
    history = trainer.fit(x, classes, epochs=15, validation_split=0.2, **QUIET)
    assert history["val_accuracy"][-1] > 0.9
    assert trainer.predict(x, **QUIET).shape == (90, 3)
    np.testing.assert_array_equal(trainer.predict(list(x), **QUIET), trainer.predict(x, **QUIET))
    for X, message in ((x[:, :19], r"x: expected shape \(\.\.\., 240\)"),
                       ([*x[:89], x[89, :7]], "lengths: expected one length of all sequences for Flatten")):
        with pytest.raises(ValueError, match=message):
            trainer.fit(X, classes, **QUIET)


def test_diagnosis_leaves_the_generators_inside():
    dropout = Dropout(0.5, seed=3)
    net = Sequential(GRU(3, 3, seed=0), Residual(Sequential(Linear(3, 3, seed=1), dropout)))
    net.forward(X)
    state = dropout.rng.bit_generator.state
    diagnose(net, X, X, loss="mse")
    assert dropout.rng.bit_generator.state == state


LINEAR = Linear(3, 3, seed=0)
BAD = {
    "no module": (lambda: Residual(3), TypeError, r"^modules\[0\]: expected a fastrnn module, found int"),
    "nothing": (lambda: Concat(), ValueError, r"^modules: expected at least one module, found none"),
    "a cell": (lambda: Concat(GRUCell(3, 4)), TypeError, r"^modules\[0\]: expected a module that takes all steps"),
    "a decoder": (lambda: Residual(Seq2Seq(5, 5)), TypeError, r"^modules\[0\]: expected a module that needs no"),
    "twice": (lambda: Concat(LINEAR, LINEAR), ValueError, r"^modules\[1\]: expected a module of its own"),
    "dtypes": (lambda: Concat(LINEAR, Linear(3, 2, dtype="float64")), ValueError, r"^modules: expected one dtype"),
    "ids": (lambda: Residual(Embedding(3, 3)), TypeError, r"^module: expected one that takes numbers"),
    "ids and numbers": (lambda: Concat(Embedding(3, 3), LINEAR), ValueError,
                        r"^modules: expected modules that all take ids, or none of them, found Embedding: True"),
    "pooled": (lambda: Residual(LastStep()), ValueError, r"^module: expected one with an output for every step"),
    "some pooled": (lambda: Concat(LastStep(), LINEAR), ValueError, r"^modules: expected modules that all pool"),
    "width": (lambda: Residual(Linear(3, 2))(X), ValueError,
              r"^module: expected an output of the shape of x, \(3, 5, 3\), found \(3, 5, 2\)"),
    "batch_first": (lambda: Concat(LINEAR, batch_first=1), TypeError, r"^batch_first: expected True or False, found 1"),
    "forward of a list": (lambda: Residual(LINEAR).forward([X[0]]), TypeError, r"^x: expected an array, found a list"),
    "config": (lambda: Residual.from_config({"modules": [], "batch_first": True}), ValueError, r"^config: expected "),
    "options": (lambda: Concat.from_config({"modules": [], "tie_embeddings": True}), ValueError, r"^config: expect"),
    "stream of Reverse": (lambda: Reverse().stream(), TypeError, r"expected one with a stream, found Reverse, which"),
    "stream of Flatten": (lambda: Sequential(Flatten()).stream(), TypeError, r"expected one with a stream, found Flat"),
    "stream of a branch": (lambda: Concat(GRU(3, 2), Reverse()).stream(), TypeError, r"found Reverse, which needs all"),
    "state": (lambda: Concat(LINEAR)(X, (3,)), ValueError, r"^state\[0\]: expected None for Linear"),
    "reversed numbers": (lambda: Reverse()(np.ones(3)), ValueError, r"^x: expected two axes, or three with a batch"),
    "reversed one": (lambda: Reverse()(X[0], lengths=[3]), ValueError, r"^lengths: expected None with unbatched x"),
    "flat": (lambda: Flatten()(np.ones(3)), ValueError, r"^x: expected two axes, or three with a batch"),
    "behind Flatten": (lambda: Sequential(Flatten(), Reverse()), ValueError, r"^modules\[1\]: expected no module"),
    "steps": (lambda: Concat(Residual(LINEAR), batch_first=False).modules[0].from_config(3), TypeError, r"^config: "),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments(name):
    call, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        call()
