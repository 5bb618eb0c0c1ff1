"""A graph that is one chain of known layers as a `Sequential`, which trains."""

import numpy as np

from ...nn import layers
from ...nn.sequential import Sequential
from .ops.recurrent import RUNNERS, Attributes, B, P, R, W
from .ops.registry import axis_of

STATES = {"RNN": (5,), "GRU": (5,), "LSTM": (5, 6)}     # places of initial states
PLAIN = {"Relu": layers.ReLU, "Tanh": layers.Tanh, "Sigmoid": layers.Sigmoid}


class Chain:
    """Follows the one value that goes from the input to the output, and collects the modules on its way.

    order: which of the input's axes each axis of the value is; (0, 1, 2) at the start, None for (B, C). time: which
    axis of the input counts the steps, or None as long as no node has told.
    """

    def __init__(self, program):
        self.constants, self.nodes, self.output = program.constants, list(program.nodes), program.outputs
        inputs = program.graph.inputs
        if len(inputs) != 1 or len(self.output) != 1:
            raise ValueError(f"graph: expected one input and one output, found {len(inputs)} and {len(self.output)}")
        self.value, self.ids = inputs[0].name, inputs[0].dtype.kind in "iu"
        self.order = (0, 1, 2)
        self.time, self.modules = None, []
        self.sequences = True

    def refuse(self, node, wanted):
        raise ValueError(f"{node.where}: expected {wanted}, found another node or form")

    def take(self):
        """The next node, which alone reads the value; it becomes the value's maker."""
        readers = [node for node in self.nodes if self.value in node.uses()]
        if len(readers) != 1:
            raise ValueError(f"value {self.value!r}: expected one node that reads it, found {len(readers)}")
        node = readers[0]
        self.nodes.remove(node)
        return node

    def follow(self, node, output=0):
        used = [name for name in node.outputs if name and (name in self.output or any(
            name in other.uses() for other in self.nodes))]
        if used != [node.outputs[output]]:
            self.refuse(node, "one output that is read")
        self.value = node.outputs[output]

    def constant(self, node, place):
        """A constant input of a node."""
        name = node.inputs[place] if place < len(node.inputs) else ""
        if name and name not in self.constants:
            self.refuse(node, f"a constant as input {place}")
        return self.constants.get(name)

    def told_time(self, node, axis):
        if self.time not in (None, axis):
            self.refuse(node, "one axis of steps in the whole graph")
        self.time = axis

    def run(self):
        while self.value != self.output[0]:
            node = self.take()
            step = getattr(self, node.op.lower(), None) if node.op in STEPS and node.domain in ("", "fastrnn") else None
            if node.op in PLAIN:
                self.modules.append(PLAIN[node.op]())
                self.follow(node)
            elif step is None:
                self.refuse(node, f"one of {', '.join(sorted([*STEPS, *PLAIN]))}")
            else:
                step(node)
        if self.sequences and self.order != (0, 1, 2):
            raise ValueError("graph: expected an output with the axes of the input, found them in another order")
        if not self.modules:
            raise ValueError("graph: expected nodes that are layers, found none")
        return Sequential(*self.modules, batch_first=self.time != 0)

    # One method for each operator, by its name in lower case

    def transpose(self, node):
        perm = node.attributes.get("perm")
        axes = 2 if self.ids else 3
        if not self.sequences or perm is None or sorted(perm) != list(range(axes)) or perm[2:] not in ((), (2,)):
            self.refuse(node, "a Transpose that swaps batch and steps")
        self.order = (*(self.order[k] for k in perm[:2]), 2)
        self.follow(node)

    def gather(self, node):
        if self.ids and node.inputs[1] == self.value:
            table = self.constant(node, 0)
            if table is None or table.ndim != 2 or node.attributes.get("axis", 0) not in (0, -2):
                self.refuse(node, "an embedding's rows")
            self.modules.append(loaded(layers.Embedding(*table.shape, dtype=table.dtype.name), weight=table))
            self.ids = False
            return self.follow(node)
        place = self.constant(node, 1)
        if place is None or place.size != 1 or place.ndim != 0 or not self.sequences:
            self.refuse(node, "the last step of sequences")
        self.told_time(node, self.order[axis_of(node.attributes.get("axis", 0), 3, node.where)])
        self.modules.append(layers.LastStep(direction={-1: "forward", 0: "reverse"}.get(int(place)) or self.refuse(
            node, "the first or the last step")))
        self.sequences = False
        return self.follow(node)

    def reducemean(self, node):
        axes = node.attributes.get("axes") if len(node.inputs) < 2 else tuple(self.constant(node, 1).tolist())
        if not self.sequences or axes is None or len(axes) != 1 or node.attributes.get("keepdims", 1):
            self.refuse(node, "the mean over steps")
        self.told_time(node, self.order[axis_of(axes[0], 3, node.where)])
        self.modules.append(layers.MeanOverTime())
        self.sequences = False
        self.follow(node)

    def matmul(self, node):
        weight = self.constant(node, 1)
        if weight is None or weight.ndim != 2 or node.inputs[0] != self.value:
            self.refuse(node, "a product with a constant matrix")
        self.follow(node)
        bias = None
        readers = [other for other in self.nodes if self.value in other.uses()]
        if len(readers) == 1 and readers[0].op == "Add" and self.value != self.output[0]:
            other, = (name for name in readers[0].inputs if name != self.value)
            bias = self.constants.get(other)
            if bias is None or bias.shape != weight.shape[1:]:
                self.refuse(readers[0], "a constant bias")
            self.nodes.remove(readers[0])
            self.follow(readers[0])
        self.linear(weight.T, bias)

    def gemm(self, node):
        weight, bias = self.constant(node, 1), self.constant(node, 2)
        turned, told = node.attributes.get("transB", 0), node.attributes
        if weight is None or told.get("transA") or {told.get("alpha", 1.0), told.get("beta", 1.0)} != {1.0} or (
                bias is not None and bias.shape != (weight.shape[0 if turned else 1],)):
            self.refuse(node, "a product with a constant matrix and bias")
        self.follow(node)
        self.linear(weight if turned else weight.T, bias)

    def linear(self, weight, bias):
        made = layers.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, dtype=weight.dtype.name)
        self.modules.append(loaded(made, weight=weight, **({} if bias is None else {"bias": bias})))

    def layernormalization(self, node):
        weight, bias = self.constant(node, 1), self.constant(node, 2)
        if weight is None or weight.ndim != 1 or node.attributes.get("axis", -1) not in (-1,
                                                                                         2 if self.sequences else 1):
            self.refuse(node, "a normalisation of the last axis with constants")
        made = layers.LayerNorm(len(weight), node.attributes.get("epsilon", 1e-5), dtype=weight.dtype.name)
        self.modules.append(loaded(made, weight=weight, bias=np.zeros_like(weight) if bias is None else bias))
        self.follow(node)

    def leakyrelu(self, node):
        self.modules.append(layers.LeakyReLU(node.attributes.get("alpha", 0.01)))
        self.follow(node)

    def elu(self, node):
        self.modules.append(layers.ELU(node.attributes.get("alpha", 1.0)))
        self.follow(node)

    def softmax(self, node):
        if node.version < 13 or node.attributes.get("axis", -1) not in (-1, 2 if self.sequences else 1):
            self.refuse(node, "a softmax over the last axis, of operator set 13 or newer")
        self.modules.append(layers.Softmax() if node.op == "Softmax" else layers.LogSoftmax())
        self.follow(node)

    logsoftmax = softmax

    def dropout(self, node):
        self.follow(node)

    def recurrent(self, node):
        told = Attributes(node)
        weights = [self.constant(node, k) for k in (W, R, B, P)] if node.op == "LSTM" else \
            [self.constant(node, k) for k in (W, R, B)]
        states = [self.constant(node, k) for k in STATES[node.op]]
        if not self.sequences or (len(node.inputs) > 4 and node.inputs[4]) or any(
                state is not None and state.any() for state in states):
            self.refuse(node, "a node that starts from zeros, without sequence_lens")
        self.told_time(node, self.order[1 if told.batch_first else 0])
        self.modules.append(told.runner(*weights))
        last = node.outputs[1] if len(node.outputs) > 1 else ""
        if last and any(last in other.uses() for other in self.nodes):
            return self.last_state(node, told)
        self.follow(node)
        after = self.take()
        if after.op == "Squeeze" and told.directions == 1:
            axes = after.attributes.get("axes") if len(after.inputs) < 2 else tuple(self.constant(after, 1).tolist())
            if axes not in ((2,), (-2,)) if told.batch_first else axes not in ((1,), (-3,)):
                self.refuse(after, "a Squeeze of the axis of directions")
            return self.follow(after)
        if not told.batch_first:
            if after.op != "Transpose" or after.attributes.get("perm") != (0, 2, 1, 3):
                self.refuse(after, "the directions side by side, by Transpose and Reshape")
            self.follow(after)
            after = self.take()
        shape = self.constant(after, 1) if after.op == "Reshape" else None
        width = told.directions * self.modules[-1].hidden_size
        if shape is None or shape.tolist() not in ([0, 0, -1], [0, 0, width]):
            self.refuse(after, "the directions side by side, by a Reshape to (0, 0, -1)")
        return self.follow(after)

    rnn = lstm = gru = recurrent

    def last_state(self, node, told):
        """Y_h of one direction: what the runner has put out last."""
        self.follow(node, 1)
        after = self.take()
        place = self.constant(after, 1)
        axis = after.attributes.get("axis", 0) if after.op == "Gather" else None
        if after.op == "Squeeze":
            axes = after.attributes.get("axes") if place is None else tuple(place.tolist())
            axis = axes[0] if axes is not None and len(axes) == 1 else None
        if told.directions != 1 or axis != (1 if told.batch_first else 0):
            self.refuse(after, "the last state of one direction")
        self.modules.append(layers.LastStep(direction=told.direction))
        self.sequences = False
        self.follow(after)


STEPS = frozenset({*RUNNERS, "Transpose", "Gather", "ReduceMean", "MatMul", "Gemm", "LayerNormalization", "LeakyRelu",
                   "Elu",
                   "Softmax", "LogSoftmax", "Dropout"})


def loaded(module, **params):
    module.load_state_dict(params)
    return module
