"""The recurrent nodes of any graph as runners, whatever else the graph holds."""

from typing import TYPE_CHECKING

import numpy as np

from .model import opened_graph
from .ops import registry
from .ops.recurrent import PLACES, RUNNERS, Attributes, B, P, R, W
from .ops.registry import ABSENT, Info
from .program import named

if TYPE_CHECKING:
    from typing import Any

    from ..._types import PathLike, Runner

DEEPEST = 200       # nodes between a weight and the constants that it is computed from
MOST_BYTES = 1 << 32    # of one weight


class Scope:
    """What a graph and those around it say of a value: a constant, or the node that makes it."""

    def __init__(self, graph, around=None):
        self.graph, self.around = graph, around
        self.makers = {name: node for node in graph.nodes for name in node.outputs if name}
        self.computed = {}

    def constant(self, name, depth=0):
        """The array of a value that constants alone decide; None for one that they do not."""
        if name in self.graph.constants:
            return self.graph.constants[name]
        if name in self.computed:
            return self.computed[name]
        node = self.makers.get(name)
        if node is None:
            inside = name in {value.name for value in self.graph.inputs}
            return None if inside or self.around is None else self.around.constant(name, depth)
        if depth > DEEPEST or node.graphs():
            return None
        inputs = [self.constant(one, depth + 1) if one else None for one in node.inputs]
        if any(array is None and one for array, one in zip(inputs, node.inputs)):
            return None
        infos = [ABSENT if array is None else Info(array, array.shape, array.dtype) for array in inputs]
        call = registry.build(node, infos)
        try:
            with registry.limited(MOST_BYTES), np.errstate(all="ignore"):
                results = call(*inputs)
        except Exception as error:
            raise named(error, node.where) from error
        results = results if registry.find(node).many else (results,)
        self.computed.update((one, np.asarray(array)) for one, array in zip(node.outputs, results) if one)
        return self.computed[name]


def found_runners(graph, path="", around=None):
    """(name, runner) of each recurrent node, those of inner graphs included."""
    scope = Scope(graph, around)
    for node in graph.nodes:
        name = path + (node.name or next(filter(None, node.outputs), node.op))
        if node.op in RUNNERS and not node.domain:
            yield name, runner_of(node, scope)
        for attribute, inner in node.graphs().items():
            yield from found_runners(inner, f"{name}.{attribute}/", scope)


def runner_of(node, scope):
    registry.find(node)
    attributes = Attributes(node)
    node.finish()
    arrays = []
    for place, name in ((W, "W"), (R, "R"), (B, "B"), (P, "P")):
        given = node.inputs[place] if place < min(PLACES[node.op], len(node.inputs)) else ""
        arrays.append(scope.constant(given) if given else None)
        if given and arrays[-1] is None:
            raise ValueError(f"{node.where}: {name}: expected a weight that constants decide, found {given!r}, which "
                             "the "
                             "graph's inputs decide")
    runner = attributes.runner(*arrays)
    runner.batch_first = attributes.batch_first
    return runner


def onnx_layers(model: "PathLike | bytes | Any") -> "dict[str, Runner]":
    """Every RNN, LSTM and GRU node of a graph, and of graphs inside it, as a runner with the node's weights.

    So the recurrent part of a model can be used whose other operators `from_onnx` does not know.

    Parameters
    ----------
    model : path, bytes or onnx.ModelProto
        Of operator set 7 or newer.

    Returns
    -------
    dict of str to RNN, LSTM or GRU
        By the nodes' names; a node without one has its first output's. A node inside another has that one's name and
        attribute before its own, such as "If_3.then_branch/LSTM_0". Of several nodes of one name, the second has "#2"
        after it, and so on. A runner takes the node's own X: (T, B, I), or (B, T, I) for layout=1, and returns Y as
        (T, B, D*H), or (B, T, D*H). Initial states and lengths are arguments of its call.

    Raises
    ------
    ValueError, TypeError
        If this is no ONNX model, or the inputs of a run decide a node's weights.
    """
    def build(graph):
        found = {}
        for name, runner in found_runners(graph):
            count = 1
            while (key := name if count == 1 else f"{name}#{count}") in found:
                count += 1
            found[key] = runner
        return found
    return opened_graph(model, build)
