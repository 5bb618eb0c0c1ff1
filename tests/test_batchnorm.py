"""BatchNorm1d: values, running statistics, gradients, torch, files, exact resume, freezing, and bad arguments."""

import copy
import pickle

import numpy as np
import pytest
import reference_layers as reference
from gradcheck import check_gradients
from saver import Saver
from tolerances import relative_error, tolerance

import fastrnn
from fastrnn import (
    GRU,
    SGD,
    Adam,
    BatchNorm1d,
    Conv1d,
    LastStep,
    Linear,
    NonFiniteError,
    ReLU,
    Residual,
    Sequential,
    Trainer,
    averaging,
)
from fastrnn.callbacks import Callback
from fastrnn.diagnostics import diagnose
from fastrnn.distributed import DistributedTrainer
from fastrnn.nn.layers import batchnorm

QUIET = {"progress": False}
LENGTHS = [5, 0, 3, 1]
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def normal(*shape, dtype="float64", seed=0):
    return (2 + 3 * np.random.default_rng(seed).normal(size=shape)).astype(dtype)


def make(*args, dtype="float64", **options):
    module = BatchNorm1d(*args, dtype=dtype, **options)
    for name in ("weight", "bias") if module.affine else ():
        module.params[name][...] = normal(args[0], seed=len(name))
    return module


def statistics(module):
    return {name: p.copy() for name, p in module.params.items() if name.rpartition(".")[2] in STATISTICS}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("momentum", [0.1, 0.75, None])
@pytest.mark.parametrize("shape", [(7, 3), (4, 5, 3)])
def test_values_and_running_statistics(shape, momentum, dtype):
    module = make(3, momentum=momentum, dtype=dtype)
    weight, bias = module.params["weight"].astype(float), module.params["bias"].astype(float)
    mean, variance, limit = np.zeros(3), np.ones(3), tolerance(f"layers, {dtype}")
    for k in range(4):
        x = normal(*shape, dtype=dtype, seed=k)
        wanted, m, v = reference.batch_norm(x.reshape(-1, 3).astype(float), module.eps, weight, bias)
        y = module.forward(x)[0]
        assert y.dtype == dtype and y.shape == shape
        assert relative_error(y.reshape(-1, 3), wanted) < limit
        rate = 1 / (k + 1) if momentum is None else momentum
        mean, variance = (1 - rate) * mean + rate * m, (1 - rate) * variance + rate * v
        assert relative_error(module.params["running_mean"], mean) < limit
        assert relative_error(module.params["running_var"], variance) < limit
        assert module.params["num_batches_tracked"] == k + 1
        before = statistics(module)
        found = module(x)
        assert relative_error(found, (x - mean) / np.sqrt(variance + module.eps) * weight + bias) < limit
        assert all(np.array_equal(p, before[name]) for name, p in statistics(module).items())


@pytest.mark.parametrize("batch_first", [True, False])
def test_valid_steps_alone_count(batch_first):
    module = make(3, batch_first=batch_first)
    x = normal(4, 5, 3)
    for row, n in zip(x, LENGTHS):
        row[n:] = np.nan
    valid = np.arange(5) < np.array(LENGTHS)[:, None]
    wanted, mean, variance = reference.batch_norm(x[valid], module.eps, module.params["weight"], module.params["bias"])
    given = x if batch_first else np.ascontiguousarray(x.swapaxes(0, 1))
    y = module.forward(given, lengths=LENGTHS)[0]
    y = y if batch_first else y.swapaxes(0, 1)
    np.testing.assert_allclose(y[valid], wanted, rtol=1e-12)
    assert not y[~valid].any()
    np.testing.assert_allclose(module.params["running_mean"], 0.1 * mean, rtol=1e-12)
    np.testing.assert_allclose(module.params["running_var"], 0.9 + 0.1 * variance, rtol=1e-12)
    before = statistics(module)
    y, _, tape = module.forward(given, lengths=[0] * 4)
    assert not y.any() and not module.backward(tape, np.ones(y.shape))[0].any()
    assert all(np.array_equal(p, before[name]) for name, p in statistics(module).items())


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("tracked", [True, False])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_gradients(lengths, tracked, affine):
    net = Sequential(make(3, eps=1e-2, affine=affine, track_running_stats=tracked))
    x = normal(4, 5, 3)
    y, _, tape = net.forward(x, None, lengths)
    dy = normal(*y.shape, seed=4)
    net.zero_grad()
    dx, _ = net.backward(tape, dy)
    assert not any(net.grads[f"0.{name}"].any() for name in STATISTICS) if tracked else True
    arrays = {name: p for name, p in net.params.items() if name.rpartition(".")[2] not in STATISTICS}
    valid = (np.arange(5) < np.array(lengths or [5] * 4)[:, None])[..., None]
    check_gradients(lambda: float((net.forward(x, None, lengths)[0] * dy * valid).sum()), {**arrays, "x": x},
                    {**{name: net.grads[name] for name in arrays}, "x": dx})


def test_without_running_statistics_a_batch_is_its_own():
    module = make(3, track_running_stats=False)
    x = normal(4, 5, 3)
    np.testing.assert_array_equal(module(x), module.forward(x)[0])
    assert list(module.params) == ["weight", "bias"] and module.frozen == ()
    assert list(BatchNorm1d(3, affine=False, track_running_stats=False).params) == []
    assert module(np.ones((1, 3))).shape == (1, 3), "in inference one value may stand alone"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", [{}, {"eps": 1e-2, "momentum": 0.3}, {"momentum": None}, {"affine": False}])
def test_torch(options, dtype):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.BatchNorm1d(4, **options, dtype=getattr(torch, dtype))
    module = BatchNorm1d(4, **options, dtype=dtype)
    module.load_state_dict(theirs.state_dict())
    limit = tolerance(f"torch, {dtype}")
    for k in range(3):
        x = normal(3, 7, 4, dtype=dtype, seed=k)
        tensor = torch.tensor(x.swapaxes(1, 2).copy(), requires_grad=True)
        wanted = theirs(tensor)
        y, _, tape = module.forward(x)
        dy = normal(*x.shape, dtype=dtype, seed=9)
        wanted.backward(torch.tensor(dy.swapaxes(1, 2).copy()))
        assert relative_error(y, wanted.detach().numpy().swapaxes(1, 2)) < limit
        assert relative_error(module.backward(tape, dy)[0], tensor.grad.numpy().swapaxes(1, 2)) < 10 * limit
    for name, p in theirs.state_dict().items():
        assert relative_error(module.params[name], p.numpy()) < limit, name
    with torch.no_grad():
        wanted = theirs.eval()(torch.tensor(x.swapaxes(1, 2).copy())).numpy().swapaxes(1, 2)
    assert relative_error(module(x), wanted) < limit


def network(seed=0):
    return Sequential(Conv1d(3, 6, 3, padding="same", seed=seed), BatchNorm1d(6), ReLU(),
                      Residual(Sequential(Linear(6, 6, seed=seed), BatchNorm1d(6, momentum=None))),
                      GRU(6, 4, seed=seed), LastStep(), Linear(4, 2, seed=seed))


def data():
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 2, 48)
    return [normal(n, 3, seed=n) + 2 * y for n, y in zip(rng.integers(3, 9, 48), classes)], classes


def test_files_copies_and_names(tmp_path):
    net = network()
    x, y = data()
    Trainer(net, seed=0).fit(x, y, **QUIET)
    assert statistics(net)["1.running_mean"].any()
    fastrnn.save(net, tmp_path / "m")
    for found in fastrnn.load(tmp_path / "m"), copy.deepcopy(net), pickle.loads(pickle.dumps(net)):
        assert found.config() == net.config() and repr(found) == repr(net) and found.frozen == net.frozen
        for name, p in net.params.items():
            assert p.tobytes() == found.params[name].tobytes(), name
        np.testing.assert_array_equal(Trainer(found).predict(x, **QUIET), Trainer(net).predict(x, **QUIET))


def test_no_optimiser_touches_them_and_nothing_thaws_them():
    net = network()
    always = tuple(f"{path}.{name}" for path in ("1", "3.0.1") for name in STATISTICS)
    assert net.frozen == always and "frozen" not in str(net.config())
    assert net.num_parameters == sum(p.size for p in net.params.values()) - 2 * (6 + 6 + 1)
    net.unfreeze()
    assert net.frozen == always
    net.freeze("1.weight")
    assert net.frozen == ("1.weight", *always)
    net.unfreeze("1.*")
    assert net.frozen == always
    x, y = data()
    before = statistics(net)
    Trainer(net, optimizer=SGD(0.0), l2={"*": 0.1}, clip_norm=1e-9, seed=0).fit(x, y, batch_size=48, **QUIET)
    fresh = network()
    ends = [len(one) for one in x]
    padded = np.zeros((48, max(ends), 3))
    for row, one in zip(padded, x):
        row[: len(one)] = one
    fresh.forward(padded, None, ends)
    for name, p in statistics(net).items():
        assert not np.array_equal(p, before[name])
        np.testing.assert_allclose(p, statistics(fresh)[name], rtol=1e-5)
    net.freeze()
    with pytest.raises(ValueError, match=r"^model: expected a parameter to train, found all"):
        Trainer(net, seed=0).fit(x, y, **QUIET)


def test_training_goes_on_to_the_same_bits(tmp_path):
    x, y = data()
    whole = Trainer(network(), optimizer=Adam(0.01), average=averaging.EMA(0.9), seed=0,
                    callbacks=[Saver(tmp_path / "c", 8)])
    whole.fit(x, y, epochs=3, batch_size=8, validation_split=0.2, **QUIET)
    resumed = Trainer.resume(tmp_path / "c")
    resumed.fit(x, y, epochs=3, batch_size=8, validation_split=0.2, **QUIET)
    for name, p in whole.model.params.items():
        assert p.tobytes() == resumed.model.params[name].tobytes(), name
    assert whole.history["val_loss"] == resumed.history["val_loss"]
    averaged = whole.averaged_model()
    for name, p in statistics(whole.model).items():
        np.testing.assert_array_equal(averaged.params[name], p)


def test_it_learns_what_scales_hide():
    rng = np.random.default_rng(1)
    classes = rng.integers(0, 2, 200)
    x = 500 + 0.5 * rng.normal(size=(200, 6, 3)) + classes[:, None, None] * [0.4, 0, 0]
    figures = []
    for layers in ([BatchNorm1d(3)], []):
        net = Sequential(*layers, GRU(3, 8, seed=0), LastStep(), Linear(8, 2, seed=1))
        history = Trainer(net, optimizer=Adam(0.02), metrics=["accuracy"], seed=0).fit(
            x, classes, epochs=25, validation_split=0.25, **QUIET)
        figures.append(history["val_accuracy"][-1])
    assert figures[0] > 0.8 > 0.7 > figures[1]


def test_an_update_that_fails_leaves_the_statistics():
    x, y = data()
    net = network()

    class Spoil(Callback):
        def on_gradient(self, trainer):
            next(iter(trainer.model.grads.values()))[...] = np.nan

    trainer = Trainer(net, seed=0, callbacks=[Spoil()])
    before = {name: p.copy() for name, p in net.params.items()}
    with pytest.raises(NonFiniteError):
        trainer.fit(x, y, **QUIET)
    for name, p in net.params.items():
        assert p.tobytes() == before[name].tobytes(), name
    diagnose(net, x, y)
    assert all(p.tobytes() == before[name].tobytes() for name, p in net.params.items())


def test_a_stream_takes_the_running_statistics():
    net = network().modules[1]
    net.forward(normal(4, 5, 6))
    x = normal(2, 4, 6, dtype="float32")
    whole, stream = net(x), net.stream(2)
    for t in range(4):
        assert stream.step(x[:, t]).tobytes() == whole[:, t].tobytes()


def test_several_processes_are_refused():
    class Ranks:
        size = 2

    with pytest.raises(ValueError, match=r"^model: expected layers that take each sequence alone in several processes, "
                                         "found BatchNorm1d"):
        DistributedTrainer(network(), ranks=Ranks())


X = np.ones((2, 5, 3))
BAD = {
    "num_features": (lambda: BatchNorm1d(0), ValueError, r"^num_features: expected an int of at least 1, found 0"),
    "eps": (lambda: BatchNorm1d(3, eps=0), ValueError, r"^eps: expected a finite number above 0, found 0"),
    "momentum": (lambda: BatchNorm1d(3, momentum=1.5), ValueError, r"^momentum: expected a finite number at least 0"),
    "affine": (lambda: BatchNorm1d(3, affine=1), TypeError, r"^affine: expected True or False, found 1"),
    "tracked": (lambda: BatchNorm1d(3, track_running_stats="x"), TypeError, r"^track_running_stats: expected True or"),
    "features": (lambda: BatchNorm1d(3)(X[..., :2]), ValueError, r"^x: expected shape \(\.\.\., 3\), found \(2, 5, 2"),
    "one value": (lambda: BatchNorm1d(3).forward(X[0, :1]), ValueError, r"^x: expected two values or more of each fea"),
    "one step": (lambda: BatchNorm1d(3, batch_first=True).forward(X, lengths=[1, 0]), ValueError, r"^x: expected two"),
    "lengths": (lambda: BatchNorm1d(3).forward(X[0], lengths=[1]), ValueError, r"^lengths: expected None with x of"),
    "too long": (lambda: BatchNorm1d(3).forward(X, lengths=[6] * 5), ValueError, r"^lengths: expected ints in 0 \.\."),
    "init": (lambda: BatchNorm1d(3, affine=False, init=1.0), ValueError, r"^init: expected 'default', an initialiser"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments(name):
    call, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        call()


def test_the_names_are_those_of_torch():
    assert batchnorm.STATISTICS == STATISTICS
    assert list(BatchNorm1d(2).params) == ["weight", "bias", *STATISTICS]
