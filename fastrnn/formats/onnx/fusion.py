"""Nodes that are one step together: a convolution and the Relu that alone reads it, a product and its bias."""

from collections import Counter

from .graph import Node


def fused(nodes, outputs):
    """The nodes, some of them replaced by those of the domain "fastrnn"; `outputs` are names that must stay."""
    uses = Counter(outputs)
    for node in nodes:
        uses.update(name for name in node.inputs if name)
        for graph in node.graphs().values():
            uses.update(graph.free())
    makers = {name: node for node in nodes for name in node.outputs if name}
    replaced, gone = {}, set()
    for node in nodes:
        if node.op == "Relu" and not node.domain:
            maker = makers.get(node.inputs[0])
            if maker is not None and (maker.domain, maker.op) == ("", "Conv") and uses[node.inputs[0]] == 1:
                joined = Node("fastrnn", "ConvRelu", maker.version, maker.name, maker.inputs, node.outputs,
                              maker.attributes)
                joined.memos = maker.memos      # the packed weights
                joined.where = f"{maker.where} and {node.where}"
                replaced[node], makers[node.outputs[0]] = joined, joined
                gone.add(maker)
    return [replaced.get(node, node) for node in nodes if node not in gone]
