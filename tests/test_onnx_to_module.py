"""`OnnxModel.to_module`: chains of layers become a `Sequential` that gives the same numbers and trains."""

import numpy as np
import pytest

import fastrnn

L = fastrnn
NETWORKS = {
    "ids": L.Sequential(L.Embedding(7, 4), L.LSTM(4, 5, 2, bidirectional=True), L.LayerNorm(10), L.Linear(10, 3)),
    "last": L.Sequential(L.GRU(3, 4, reset_after=False), L.LastStep(), L.Linear(4, 2, bias=False), L.Softmax()),
    "last of reverse": L.Sequential(L.RNN(3, 4, direction="reverse"), L.LastStep(), L.Linear(4, 2)),
    "mean": L.Sequential(L.Linear(3, 5), L.ReLU(), L.GRU(5, 4), L.Dropout(0.5), L.MeanOverTime(), L.LogSoftmax()),
    "time first": L.Sequential(L.LSTM(3, 4, peepholes=True, clip=0.5), L.Tanh(), L.LSTM(4, 3), L.LastStep(),
                               L.Linear(3, 1),
                               batch_first=False),
    "no steps": L.Sequential(L.Linear(3, 4), L.LeakyReLU(0.2), L.Linear(4, 4), L.ELU(0.5), L.Sigmoid()),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_the_module_of_a_written_network_is_the_network(name, tmp_path):
    net = NETWORKS[name]
    rng = np.random.default_rng(0)
    for array in net.params.values():
        array[...] = rng.uniform(-0.5, 0.5, array.shape)
    L.to_onnx(net, tmp_path / "net.onnx")
    again = L.from_onnx(tmp_path / "net.onnx").to_module()
    assert again.batch_first == (net.batch_first or name == "no steps")
    x = rng.integers(0, 7, (2, 5)) if name == "ids" else rng.standard_normal((2, 5, 3)).astype("f")
    y, ours = net(x), again(x)
    y, ours = (y[0], ours[0]) if net.recurrent else (y, ours)
    np.testing.assert_allclose(ours, y, atol=1e-6)
    # it trains as the network does: dropout is left out
    if name != "mean":
        out, _, tape = net.forward(x)
        _, _, again_tape = again.forward(x)
        dy = rng.standard_normal(out.shape).astype("f")
        dx, other = net.backward(tape, dy)[0], again.backward(again_tape, dy)[0]
        if name != "ids":
            np.testing.assert_allclose(other, dx, atol=1e-5)
        for one, two in zip(sorted(map(np.linalg.norm, net.grads.values())),
                            sorted(map(np.linalg.norm, again.grads.values())), strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-4)
    L.save(again, tmp_path / "net.safetensors")
    loaded = L.load(tmp_path / "net.safetensors")
    for one, two in zip(loaded.params.values(), again.params.values(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_fit_goes_on_from_an_imported_network(tmp_path):
    net = L.Sequential(L.GRU(2, 6, seed=0), L.LastStep(), L.Linear(6, 1, seed=1))
    L.to_onnx(net, tmp_path / "net.onnx")
    again = L.from_onnx(tmp_path / "net.onnx").to_module()
    X = np.random.default_rng(0).standard_normal((64, 8, 2)).astype("f")
    history = L.Trainer(again, "mse", optimizer=L.Adam(0.02), seed=0).fit(X, X[:, -1:, 0], epochs=20, progress=False)
    assert history["loss"][-1] < 0.3 * history["loss"][0]


def test_graphs_that_are_no_chain_of_layers_are_refused_by_the_node(tmp_path):
    path = tmp_path / "net.onnx"
    for net, message in ((L.Residual(L.Sequential(L.Linear(3, 3))), "expected one node that reads it, found 2"),
                         (L.Sequential(L.Linear(3, 4), L.Softplus()), "expected one node that reads it, found 2"),
                         (L.Sequential(L.Linear(3, 4), L.Hardsigmoid()), "HardSigmoid.*expected one of .*, found "
                                                                         "another"),
                         (L.Sequential(L.GRU(3, 4), L.Reverse()), "Slice.*expected one of"),
                         (L.Sequential(L.GRU(3, 4), L.SiLU()), "expected one node that reads it, found 2")):
        L.to_onnx(net, path)
        with pytest.raises(ValueError, match=message):
            L.from_onnx(path).to_module()
    L.to_onnx(L.GRU(3, 4), path, states=True)
    with pytest.raises(ValueError, match="graph: expected one input and one output, found 2 and 2"):
        L.from_onnx(path).to_module()
