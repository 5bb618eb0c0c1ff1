"""Nodes that are one step together: a convolution and the Relu that alone reads it, and a spectrum's magnitude."""

from collections import Counter

import numpy as np

from .graph import Node

SQUARES = "Pow", "Mul"


def fused(nodes, outputs, constants):
    """The nodes, some of them replaced by those of the domain "fastrnn"; `outputs` are names that must stay."""
    uses = Counter(outputs)
    for node in nodes:
        uses.update(name for name in node.inputs if name)
        for graph in node.graphs().values():
            uses.update(graph.free())
    makers = {name: node for node in nodes for name in node.outputs if name}
    replaced, gone = {}, set()

    def made_for_one(name, *ops):
        """The node of one of these operators that makes a value which one other node reads, else None."""
        maker = makers.get(name)
        return maker if maker is not None and not maker.domain and maker.op in ops and uses[name] == 1 else None

    def constant(name):
        """The array of a constant, of which some are still nodes within the branches of an `If`."""
        maker = makers.get(name)
        if maker is not None and not maker.domain and maker.op == "Constant":
            value = maker.attributes.get("value")
            return value if isinstance(value, np.ndarray) else None
        return constants.get(name)

    def squared(name):
        """(what is squared, the node), or None."""
        node = made_for_one(name, *SQUARES)
        if node is None or len(node.inputs) != 2:
            return None
        exponent = constant(node.inputs[1]) if node.op == "Pow" else None
        square = node.inputs[0] == node.inputs[1] if node.op == "Mul" else \
            exponent is not None and exponent.ndim == 0 and exponent == 2
        return (node.inputs[0], node) if square else None

    for node in nodes:
        if node.op == "Relu" and not node.domain:
            maker = made_for_one(node.inputs[0], "Conv")
            if maker is None:
                continue
            joined = Node("fastrnn", "ConvRelu", maker.version, maker.name, maker.inputs, node.outputs,
                          maker.attributes)
            joined.memos = maker.memos      # the packed weights
            found = [maker]
        elif node.op == "Sqrt" and not node.domain:
            total = made_for_one(node.inputs[0], "Add")
            parts = [squared(name) for name in total.inputs] if total is not None and len(total.inputs) == 2 else [None]
            if None in parts:
                continue
            joined = Node("fastrnn", "Magnitude", node.version, node.name, tuple(name for name, _ in parts),
                          node.outputs, node.attributes)
            found = [total, *(square for _, square in parts)]
        else:
            continue
        joined.where = f"{found[0].where} and {node.where}"
        replaced[node], makers[node.outputs[0]] = joined, joined
        gone.update(found)
    return [replaced.get(node, node) for node in nodes if node not in gone]
