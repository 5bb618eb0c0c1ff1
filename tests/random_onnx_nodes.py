"""Random RNN, LSTM and GRU nodes with all their attributes, by fastrnn and by ONNX Runtime.

    python tests/random_onnx_nodes.py --nodes 1000 --seed 0

ONNX Runtime refuses layout=1: it gets the same node with layout=0 and the arrays turned. Its numbers grow without bound
for some activations; nodes whose values reach 100 are not compared.
"""

import argparse

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import fastrnn

# name -> how many numbers it takes
ACTIVATIONS = {"Sigmoid": 0, "Tanh": 0, "Relu": 0, "Affine": 2, "LeakyRelu": 1, "ThresholdedRelu": 1, "ScaledTanh": 2,
               "HardSigmoid": 2, "Elu": 1, "Softsign": 0, "Softplus": 0}  # fmt: skip
GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}
COUNT = {"RNN": 1, "LSTM": 3, "GRU": 2}
TOLERANCE = 1e-5
STATES = {"RNN": "h", "LSTM": "hc", "GRU": "h"}


def draw(rng):
    """(operator, attributes, inputs by name in order, outputs) of one node, time-major."""
    kind = sorted(GATES)[rng.integers(3)]
    direction = ["forward", "reverse", "bidirectional"][rng.integers(3)]
    ways = 1 + (direction == "bidirectional")
    features, hidden, batch, steps = (int(rng.integers(1, high)) for high in (9, 20, 6, 9))
    attributes = {"direction": direction, "hidden_size": hidden}
    if rng.random() < 0.6:
        names = [sorted(ACTIVATIONS)[rng.integers(len(ACTIVATIONS))] for _ in range(COUNT[kind] * ways)]
        attributes["activations"] = names
        for part, least in (("activation_alpha", 1), ("activation_beta", 2)):
            numbers = [round(float(rng.uniform(0.2, 1)), 2) for name in names if ACTIVATIONS[name] >= least]
            if numbers:
                attributes[part] = numbers
    if rng.random() < 0.4:
        attributes["clip"] = float([0.45, 2.0][rng.integers(2)])
    if kind == "LSTM":
        attributes["input_forget"] = int(rng.integers(2))
    if kind == "GRU":
        attributes["linear_before_reset"] = int(rng.integers(2))
    rows, bound = GATES[kind] * hidden, 1 / np.sqrt(hidden)

    def weight(*shape):
        return rng.uniform(-bound, bound, shape).astype("f")

    lengths = rng.integers(1, steps + 1, batch).astype(np.int32)
    lengths[rng.integers(batch)] = steps
    maybe = {"B": lambda: weight(ways, 2 * rows), "lengths": lambda: lengths,
             "h": lambda: weight(ways, batch, hidden), "c": lambda: weight(ways, batch, hidden),
             "P": lambda: weight(ways, 3 * hidden)}  # fmt: skip
    inputs = {"X": rng.standard_normal((steps, batch, features)).astype("f"), "W": weight(ways, rows, features),
              "R": weight(ways, rows, hidden)}
    for name in ["B", "lengths", *STATES[kind], *(["P"] if kind == "LSTM" else [])]:
        inputs[name] = maybe[name]() if rng.random() < 0.6 else None
    outputs = [name if rng.random() < 0.8 else "" for name in ("Y", *(f"Y_{state}" for state in STATES[kind]))]
    return kind, attributes, inputs, outputs if any(outputs) else ["Y"]


def model_of(kind, attributes, inputs, outputs, fed=("X", "lengths", "h", "c")):
    """A model of one node; `fed` are its inputs, all else constants."""
    given = {name: array for name, array in inputs.items() if array is not None}
    node = helper.make_node(kind, [name if name in given else "" for name in inputs], outputs, name="node",
                            **attributes)

    def value(name, array=None):
        type_ = TensorProto.FLOAT if array is None else helper.np_dtype_to_tensor_dtype(array.dtype)
        return helper.make_tensor_value_info(name, type_, None if array is None else [None] * array.ndim)

    graph = helper.make_graph(
        [node], "one", [value(name, array) for name, array in given.items() if name in fed],
        [value(name) for name in outputs if name],
        [numpy_helper.from_array(array, name) for name, array in given.items() if name not in fed],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString(), {name: array for name, array in given.items() if name in fed}


def turned(name, array):
    """An input or output with the batch first."""
    if array is None:
        return None
    if name == "Y":
        return array.transpose(2, 0, 1, 3)
    return array.swapaxes(0, 1) if name in ("X", "h", "c", "Y_h", "Y_c") else array


def compare(seed):
    """Whether the two were compared; raises if they differ."""
    rng = np.random.default_rng([seed, 12])
    kind, attributes, inputs, outputs = draw(rng)
    data, feeds = model_of(kind, attributes, inputs, outputs)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"])
    names = [name for name in outputs if name]
    theirs = dict(zip(names, session.run(names, feeds)))
    if not all(np.abs(array).max() < 100 for array in theirs.values()):
        return False
    fed = ("X", "lengths", "h", "c") if rng.random() < 0.7 else tuple(inputs)   # weights that a run decides
    if rng.random() < 0.5:
        data, feeds = model_of(kind, attributes, inputs, outputs, fed)
    else:
        first = {name: turned(name, array) for name, array in inputs.items()}
        data, feeds = model_of(kind, {**attributes, "layout": 1}, first, outputs, fed)
        theirs = {name: turned(name, array) for name, array in theirs.items()}
    ours = fastrnn.from_onnx(data).run(feeds)
    assert list(ours) == names
    for name in names:
        scale = max(1.0, float(np.abs(theirs[name]).max()))
        assert ours[name].shape == theirs[name].shape, (seed, name)
        assert np.abs(ours[name] - theirs[name]).max() <= TOLERANCE * scale, (seed, kind, attributes, name)
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    compared = sum(map(compare, range(given.seed, given.seed + given.nodes)))
    print(f"{compared} of {given.nodes} nodes compared, all equal at {TOLERANCE}")


if __name__ == "__main__":
    main()
