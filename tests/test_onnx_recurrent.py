"""RNN, LSTM and GRU nodes: random ones against ONNX Runtime, `onnx_layers`, and what is refused."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
import onnx.helper as helper  # noqa: E402
from onnx import TensorProto, numpy_helper  # noqa: E402
from random_onnx_nodes import compare, draw, model_of, turned  # noqa: E402

import fastrnn  # noqa: E402


@pytest.mark.parametrize("start", range(0, 120, 30))
def test_random_nodes_equal_onnxruntime(start):
    assert sum(map(compare, range(start, start + 30))) >= 20


@pytest.mark.parametrize("seed", range(30))
def test_layers_are_runners_that_take_the_nodes_input(seed):
    rng = np.random.default_rng([seed, 13])
    kind, attributes, inputs, _ = draw(rng)
    states = "hc" if kind == "LSTM" else "h"
    outputs = ["Y", *(f"Y_{state}" for state in states)]
    first = bool(seed % 2)
    given = {name: turned(name, array) for name, array in inputs.items()} if first else inputs
    data, feeds = model_of(kind, {**attributes, "layout": int(first)}, given, outputs)
    (name, runner), = fastrnn.onnx_layers(data).items()
    assert (name, runner.kind, runner.batch_first) == ("node", kind, first)
    expected = fastrnn.from_onnx(data).run(feeds)
    shape = 1 + runner.bidirectional, inputs["X"].shape[1], runner.hidden_size
    state = tuple(np.zeros(shape, "f") if inputs[one] is None else inputs[one] for one in states)
    y, final = runner(given["X"], state if kind == "LSTM" else state[0], inputs["lengths"])
    ways = expected["Y"] if first else expected["Y"].transpose(0, 2, 1, 3)
    np.testing.assert_allclose(y, ways.reshape(y.shape), atol=1e-6, equal_nan=True)
    for part, one in zip(final if kind == "LSTM" else (final,), outputs[1:]):
        np.testing.assert_allclose(part, expected[one].swapaxes(0, 1) if first else expected[one], atol=1e-6)


def one_node(kind="LSTM", hidden=4, features=3, shapes=None, fed=("X",), **attributes):
    """The bytes of a model with zero weights of these shapes."""
    gates = {"RNN": 1, "LSTM": 4, "GRU": 3}[kind]
    found = {"X": (5, 2, features), "W": (1, gates * hidden, features), "R": (1, gates * hidden, hidden),
             **(shapes or {})}
    inputs = {name: np.zeros(shape, "f") for name, shape in found.items()}
    return model_of(kind, attributes, inputs, ["Y"], fed)[0]


@pytest.mark.parametrize(("options", "message"), [
    ({"activations": ["Sigmoid", "Tanh"]}, "node 'node' \\(LSTM\\): activations: expected 3, found"),
    ({"activations": ["Sigmoid", "Tanh", "Tann"]}, "activations: expected names among Sigmoid, .*found 'Tann'"),
    ({"activation_alpha": [0.5]}, "activation_alpha: expected a number for each activation that takes one, found 1 "
                                  "more"),
    ({"direction": "both"}, "direction: expected one of 'forward', 'reverse', 'bidirectional'; found 'both'"),
    ({"clip": 0.0}, "clip: expected a number above 0, found 0.0"),
    ({"clip": "1"}, "clip: expected float, found '1'"),
    ({"hidden_size": 5}, "hidden_size: expected 4 as R's shape \\(1, 16, 4\\), found 5"),
    ({"input_forget": 2}, "input_forget: expected an int from 0 to 1, found 2"),
    ({"layout": 1.0}, "layout: expected int, found 1.0"),
    ({"output_sequence": 1}, "attributes in operator set 17, found .'output_sequence'."),
    ({"shapes": {"W": (1, 12, 3)}}, "W: expected float32 of shape \\(1, 16, 3\\), found float32 of shape \\(1, 12, "
                                    "3\\)"),
    ({"shapes": {"W": (16, 3)}}, "expected W and R of 3 axes"),
    ({"direction": "bidirectional"}, "W: expected float32 of shape \\(2, 16, 3\\)"),
    ({"shapes": {"B": (1, 16)}}, "B: expected float32 of shape \\(1, 32\\)"),
])  # fmt: skip
def test_what_does_not_fit_is_named_when_the_file_is_read(options, message):
    with pytest.raises(ValueError, match=message):
        fastrnn.from_onnx(one_node(**options))
    with pytest.raises(ValueError, match=message):
        fastrnn.onnx_layers(one_node(**options))


def test_layers_of_graphs_inside_and_of_weights_that_are_computed():
    rng = np.random.default_rng(0)
    w, r = rng.standard_normal((1, 3, 12)).astype("f"), rng.standard_normal((1, 4, 12)).astype("f")
    value = helper.make_tensor_value_info

    def branch(sign):
        nodes = [helper.make_node("Transpose", ["w"], [f"W{sign}"], perm=[0, 2, 1]),
                 helper.make_node("GRU", ["X", f"W{sign}", "R"], [f"Y{sign}"], hidden_size=4)]
        return helper.make_graph(nodes, "branch", [], [value(f"Y{sign}", TensorProto.FLOAT, None)])

    nodes = [helper.make_node("Transpose", ["r"], ["R"], perm=[0, 2, 1]),
             helper.make_node("NoSuchOperator", ["X"], ["nothing"]),
             helper.make_node("If", ["which"], ["Y"], name="choice", then_branch=branch("a"), else_branch=branch("b"))]
    graph = helper.make_graph(
        nodes, "g", [value("X", TensorProto.FLOAT, [None, None, 3]), value("which", TensorProto.BOOL, [])],
        [value("Y", TensorProto.FLOAT, None)], [numpy_helper.from_array(w, "w"), numpy_helper.from_array(r, "r")])
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    layers = fastrnn.onnx_layers(data)
    assert sorted(layers) == ["choice.else_branch/Yb", "choice.then_branch/Ya"]
    z, reset, n = np.split(w[0].T, 3)
    np.testing.assert_array_equal(layers["choice.then_branch/Ya"].params["weight_ih_l0"], np.concatenate([reset, z, n]))
    with pytest.raises(ValueError, match=r"node of 'nothing' .NoSuchOperator.: expected an operator that fastrnn "
                                         r"knows"):
        fastrnn.from_onnx(data)


def test_weights_that_a_run_decides_are_no_layer():
    data = one_node(fed=("X", "W"))
    with pytest.raises(ValueError, match=r"W: expected a weight that constants decide, found 'W'"):
        fastrnn.onnx_layers(data)


def test_the_arrays_of_a_run_are_checked():
    inputs = {"X": np.zeros((5, 2, 3), "f"), "W": np.zeros((1, 16, 3), "f"), "R": np.zeros((1, 16, 4), "f"), "B": None,
              "lengths": np.array([5, 5], np.int32), "h": np.zeros((1, 2, 4), "f"), "c": np.zeros((1, 2, 4), "f")}
    data, feeds = model_of("LSTM", {}, inputs, ["Y", "Y_h", "Y_c"])
    model = fastrnn.from_onnx(data)
    for name, wrong, message in (("lengths", np.array([5, 6], np.int32), "lengths"), ("h", np.zeros((1, 3, 4), "f"),
                                                                                      "state"),
                                 ("X", np.zeros((5, 2, 4), "f"), "X: expected 3 axes, the last of 3"),
                                 ("lengths", np.array([5], np.int32), "lengths")):
        with pytest.raises(ValueError, match=rf"node 'node' \(LSTM\): .*{message}"):
            model.run({**feeds, name: wrong})


def test_dynamic_quantize_lstm_is_near_the_float_one_and_near_onnxruntime():
    import onnxruntime

    rng = np.random.default_rng(0)
    for ways, direction in ((1, "forward"), (1, "reverse"), (2, "bidirectional")):
        w = rng.integers(-100, 100, (ways, 3, 16)).astype(np.int8)
        r = rng.integers(-100, 100, (ways, 4, 16)).astype(np.int8)
        scales = {"ws": np.full(ways, 0.005, "f"), "rs": np.full(ways, 0.004, "f")}
        zeros = {"wz": np.zeros(ways, np.int8), "rz": np.zeros(ways, np.int8)}
        b = rng.uniform(-0.3, 0.3, (ways, 32)).astype("f")
        constants = {"W": w, "R": r, "B": b, **scales, **zeros}
        node = helper.make_node("DynamicQuantizeLSTM", ["X", "W", "R", "B", "", "", "", "", "ws", "wz", "rs", "rz"],
                                ["Y", "Yh", "Yc"], domain="com.microsoft", hidden_size=4, direction=direction)
        value = helper.make_tensor_value_info
        graph = helper.make_graph([node], "q", [value("X", TensorProto.FLOAT, [None, None, 3])],
                                  [value(name, TensorProto.FLOAT, None) for name in ("Y", "Yh", "Yc")],
                                  [numpy_helper.from_array(array, name) for name, array in constants.items()])
        data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17),
                                                       helper.make_opsetid("com.microsoft", 1)],
                                 ir_version=8).SerializeToString()
        x = rng.standard_normal((7, 2, 3)).astype("f")
        found = fastrnn.from_onnx(data).run({"X": x})
        turn = (0, 2, 1)
        plain = {"X": x, "W": (w * np.float32(0.005)).transpose(turn), "R": (r * np.float32(0.004)).transpose(turn),
                 "B": b}
        exact, feeds = model_of("LSTM", {"direction": direction}, plain, ["Y"], ("X",))
        near = fastrnn.from_onnx(exact).run(feeds)["Y"]
        assert 1e-6 < np.abs(found["Y"] - near).max() < 0.02
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        for one, other in zip(found.values(), session.run(None, {"X": x})):
            np.testing.assert_allclose(one, other, atol=0.01)
