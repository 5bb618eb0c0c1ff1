"""Modules of the user's own: in networks, training, streams and files; fit sees no data but the caller's."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gradcheck import check_gradients
from saver import Saver
from tolerances import tolerance

import fastrnn
from fastrnn import GRU, LSTM, SGD, Adam, Dropout, Embedding, LaneStream, LastStep, Linear, Sequential, Trainer

RNG = np.random.default_rng(6)
X = RNG.normal(size=(12, 7, 3))
Y = RNG.integers(0, 4, (12, 7))
DOUBLE = {"dtype": "float64"}
QUIET = {"progress": False}


class Scale(fastrnn.Module):
    """The example of the base class."""

    def __init__(self, features, dtype="float32"):
        super().__init__(dtype)
        self.features = features
        self.register_parameters({"scale": np.ones(features, dtype)})

    def forward(self, x, state=None, lengths=None):
        return x * self.params["scale"], None, self.save_for_backward(x)

    def backward(self, tape, dy=None, dstate=None):
        (x,) = self.saved_values(tape)
        dy = np.zeros_like(x) if dy is None else dy
        self.grads["scale"] += (dy * x).reshape(-1, self.features).sum(0)
        return dy * self.params["scale"], None


class Leaky(fastrnn.Module):
    """h_t = a h_{t-1} + x_t, for every feature."""

    recurrent = True

    def __init__(self, features, batch_first=False, dtype="float32"):
        super().__init__(dtype)
        self.features, self.batch_first = features, batch_first
        self.register_parameters({"a": np.full(features, 0.5, dtype)})

    def forward(self, x, state=None, lengths=None):
        x = x.swapaxes(0, 1) if self.batch_first else x
        steps, batch, features = x.shape
        h = np.zeros((steps + 1, batch, features), self.dtype)
        h[0] = 0 if state is None else state[0]
        last = np.full(batch, steps) if lengths is None else np.asarray(lengths)
        for t in range(steps):
            going = (t < last)[:, None]
            h[t + 1] = np.where(going, self.params["a"] * h[t] + x[t], h[t])
        y = np.where((np.arange(steps)[:, None] < last)[..., None], h[1:], 0)
        tape = self.save_for_backward(h, last)
        return (y.swapaxes(0, 1) if self.batch_first else y), h[-1][None].copy(), tape

    def backward(self, tape, dy=None, dstate=None):
        h, last = self.saved_values(tape)
        dx = np.zeros_like(h[1:])
        if dy is not None:
            dx += dy.swapaxes(0, 1) if self.batch_first else dy
        dh = np.zeros_like(h[0]) if dstate is None else dstate[0].copy()
        for t in reversed(range(len(dx))):
            going = (t < last)[:, None]
            dh = np.where(going, dh + dx[t], dh)
            dx[t] = np.where(going, dh, 0)
            self.grads["a"] += np.where(going, dh * h[t], 0).sum(0)
            dh = np.where(going, self.params["a"] * dh, dh)
        return (dx.swapaxes(0, 1) if self.batch_first else dx), dh[None]


class Flatten(fastrnn.Module):
    """All steps of a sequence side by side: (B, T, H) to (B, T * H)."""

    pools_time = True

    def forward(self, x, state=None, lengths=None):
        return x.reshape(len(x), -1), None, self.save_for_backward(x.shape)

    def backward(self, tape, dy=None, dstate=None):
        (shape,) = self.saved_values(tape)
        return np.zeros(shape) if dy is None else dy.reshape(shape), None


class Beside(Sequential):
    """The network's output beside its input."""

    def __call__(self, x, state=None, lengths=None):
        y, state = super().__call__(x, state, lengths)
        return np.concatenate([x, y], -1), state

    def forward(self, x, state=None, lengths=None):
        y, state, tape = super().forward(x, state, lengths)
        return np.concatenate([x, y], -1), state, self.save_for_backward(tape, x.shape[-1])

    def backward(self, tape, dy=None, dstate=None):
        tape, width = self.saved_values(tape)
        dx, dstate = super().backward(tape, dy[..., width:].copy(), dstate)
        return dx + dy[..., :width], dstate


def network(batch_first=True):
    return Sequential(
        Scale(3, **DOUBLE), Leaky(3, **DOUBLE), Beside(LSTM(3, 4, seed=1, **DOUBLE)), Scale(7, **DOUBLE),
        Linear(7, 4, seed=2, **DOUBLE), batch_first=batch_first)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("lengths", [None, [5, 0, 7]])
def test_gradients(lengths, batch_first):
    model = network(batch_first)
    x = X[:3].copy() if batch_first else X[:3].swapaxes(0, 1).copy()
    y, state, tape = model.forward(x, None, lengths)
    valid = np.arange(7) < np.array([7, 7, 7] if lengths is None else lengths)[:, None]
    weight = np.random.default_rng(9).normal(size=y.shape) * (valid if batch_first else valid.T)[..., None]

    def loss():
        return float((model.forward(x, None, lengths)[0] * weight).sum())

    dx, _ = model.backward(tape, weight)
    check_gradients(loss, {**model.params, "x": x}, {**model.grads, "x": dx})
    with pytest.raises(ValueError, match="tape: expected one from a new forward"):
        model.backward(tape, weight)
    assert state[1].shape == (1, 3, 3) and state[0] is None


def test_a_tape_serves_its_own_module_once():
    one, other = Scale(3), Scale(3)
    _, _, tape = one.forward(X)
    with pytest.raises(ValueError, match="tape: expected one from this Scale's forward"):
        other.backward(tape, X)
    one.backward(tape, X)
    with pytest.raises(ValueError, match="tape: expected one from a new forward"):
        one.backward(tape, X)


def test_a_call_is_the_training_pass_by_default():
    np.testing.assert_array_equal(Scale(3)(X), X)
    y, state = Leaky(3, batch_first=True, **DOUBLE)(X)
    assert y.shape == X.shape and state.shape == (1, 12, 3)
    with pytest.raises(NotImplementedError, match="Module defines no forward"):
        fastrnn.Module()(X)


@pytest.mark.parametrize("tbptt", [None, 3])
def test_it_trains(tbptt):
    model = network()
    history = Trainer(model, optimizer=Adam(0.03), tbptt=tbptt, seed=0).fit(
        X, Y, lengths=[7, 6, 0, 3, 7, 1, 2, 5, 4, 7, 7, 6], epochs=30, batch_size=4, **QUIET)
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert not (model.params["0.scale"] == 1).any() and not (model.params["1.a"] == 0.5).any()


def test_a_fit_goes_on_with_its_states(tmp_path):
    lanes = LaneStream(X.reshape(-1, 3), 2, 5, Y.reshape(-1), dtype="float64")
    whole = Trainer(network(), optimizer=SGD(0.1, momentum=0.5), callbacks=[Saver(tmp_path / "c", 11)], seed=0)
    whole.fit(lanes, epochs=3, **QUIET)
    resumed = Trainer.resume(tmp_path / "c")
    assert [type(module) for module in resumed.model.modules] == [Scale, Leaky, Beside, Scale, Linear]
    resumed.fit(lanes, epochs=3, **QUIET)
    for name, p in whole.model.params.items():
        np.testing.assert_array_equal(resumed.model.params[name], p)


@pytest.mark.parametrize("batch_first", [True, False])
def test_streams_are_the_call(batch_first):
    model = network(batch_first)
    x = X if batch_first else X.swapaxes(0, 1)
    whole, state = model(x)
    stream = model.stream(12)
    steps = [stream.step(X[:, t]) for t in range(4)]
    parted = stream.copy()
    rest = stream.run(X[:, 4:] if batch_first else X[:, 4:].swapaxes(0, 1))
    found = np.concatenate([np.stack(steps, 1 if batch_first else 0), rest], 1 if batch_first else 0)
    np.testing.assert_allclose(found, whole, rtol=0, atol=tolerance("losses, float64"))
    np.testing.assert_allclose(stream.state[1], state[1], rtol=1e-12)
    np.testing.assert_array_equal(parted.step(X[:, 4]), rest[:, 0] if batch_first else rest[0])
    parted.reset()
    np.testing.assert_array_equal(parted.step(X[:, 0]), steps[0])
    single = model.stream()
    np.testing.assert_allclose(single.step(X[3, 0]), whole[3, 0] if batch_first else whole[0, 3], rtol=1e-10)
    out = np.empty(4)
    assert single.step(X[3, 1], out=out) is out
    np.testing.assert_allclose(out, whole[3, 1] if batch_first else whole[1, 3], rtol=1e-10)
    np.testing.assert_allclose(single.run(X[3, 2:]), whole[3, 2:] if batch_first else whole[2:, 3], rtol=1e-10)


def test_a_failed_step_leaves_the_stream():
    stream = network().stream(12)
    stream.step(X[:, 0])
    before = stream.state
    for wrong in (X[:3, 0], X[:, 0, :2], "x"):
        with pytest.raises((ValueError, TypeError)):
            stream.step(wrong)
        np.testing.assert_array_equal(stream.state[1], before[1])


def test_a_stream_over_ids():
    class Count(Leaky):
        """Of ids, each a feature."""

        def forward(self, x, state=None, lengths=None):
            return super().forward(np.asarray(x, self.dtype)[..., None], state, lengths)

    model = Sequential(Count(1, **DOUBLE), Linear(1, 2, seed=0, **DOUBLE))
    ids = RNG.integers(0, 9, (3, 5))
    whole, _ = model(ids)
    stream = model.stream(3)
    np.testing.assert_allclose(np.stack([stream.step(ids[:, t]) for t in range(5)], 1), whole, rtol=1e-12)
    np.testing.assert_allclose(model.stream().run(ids[1]), whole[1], rtol=1e-12)
    assert model.stream().step(4).shape == (2,)


def test_what_needs_all_steps_has_no_stream():
    with pytest.raises(TypeError, match=r"modules\[1\]: expected one with a stream, found Flatten"):
        Sequential(GRU(3, 4), Flatten()).stream()


# Files


def same(found, model):
    assert repr(found) == repr(model)
    assert [type(module) for module in found.modules] == [type(module) for module in model.modules]
    np.testing.assert_array_equal(found(X)[0], model(X)[0])


def test_files_and_copies(tmp_path):
    model = network()
    for p in model.params.values():
        p += RNG.normal(size=p.shape)
    fastrnn.save(model, tmp_path / "m")
    for found in fastrnn.load(tmp_path / "m"), copy.deepcopy(model), pickle.loads(pickle.dumps(model)):
        same(found, model)
        assert type(found.modules[2]) is Beside, "not a plain Sequential"


def test_a_file_of_an_unknown_class_is_refused(tmp_path):
    """Here the classes are known; in another program they are not."""
    fastrnn.save(network(), tmp_path / "m")
    program = (
        "import sys, fastrnn\n"
        "try: fastrnn.load(sys.argv[1])\n"
        "except ValueError as error: print(error)\n"
        "sys.path.insert(0, sys.argv[2]); import test_own_module as t\n"
        "print(len(fastrnn.load(sys.argv[1]).modules))\n"
    )
    found = subprocess.run([sys.executable, "-c", program, str(tmp_path / "m"), str(Path(__file__).parent)],
                           capture_output=True, text=True, check=True).stdout.splitlines()
    assert "config['type']: expected one of" in found[0] and "found 'test_own_module.Scale'" in found[0]
    assert found[1] == "5"


def test_names_in_files(tmp_path):
    class Local(Scale):
        """One that will have a name of its own."""

    class Later(Scale):
        """The same class in a later version of a program."""

    fastrnn.save(Sequential(Local(3)), tmp_path / "before")
    assert fastrnn.register_module(Local, "my-scale") is Local
    model = Sequential(Local(3))
    assert model.config()["modules"][0]["type"] == "my-scale"
    fastrnn.save(model, tmp_path / "m")
    assert type(fastrnn.load(tmp_path / "m").modules[0]) is Local
    assert type(fastrnn.load(tmp_path / "m", modules={"my-scale": Later}).modules[0]) is Later
    assert type(fastrnn.load(tmp_path / "m").modules[0]) is Local, "for that call only"
    old = f"{Local.__module__}.{Local.__qualname__}"
    assert type(fastrnn.load(tmp_path / "before", modules={old: Later}).modules[0]) is Later
    assert type(Later(3).config()["type"]) is str and "Later" in Later(3).config()["type"], "names are not inherited"
    for bad, kind in (("Linear", ValueError), ("my-scale", ValueError), ("", TypeError), (3, TypeError)):
        with pytest.raises(kind, match=r"^name: expected"):
            fastrnn.register_module(Later, bad)
    with pytest.raises(TypeError, match=r"^cls: expected a subclass of fastrnn.Module, found 3"):
        fastrnn.register_module(3, "three")
    for bad, kind in (([Later], TypeError), ({"x": dict}, TypeError)):
        with pytest.raises(kind, match=r"^modules"):
            fastrnn.load(tmp_path / "m", modules=bad)


def test_parameters_that_do_not_fit_are_named():
    class Wrong(fastrnn.Module):
        def __init__(self, params):
            super().__init__()
            self.register_parameters(params)

    for params, kind, message in (
        ({"w": np.ones(3)}, TypeError, r"params\['w'\]: expected a float32 array, found float64"),
        ({"w": [1.0]}, TypeError, r"params\['w'\]: expected a float32 array, found list"),
        ({"w": np.ones((4, 3), "float32").T}, ValueError, r"params\['w'\]: expected a C-contiguous"),
        ({3: np.ones(3, "float32")}, TypeError, "params: expected names that are strings, found 3"),
        ([], TypeError, "params: expected a dict, found list"),
    ):
        with pytest.raises(kind, match=message):
            Wrong(params)


# No data but the caller's


class Witness(Scale):
    """Keeps every input it has seen."""

    seen: list

    def forward(self, x, state=None, lengths=None):
        self.seen.append(np.array(x))
        return super().forward(x, state, lengths)


@pytest.mark.parametrize("given", [{}, {"tbptt": 3}])
def test_fit_sees_rows_of_the_data_only(given):
    first = Witness(3, **DOUBLE)
    first.seen = []
    model = Sequential(first, LSTM(3, 4, **DOUBLE), Linear(4, 4, **DOUBLE))
    Trainer(model, seed=0, **given).fit(X, Y, validation_data=(X, Y), batch_size=5, **QUIET)
    assert len(first.seen) > 3
    whole = {row.tobytes() for row in X.reshape(-1, 3)}
    for x in first.seen:
        assert x.shape[1] == (7 if not given or x.shape[1] == 7 else min(3, x.shape[1]))
        assert {row.tobytes() for row in x.reshape(-1, 3)} <= whole


def test_a_layer_as_wide_as_the_steps_trains():
    """As published for MNIST-1D: the outputs of all steps go into one Linear."""
    t = np.linspace(0, 1, 20)
    classes = RNG.integers(0, 3, 90)
    x = np.sin(2 * np.pi * (classes[:, None] + 1) * t + RNG.uniform(0, 6, (90, 1)))[..., None]
    model = Sequential(GRU(1, 8, seed=0, bidirectional=True), Flatten(), Linear(20 * 16, 3, seed=1))
    trainer = Trainer(model, optimizer=Adam(0.01), metrics=["accuracy"], seed=0)
    assert trainer.memory_estimate(x, classes, batch_size=32) > 32 * 20 * 16 * 4
    history = trainer.fit(x, classes, epochs=15, validation_split=0.2, **QUIET)
    assert history["val_accuracy"][-1] > 0.9
    assert trainer.predict(x, **QUIET).shape == (90, 3)
    with pytest.raises(ValueError, match=r"y: expected ints in 0 \.\. 2, found 3"):
        trainer.fit(x, classes + 1, **QUIET)
    with pytest.raises(ValueError, match=r"x: expected shape \(\.\.\., 320\)"):
        trainer.fit(x[:, :19], classes, **QUIET)


def test_sequences_without_a_step():
    model = Sequential(LSTM(3, 4), LastStep(), Linear(4, 4))
    Trainer(model, seed=0).fit([X[0, :0], X[1, :0]], [0, 3], **QUIET)
    with pytest.raises(ValueError, match="y: expected ints in"):
        Trainer(model, seed=0).fit([X[0, :0], X[1, :0]], [0, 4], **QUIET)
    own = Sequential(Leaky(3), LastStep(), Linear(3, 4))
    Trainer(own, seed=0).fit([X[0, :0], X[1, :2]], [0, 3], **QUIET)


def test_ids_beyond_the_embedding_are_named_first():
    model = Sequential(Embedding(5, 3), Scale(3), Dropout(0.1), Linear(3, 4))
    with pytest.raises(ValueError, match=r"X: expected ints in 0 \.\. 4, found 5"):
        Trainer(model, seed=0).fit(np.full((3, 4), 5), Y[:3, :4], **QUIET)
