"""The ONNX model of a cell's runner."""

import numpy as np
import onnx

from ..engine.kinds import KINDS


def build_onnx(cell, data, carried=False, ragged=False):
    """A model as bytes: X (T, B, I) -> Y (T, 1, B, H).

    With `carried` it has the state as inputs h, c (1, B, H) and outputs h_out, c_out too; with `ragged` the
    input lengths (B,).
    """

    kind = KINDS[cell.kind]

    def gates(name):
        blocks = dict(zip([gate.symbol for gate in kind.gates], np.split(data[name], len(kind.gates))))
        return np.concatenate([blocks[symbol] for symbol in kind.orders["onnx"]])

    weights = {
        "W": gates("weight_ih_l0")[None],
        "R": gates("weight_hh_l0")[None],
        "B": np.concatenate([gates("bias_ih_l0"), gates("bias_hh_l0")])[None],
    }
    states = state_names(cell) if carried else []
    attributes = {"linear_before_reset": 1} if cell.kind == "GRU" else {}
    node = onnx.helper.make_node(
        cell.kind,
        ["X", "W", "R", "B", "lengths" if ragged else "", *states],
        ["Y", *(f"{s}_out" for s in states)],
        hidden_size=cell.hidden,
        **attributes,
    )
    real = onnx.TensorProto.FLOAT
    value = onnx.helper.make_tensor_value_info
    shape = [1, cell.batch, cell.hidden]
    inputs = [
        value("X", real, [cell.steps, cell.batch, cell.inputs]),
        *(value(s, real, shape) for s in states),
    ]
    if ragged:
        inputs.append(value("lengths", onnx.TensorProto.INT32, [cell.batch]))
    outputs = [value("Y", real, [cell.steps, *shape]), *(value(f"{s}_out", real, shape) for s in states)]
    graph = onnx.helper.make_graph(
        [node],
        "recurrent",
        inputs,
        outputs,
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


def state_names(cell):
    """The names of the carried states."""
    return ["h", "c"] if cell.kind == "LSTM" else ["h"]
