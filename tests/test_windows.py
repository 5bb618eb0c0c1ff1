"""Windows of series, and scales that travel inside a network."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
from gradcheck import check_gradients

import fastrnn
from fastrnn import GRU, Adam, LastStep, Linear, Sequential, Trainer
from fastrnn.scaling import Rescale, Standardize
from fastrnn.windows import forecast_windows, windows


def test_windows_and_what_follows_them():
    X, y = forecast_windows(np.arange(10.0), 3, 2, stride=2)
    assert X[..., 0].tolist() == [[1, 2, 3], [3, 4, 5], [5, 6, 7]]
    assert y.tolist() == [[4, 5], [6, 7], [8, 9]]
    X, y = forecast_windows(np.arange(10), 3)
    assert X.shape == (7, 3, 1) and y[:, 0].tolist() == list(range(3, 10)) and X.dtype == np.float64


def test_windows_of_several_series_and_of_other_targets():
    first, second = np.arange(12.0).reshape(6, 2), 100 + np.arange(8.0).reshape(4, 2)
    X, y = forecast_windows([first, second, second[:2]], 2, 2)
    assert X.shape == (4, 2, 2) and y.shape == (4, 4)
    assert X[-1].tolist() == second[:2].tolist() and y[-1].tolist() == second[2:].ravel().tolist()
    for row, window in zip(y, X):  # the two steps after it
        assert (row.reshape(2, 2) == window + 4).all()
    X, y = forecast_windows(first, 2, 1, target=-first[:, 1])
    assert y[:, 0].tolist() == (-first[2:, 1]).tolist()


def test_windows_are_views():
    series = np.zeros((10_000, 3), np.float32)
    X, _ = forecast_windows(series, 500)
    assert np.shares_memory(X, series) and X.dtype == np.float32
    assert windows(series, 10_001).shape == (0, 10_001, 3)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((np.ones(4), 3, 2), "series: expected at least 5 steps, window and horizon, found 4"),
        ((np.ones((4, 2, 2)), 1), r"series: expected numbers of shape \(T,\) or \(T, C\)"),
        (([np.ones((9, 2)), np.ones((9, 3))], 1), "series: expected 2 features as in the first, found 3"),
        (([], 1), "series: expected at least one series"),
        ((np.ones(9), 0), "length: expected"),
        ((["a"], 1), "series: expected numbers"),
    ],
)
def test_what_windows_refuse(arguments, message):
    with pytest.raises(ValueError, match=message):
        forecast_windows(*arguments)
    with pytest.raises(ValueError, match="target: expected as many steps as in series"):
        forecast_windows(np.ones(9), 2, target=np.ones(8))


def test_scales_of_data():
    x = 50 + 7 * np.random.default_rng(0).normal(size=(20, 30, 3))
    x[..., 2] = 1e6
    layer = Standardize.of(x)
    y = layer(x)
    np.testing.assert_allclose(y[..., :2].mean(axis=(0, 1)), 0, atol=1e-12)
    np.testing.assert_allclose(y[..., :2].std(axis=(0, 1)), 1)
    assert (y[..., 2] == 0).all() and layer.scale[2] == 1
    np.testing.assert_allclose(layer.inverse()(y), x)
    np.testing.assert_allclose(layer.inverse().inverse()(x), y)
    padded = np.concatenate([x, np.full((20, 5, 3), np.nan)], axis=1)
    assert Standardize.of(padded, lengths=[30] * 20).config() == layer.config() == Standardize.of(list(x)).config()
    with pytest.raises(ValueError, match="x: expected finite numbers"):
        Standardize.of(padded)
    with pytest.raises(ValueError, match=r"x: expected shape \(\.\.\., I\) with two axes or more, found \(3,\)"):
        Standardize.of(np.ones(3))
    with pytest.raises(ValueError, match="x: expected at least one step"):
        Standardize.of([])
    with pytest.raises(ValueError, match=r"x: expected shape \(\.\.\., 3\), found \(4, 2\)"):
        layer(np.ones((4, 2)))
    with pytest.raises(ValueError, match=r"scale\[0\]: expected"):
        Standardize([0.0], [0.0])


@pytest.mark.parametrize("kind", [Standardize, Rescale])
def test_gradients_pass_through(kind):
    rng = np.random.default_rng(0)
    layer, x, dy = kind([1.0, -2.0], [3.0, 0.5]), rng.normal(size=(4, 2)), rng.normal(size=(4, 2))
    y, _, tape = layer.forward(x)
    assert np.array_equal(y, layer(x))
    dx, _ = layer.backward(tape, dy)
    check_gradients(lambda: float((layer(x) * dy).sum()), {"x": x}, {"x": dx})
    assert layer.num_parameters == 0 and layer(x.astype("float32")).dtype == np.float32


def heights(rng):
    """A series far from zero, and windows of it."""
    series = 5000 + 300 * np.sin(np.arange(400) / 5) + rng.normal(0, 5, 400)
    return forecast_windows(series, 24, 3)


def test_a_network_carries_its_scales_into_files(tmp_path):
    X, y = heights(np.random.default_rng(0))
    net = Sequential(Standardize.of(X), GRU(1, 16, seed=0), LastStep(), Linear(16, 3, seed=1), Rescale.of(y))
    trainer = Trainer(net, "mae", Adam(0.01), seed=0)
    trainer.fit(X, y, epochs=12, progress=False)
    assert trainer.evaluate(X, y, progress=False)["loss"] < 30  # of a deviation of 210, on the data's scale
    before = net.modules[0].config()
    fastrnn.save(net, tmp_path / "net")
    trainer.save_checkpoint(tmp_path / "checkpoint")
    expected = net(X[:5].astype("float32"))[0]
    copies = [fastrnn.load(tmp_path / "net"), Trainer.resume(tmp_path / "checkpoint").model,
              pickle.loads(pickle.dumps(net)), copy.deepcopy(net)]
    for other in copies:
        assert other.modules[0].config() == before
        assert np.array_equal(other(X[:5].astype("float32"))[0], expected)
    stream = net.modules[1].stream()
    steps = [stream.step(net.modules[0](x)) for x in X[0].astype("float32")]
    assert np.array_equal(net.modules[4](net.modules[3](steps[-1])), expected[0])
    session = net.stream()
    assert np.array_equal([session.step(x.astype("float32")) for x in X[0]][-1], expected[0])


def test_a_file_loads_where_nobody_has_named_its_layers(tmp_path):
    fastrnn.save(Sequential(Standardize([1.0], [2.0]), GRU(1, 2, seed=0)), tmp_path / "net")
    code = f"import fastrnn; print(fastrnn.load({str(tmp_path / 'net')!r}).modules[0])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "Standardize(mean=[1.0], scale=[2.0])", done.stderr
