"""What each type of module is in nodes. Values are names; sequences are (T, B, C), ids (T, B), pooled values (B, C)."""

from typing import Any, NamedTuple

import numpy as np

from ....data.scaling import Rescale, Standardize
from ....models.text import OneHot
from ....nn import layers
from ....nn.branches import Concat, Residual
from ....nn.masked import MaskedSequential
from ....nn.runners import Runner
from ....nn.sequential import Sequential
from ..tensors import NUMBERS
from .runners import write_layers

WRITERS = {}    # type -> function (graph, module, prefix, flow) -> Flow


class Flow(NamedTuple):
    """What goes from module to module: a value, the lengths (B,) or None, and whether there is an axis of steps."""

    value: str
    lengths: Any = None
    steps: bool = True


class States:
    """The state inputs and outputs of a graph: for each recurrent module, by its prefix."""

    def __init__(self, wanted):
        self.wanted = wanted
        self.inputs, self.outputs = {}, []


def writes(*types):
    def enter(function):
        WRITERS.update(dict.fromkeys(types, function))
        return function
    return enter


def write_module(graph, module, prefix, flow, states):
    """The flow behind a module."""
    for type_ in type(module).__mro__:
        if type_ in WRITERS:
            return WRITERS[type_](graph, module, prefix, flow, states)
    raise TypeError(f"model: expected modules that ONNX graphs can be made of, found {type(module).__name__}"
                    f"{f' at {prefix[:-1]}' if prefix else ''}")


@writes(MaskedSequential)
def write_masked(graph, module, prefix, flow, states):
    if flow.lengths is None:
        raise ValueError("lengths: expected True for a MaskedSequential, as the graph does not look for masked steps; "
                         "found False")
    return write_sequential(graph, module, prefix, flow, states)


@writes(Sequential)
def write_sequential(graph, module, prefix, flow, states):
    tied = module.tie_embeddings
    for k, one in enumerate(module.modules):
        if tied and k == len(module.modules) - 1:
            own = {"weight": f"{prefix}0.weight"}
            flow = write_linear(graph, one, f"{prefix}{k}.", flow, states, own)
        else:
            flow = write_module(graph, one, f"{prefix}{k}.", flow, states)
    return flow


@writes(Residual)
def write_residual(graph, module, prefix, flow, states):
    inner, = module.modules
    y = write_module(graph, inner, f"{prefix}0.", flow, states)
    return flow._replace(value=graph.add("Add", flow.value, y.value))


@writes(Concat)
def write_concat(graph, module, prefix, flow, states):
    found = [write_module(graph, one, f"{prefix}{k}.", flow, states) for k, one in enumerate(module.modules)]
    return found[0]._replace(value=graph.concatenated([one.value for one in found], -1))


@writes(Runner)
def write_runner(graph, runner, prefix, flow, states):
    lengths = flow.lengths
    parts = runner._state
    ways = 1 + runner.bidirectional
    given = None
    if states.wanted:
        if "w" in parts and lengths is not None:
            raise ValueError("lengths: expected False with the states of a QRNN with a window, found True")
        given = []
        for part, width in zip(parts, runner._widths):
            shape = runner.num_layers * ways, "batch", width
            given.append(graph.input(f"{prefix}{part}_in", graph.dtype, shape))
    y, final = write_layers(graph, runner, prefix, flow.value, lengths, given)
    if states.wanted:
        states.outputs += [(one, f"{prefix}{part}_out", (runner.num_layers * ways, "batch", width))
                           for one, part, width in zip(final, parts, runner._widths)]
    return flow._replace(value=y)


@writes(layers.Linear)
def write_linear(graph, module, prefix, flow, states, names=None):
    names = names or {}
    weight, bias = (graph.constant(module.params[key], names.get(key, prefix + key)) if key in module.params else None
                    for key in ("weight", "bias"))
    return flow._replace(value=graph.affine(flow.value, weight, bias))


@writes(layers.Embedding)
def write_embedding(graph, module, prefix, flow, states):
    return flow._replace(value=graph.add("Gather", graph.constant(module.params["weight"], f"{prefix}weight"),
                                         flow.value,
                                         axis=0))


@writes(OneHot)
def write_one_hot(graph, module, prefix, flow, states):
    values = graph.constant(np.array([0, 1], graph.dtype))
    depth = graph.constant(np.array(module.size, np.int64))
    return flow._replace(value=graph.add("OneHot", flow.value, depth, values, axis=-1))


@writes(layers.LayerNorm)
def write_layer_norm(graph, module, prefix, flow, states):
    weight, bias = (graph.constant(module.params[key], prefix + key) for key in ("weight", "bias"))
    return flow._replace(value=graph.add("LayerNormalization", flow.value, weight, bias, axis=-1,
                                         epsilon=float(module.eps)))


@writes(layers.Dropout, layers.ActivationRegularization)
def write_nothing(graph, module, prefix, flow, states):
    """These act in training only."""
    return flow


def plain(op, **attributes):
    def write(graph, module, prefix, flow, states):
        return flow._replace(value=graph.add(op, flow.value, **attributes))
    return write


for _type, _write in {layers.ReLU: plain("Relu"), layers.Tanh: plain("Tanh"), layers.Sigmoid: plain("Sigmoid"),
                      layers.Hardsigmoid: plain("HardSigmoid", alpha=1 / 6, beta=0.5),
                      layers.Softmax: plain("Softmax", axis=-1), layers.LogSoftmax: plain("LogSoftmax",
                                                                                          axis=-1)}.items():
    writes(_type)(_write)


@writes(layers.LeakyReLU)
def write_leaky_relu(graph, module, prefix, flow, states):
    return plain("LeakyRelu", alpha=float(module.negative_slope))(graph, module, prefix, flow, states)


@writes(layers.ELU)
def write_elu(graph, module, prefix, flow, states):
    return plain("Elu", alpha=float(module.alpha))(graph, module, prefix, flow, states)


@writes(layers.SiLU)
def write_silu(graph, module, prefix, flow, states):
    return flow._replace(value=graph.add("Mul", flow.value, graph.add("Sigmoid", flow.value)))


@writes(layers.GELU)
def write_gelu(graph, module, prefix, flow, states):
    x = flow.value
    if module.approximate == "none":
        inner = graph.add("Erf", graph.add("Mul", x, graph.number(np.sqrt(0.5))))
    else:
        cube = graph.add("Mul", graph.add("Mul", x, x), graph.add("Mul", x, graph.number(0.044715)))
        inner = graph.add("Tanh", graph.add("Mul", graph.add("Add", x, cube), graph.number(np.sqrt(2 / np.pi))))
    half = graph.add("Mul", x, graph.number(0.5))
    return flow._replace(value=graph.add("Mul", half, graph.add("Add", inner, graph.number(1))))


@writes(layers.Softplus)
def write_softplus(graph, module, prefix, flow, states):
    beta = graph.number(module.beta)
    scaled = graph.add("Mul", flow.value, beta)
    y = graph.add("Div", graph.add("Softplus", scaled), beta)
    above = graph.add("Greater", scaled, graph.number(module.threshold))
    return flow._replace(value=graph.add("Where", above, flow.value, y))


@writes(Standardize)
def write_standardize(graph, module, prefix, flow, states):
    mean, scale = (graph.constant(np.asarray(one, graph.dtype)) for one in (module.mean, module.scale))
    return flow._replace(value=graph.add("Div", graph.add("Sub", flow.value, mean), scale))


@writes(Rescale)
def write_rescale(graph, module, prefix, flow, states):
    mean, scale = (graph.constant(np.asarray(one, graph.dtype)) for one in (module.mean, module.scale))
    return flow._replace(value=graph.add("Add", graph.add("Mul", flow.value, scale), mean))


@writes(layers.Reverse)
def write_reverse(graph, module, prefix, flow, states):
    return flow._replace(value=graph.reversed(flow.value, flow.lengths))


@writes(layers.Flatten)
def write_flatten(graph, module, prefix, flow, states):
    if flow.lengths is not None:
        raise ValueError("lengths: expected False with Flatten, which takes sequences of one length, found True")
    turned = graph.transposed(flow.value, 1, 0, 2)
    return flow._replace(value=graph.add("Flatten", turned, axis=1), steps=False)


@writes(layers.LastStep)
def write_last_step(graph, module, prefix, flow, states):
    x = flow.value
    first = graph.add("Gather", x, graph.constant(np.array(0, np.int64)), axis=0)
    if flow.lengths is None:
        last = graph.add("Gather", x, graph.constant(np.array(-1, np.int64)), axis=0)
    else:
        wide = graph.add("Cast", flow.lengths, to=NUMBERS[np.dtype(np.int64)])
        one = graph.constant(np.array(1, np.int64))
        at = graph.add("Max", graph.add("Sub", wide, one), graph.constant(np.array(0, np.int64)))
        batch = graph.add("Squeeze", graph.add("Shape", wide), graph.ints(0))
        rows = graph.add("Range", graph.constant(np.array(0, np.int64)), batch, one)
        places = graph.concatenated([graph.add("Unsqueeze", part, graph.ints(1)) for part in (at, rows)], 1)
        some = graph.add("Unsqueeze", graph.add("Less", graph.constant(np.array(0, np.int64)), wide), graph.ints(1))
        last, first = (graph.add("Where", some, part, graph.number(0)) for part in
                       (graph.add("GatherND", x, places), first))
    if module.direction == "bidirectional":
        parts = [graph.add("Split", part, outputs=2, axis=-1)[k] for k, part in enumerate((last, first))]
        y = graph.concatenated(parts, -1)
    else:
        y = first if module.direction == "reverse" else last
    return flow._replace(value=y, steps=False, lengths=None)
