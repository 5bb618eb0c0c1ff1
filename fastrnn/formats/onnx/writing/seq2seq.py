"""The two graphs of a `Seq2Seq`: its encoder, and one step of its decoder."""

import numpy as np

from ..tensors import NUMBERS
from .modules import Flow, States, write_module
from .runners import write_layers

INT64 = NUMBERS[np.dtype(np.int64)]


def states_of(model):
    return ("h", "c") if model.cell == "lstm" else ("h",)


def part_of(graph, model, name, value):
    """The value behind one of the model's parts without a state."""
    return write_module(graph, model._parts[name], f"{name}.", Flow(value), States(False)).value


def write_encoder(graph, model):
    parts, attends = model._parts, model.attention is not None
    if model.source == "ids":
        x = graph.transposed(graph.input("x", np.int64, ("batch", "positions")), 1, 0)
        lengths = graph.input("lengths", np.int32, ("batch",))
        e = part_of(graph, model, "source_embedding", x)
        y, final = write_layers(graph, parts["encoder"], "encoder.", e, lengths, None)
        ways = 1 + model.bidirectional
        last = [graph.sliced(one, -ways, 2**62, 0) for one in final]
        summary = graph.concatenated([graph.add("Squeeze", graph.sliced(one, k, k + 1, 0), graph.ints(0))
                                      for one in last for k in range(ways)], 1)
        memory = graph.transposed(y, 1, 0, 2)
    else:
        memory = graph.input("x", graph.dtype, ("batch", "positions", model.source_size))
        lengths = graph.input("lengths", np.int32, ("batch",))
        inside = graph.transposed(graph.valid(graph.transposed(memory, 1, 0, 2), lengths), 1, 0, 2)
        memory = graph.add("Where", inside, memory, graph.number(0))
        total = graph.add("ReduceSum", memory, graph.ints(1), keepdims=0)
        count = graph.add("Max", graph.add("Cast", lengths, to=NUMBERS[graph.dtype]), graph.number(1))
        summary = graph.add("Div", total, graph.add("Unsqueeze", count, graph.ints(1)))
    flat = graph.add("Tanh", part_of(graph, model, "bridge", summary))
    names, shape = states_of(model), (model.num_layers, "batch", model.hidden_size)
    whole = graph.add("Reshape", flat, graph.ints(0, len(names), model.num_layers, model.hidden_size))
    whole = graph.transposed(whole, 1, 2, 0, 3)
    for k, name in enumerate(names):
        graph.output(graph.add("Squeeze", graph.sliced(whole, k, k + 1, 0), graph.ints(0)), name, graph.dtype, shape)
    if attends:
        graph.output(memory, "memory", graph.dtype, ("batch", "positions", model._memory_size))
    if "keys" in parts:
        graph.output(part_of(graph, model, "keys", memory), "keys", graph.dtype,
                     ("batch", "positions", parts["attention"].size))


def attended(graph, model, query, memory, keys, lengths):
    """(context (B, W), weights (B, S)) of queries (B, H)."""
    attention = model._parts["attention"]
    params = {name: graph.constant(array, f"attention.{name}") for name, array in attention.params.items()}
    q = graph.affine(query, params["weight_query"]) if "weight_query" in params else query
    q = graph.add("Unsqueeze", q, graph.ints(1))
    if attention.kind == "additive":
        seen = graph.add("Tanh", graph.add("Add", q, keys))
        scores = graph.add("ReduceSum", graph.add("Mul", seen, params["score"]), graph.ints(2), keepdims=0)
    else:
        scores = graph.add("ReduceSum", graph.add("Mul", q, memory), graph.ints(2), keepdims=0)
    zero, one = (graph.constant(np.array(n, np.int64)) for n in (0, 1))
    positions = graph.add("Squeeze", graph.sliced(graph.add("Shape", memory), 1, 2, 0), graph.ints(0))
    wide = graph.add("Unsqueeze", graph.add("Cast", lengths, to=INT64), graph.ints(1))
    inside = graph.add("Less", graph.add("Unsqueeze", graph.add("Range", zero, positions, one), graph.ints(0)), wide)
    # far below every score, and finite: a memory of no valid position has no NaN
    low = graph.number(np.finfo(graph.dtype).min / 4)
    weights = graph.add("Softmax", graph.add("Where", inside, scores, low), axis=-1)
    weights = graph.add("Where", inside, weights, graph.number(0))
    context = graph.add("MatMul", graph.add("Unsqueeze", weights, graph.ints(1)), memory)
    return graph.add("Squeeze", context, graph.ints(1)), weights


def write_decoder(graph, model):
    ids = graph.input("id", np.int64, ("batch",))
    shape = model.num_layers, "batch", model.hidden_size
    states = [graph.input(f"{name}_in", graph.dtype, shape) for name in states_of(model)]
    e = part_of(graph, model, "target_embedding", ids)
    memory = keys = lengths = weights = None
    if model.attention is not None:
        memory = graph.input("memory", graph.dtype, ("batch", "positions", model._memory_size))
        if "keys" in model._parts:
            keys = graph.input("keys", graph.dtype, ("batch", "positions", model._parts["attention"].size))
        lengths = graph.input("lengths", np.int32, ("batch",))
    joined = e
    if memory is not None and model.attention_at == "input":
        last = graph.add("Squeeze", graph.sliced(states[0], -1, 2**62, 0), graph.ints(0))
        context, weights = attended(graph, model, last, memory, keys, lengths)
        joined = graph.concatenated([e, context], 1)
    y, final = write_layers(graph, model._parts["decoder"], "decoder.", graph.add("Unsqueeze", joined, graph.ints(0)),
                            None, states)
    h = graph.add("Squeeze", y, graph.ints(0))
    if memory is not None and model.attention_at == "output":
        context, weights = attended(graph, model, h, memory, keys, lengths)
    read = graph.concatenated([h, e] if memory is None else [h, context, e], 1)
    if "readout" in model._parts:
        read = graph.add("Tanh", part_of(graph, model, "readout", read))
    graph.output(part_of(graph, model, "output", read), "logits", graph.dtype, ("batch", model.target_size))
    for name, value in zip(states_of(model), final):
        graph.output(value, f"{name}_out", graph.dtype, shape)
    if weights is not None:
        graph.output(weights, "weights", graph.dtype, ("batch", "positions"))
