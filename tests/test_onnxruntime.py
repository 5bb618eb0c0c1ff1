"""Outputs and final states against ONNX Runtime's RNN, LSTM and GRU operators."""

import numpy as np
import pytest
from tolerances import relative_error, tolerance

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
import fastrnn  # noqa: E402

# name -> class and options, operator and attributes in ONNX, and for each gate of ONNX (i o f c, z r h)
# which of ours (i f g o, r z n) it is
OPERATORS = {
    "rnn_tanh": (fastrnn.RNN, {"nonlinearity": "tanh"}, "RNN", {"activations": ["Tanh"]}, [0]),
    "rnn_relu": (fastrnn.RNN, {"nonlinearity": "relu"}, "RNN", {"activations": ["Relu"]}, [0]),
    "lstm": (fastrnn.LSTM, {}, "LSTM", {}, [0, 3, 1, 2]),
    "gru_reset_after": (fastrnn.GRU, {"reset_after": True}, "GRU", {"linear_before_reset": 1}, [1, 0, 2]),
    "gru_reset_before": (fastrnn.GRU, {"reset_after": False}, "GRU", {"linear_before_reset": 0}, [1, 0, 2]),
}
SIZES = [(1, 1, 1, 1), (3, 2, 5, 7), (9, 4, 16, 8), (17, 5, 7, 33), (30, 20, 40, 24)]


def onnx_session(rnn, operator, attributes, gate_order):
    """An ONNX Runtime session of one operator with the parameters of `rnn`, a runner of one layer.

    attributes: of the operator, those of both directions where there are two.
    """
    suffixes = ["_l0", "_l0_reverse"] if rnn.bidirectional else ["_l0"]

    def stacked(name):
        return np.stack(
            [
                np.concatenate([np.split(rnn.params[name + s], len(gate_order))[gate] for gate in gate_order])
                for s in suffixes
            ]
        )

    weights = {
        "W": stacked("weight_ih"),
        "R": stacked("weight_hh"),
        "B": np.concatenate([stacked("bias_ih"), stacked("bias_hh")], axis=1),
    }
    states = ["h", "c"] if operator == "LSTM" else ["h"]
    if getattr(rnn, "peepholes", False):
        weights["P"] = np.stack([np.concatenate([rnn.params[f"weight_c{gate}{s}"] for gate in "iof"])
                                 for s in suffixes])
    node = onnx.helper.make_node(
        operator,
        ["X", "W", "R", "B", "lengths", *(f"initial_{s}" for s in states), *(["P"] if "P" in weights else [])],
        ["Y", *(f"final_{s}" for s in states)],
        hidden_size=rnn.hidden_size,
        direction=rnn.direction,
        **attributes,
    )
    value = onnx.helper.make_tensor_value_info
    real, int32 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT32
    graph = onnx.helper.make_graph(
        [node],
        "recurrent",
        [
            value("X", real, [None, None, rnn.input_size]),
            value("lengths", int32, [None]),
            *(value(f"initial_{s}", real, [None] * 3) for s in states),
        ],
        [value("Y", real, [None] * 4), *(value(f"final_{s}", real, [None] * 3) for s in states)],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


@pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "bidirectional"])
@pytest.mark.parametrize(("steps", "batch", "input_size", "hidden_size"), SIZES)
@pytest.mark.parametrize("cell", OPERATORS)
def test_equals_onnxruntime(cell, steps, batch, input_size, hidden_size, bidirectional, padded):
    runner, options, operator, attributes, gate_order = OPERATORS[cell]
    rng = np.random.default_rng([steps, batch, input_size, hidden_size, bidirectional, padded])
    rnn = runner(input_size, hidden_size, bidirectional=bidirectional, **options)
    for value in rnn.params.values():
        value[...] = rng.uniform(-0.4, 0.4, value.shape)
    x = rng.standard_normal((steps, batch, input_size), np.float32)
    rows = 2 if bidirectional else 1
    state = [
        rng.standard_normal((rows, batch, hidden_size), np.float32) for _ in range(2 if cell == "lstm" else 1)
    ]
    lengths = rng.integers(1, steps + 1, batch) if padded else np.full(batch, steps)

    if "activations" in attributes:
        attributes = {**attributes, "activations": attributes["activations"] * rows}
    session = onnx_session(rnn, operator, attributes, gate_order)
    initial = {f"initial_{name}": value for name, value in zip("hc", state)}
    expected, *expected_state = session.run(None, {"X": x, "lengths": lengths.astype(np.int32), **initial})
    y, final = rnn(x, tuple(state) if cell == "lstm" else state[0], lengths)

    allowed = tolerance("ONNX Runtime")
    assert relative_error(y, np.concatenate(list(expected.swapaxes(0, 1)), axis=-1)) < allowed
    for found, other in zip(final if cell == "lstm" else [final], expected_state, strict=True):
        assert relative_error(found, other) < allowed
