"""Convolutions, pooling over windows, and what reduces the steps of a sequence to one."""

import numpy as np

from ....nn import layers
from ..tensors import NUMBERS
from .modules import writes


def within(graph, flow, fill=0):
    """The steps (T, B, C), with `fill` beyond the lengths."""
    if flow.lengths is None:
        return flow.value
    return graph.add("Where", graph.valid(flow.value, flow.lengths), flow.value, graph.number(fill))


def lengths_after(graph, module, lengths):
    """The lengths of a windowed layer's output: floor((n + padding - reach - 1) / stride) + 1, and 0 of 0."""
    around = sum(module._around) - module._reach
    if lengths is None or (module.stride == 1 and not around):
        return lengths
    number = {n: graph.constant(np.array(n, np.int32)) for n in (0, 1, around - 1, module.stride)}
    windows = graph.add("Div", graph.add("Add", lengths, number[around - 1]), number[module.stride])
    some = graph.add("Less", number[0], lengths)
    return graph.add("Where", some, graph.add("Add", windows, number[1]), number[0])


def windowed(graph, module, flow, op, fill, *weights, **attributes):
    """An operator on (B, C, T)."""
    x = graph.transposed(within(graph, flow, fill), 1, 2, 0)
    y = graph.add(op, x, *weights, kernel_shape=[module.kernel_size], strides=[module.stride],
                  pads=list(module._around), **attributes)
    return flow._replace(value=graph.transposed(y, 2, 0, 1), lengths=lengths_after(graph, module, flow.lengths))


@writes(layers.Conv1d)
def write_conv(graph, module, prefix, flow, states):
    weights = [graph.constant(module.params[name], prefix + name) for name in ("weight",
                                                                               "bias") if name in module.params]
    return windowed(graph, module, flow, "Conv", 0, *weights, dilations=[module.dilation], group=module.groups)


@writes(layers.MaxPool1d)
def write_max_pool(graph, module, prefix, flow, states):
    return windowed(graph, module, flow, "MaxPool", -np.inf, dilations=[module.dilation])


@writes(layers.AvgPool1d)
def write_avg_pool(graph, module, prefix, flow, states):
    return windowed(graph, module, flow, "AveragePool", 0, count_include_pad=1)


@writes(layers.BatchNorm1d)
def write_batch_norm(graph, module, prefix, flow, states):
    if not module.track_running_stats:
        raise ValueError("model: expected BatchNorm1d with track_running_stats=True, as a graph serves single "
                         "sequences; "
                         "found False")
    params = {name: graph.constant(array, prefix + name) for name, array in module.params.items()
              if name != "num_batches_tracked"}
    spread = graph.add("Sqrt", graph.add("Add", params["running_var"], graph.number(module.eps)))
    y = graph.add("Div", graph.add("Sub", flow.value, params["running_mean"]), spread)
    if module.affine:
        y = graph.add("Add", graph.add("Mul", y, params["weight"]), params["bias"])
    return flow._replace(value=y)


def pooled(graph, flow, y):
    """The flow behind a pooling over all steps; a sequence without any gives zeros."""
    if flow.lengths is not None:
        some = graph.add("Less", graph.constant(np.array(0, np.int32)), flow.lengths)
        y = graph.add("Where", graph.add("Unsqueeze", some, graph.ints(1)), y, graph.number(0))
    return flow._replace(value=y, steps=False, lengths=None)


@writes(layers.MeanOverTime)
def write_mean_over_time(graph, module, prefix, flow, states):
    if flow.lengths is None:
        return pooled(graph, flow, graph.add("ReduceMean", flow.value, axes=[0], keepdims=0))
    total = graph.add("ReduceSum", within(graph, flow), graph.ints(0), keepdims=0)
    count = graph.add("Max", graph.add("Cast", flow.lengths, to=NUMBERS[graph.dtype]), graph.number(1))
    return pooled(graph, flow, graph.add("Div", total, graph.add("Unsqueeze", count, graph.ints(1))))


@writes(layers.MaxOverTime)
def write_max_over_time(graph, module, prefix, flow, states):
    return pooled(graph, flow, graph.add("ReduceMax", within(graph, flow, -np.inf), axes=[0], keepdims=0))


@writes(layers.AttentionPooling)
def write_attention_pooling(graph, module, prefix, flow, states):
    params = {name: graph.constant(array, prefix + name) for name, array in module.params.items()}
    x = within(graph, flow)
    u = graph.add("Tanh", graph.affine(x, params["weight"], params["bias"]))
    scores = graph.add("ReduceSum", graph.add("Mul", u, params["context"]), graph.ints(2), keepdims=1)
    if flow.lengths is not None:
        low = graph.number(np.finfo(graph.dtype).min / 4)   # finite: a sequence without steps has no NaN
        scores = graph.add("Where", graph.valid(x, flow.lengths), scores, low)
    weights = graph.add("Softmax", scores, axis=0)
    return pooled(graph, flow, graph.add("ReduceSum", graph.add("Mul", weights, x), graph.ints(0), keepdims=0))
