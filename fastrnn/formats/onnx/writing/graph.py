"""A graph that is being written: nodes, constants and names, and the graphs inside nodes."""

import itertools

import numpy as np

from ..messages import ATTRIBUTE, DIMENSION, GRAPH, MODEL, NODE, OPSET, SHAPE, TENSOR_TYPE, TYPE, VALUE_INFO
from ..tensors import NUMBERS, to_tensor

OPSET_VERSION, IR_VERSION = 17, 8
FLOAT_KIND, INT_KIND, STRING_KIND, GRAPH_KIND, FLOATS_KIND, INTS_KIND, STRINGS_KIND = 1, 2, 3, 5, 6, 7, 8


def value_info(name, dtype, shape):
    """A declared input or output; sizes are ints or names."""
    dims = [DIMENSION(dim_param=n) if isinstance(n, str) else DIMENSION(dim_value=int(n)) for n in shape]
    tensor = TENSOR_TYPE(elem_type=NUMBERS[np.dtype(dtype)], shape=SHAPE(dim=dims))
    return VALUE_INFO(name=name, type=TYPE(tensor_type=tensor))


def attribute(name, value):
    """The attribute message of an int, float, str, list of these, or graph."""
    if isinstance(value, GRAPH):
        return ATTRIBUTE(name=name, type=GRAPH_KIND, g=value)
    if isinstance(value, str):
        return ATTRIBUTE(name=name, type=STRING_KIND, s=value.encode())
    if isinstance(value, (bool, int)):
        return ATTRIBUTE(name=name, type=INT_KIND, i=int(value))
    if isinstance(value, float):
        return ATTRIBUTE(name=name, type=FLOAT_KIND, f=value)
    if all(isinstance(one, str) for one in value):
        return ATTRIBUTE(name=name, type=STRINGS_KIND, strings=[one.encode() for one in value])
    if all(isinstance(one, float) for one in value):
        return ATTRIBUTE(name=name, type=FLOATS_KIND, floats=np.array(value, np.float32))
    return ATTRIBUTE(name=name, type=INTS_KIND, ints=[int(one) for one in value])


class Graph:
    """Nodes in the order in which they were added. `around` is the graph that this one lies in."""

    def __init__(self, dtype, around=None):
        self.dtype = np.dtype(dtype)
        self.around = around
        self.nodes, self.constants, self.inputs, self.outputs = [], {}, [], []
        self.numbers = itertools.count() if around is None else around.numbers

    def name(self, stem):
        """A new name of a value."""
        return f"{stem}_{next(self.numbers)}"

    def add(self, op, *inputs, outputs=1, names=None, **attributes):
        """Add a node; the name of its output, or names of its outputs."""
        names = names or [self.name(op) for _ in range(outputs)]
        inputs = list(inputs)
        while inputs and not inputs[-1]:
            inputs.pop()
        self.nodes.append(NODE(op_type=op, name=self.name(op), input=[one or "" for one in inputs], output=names,
                               attribute=[attribute(key, value) for key, value in attributes.items()]))
        return names[0] if outputs == 1 and len(names) == 1 else names

    def constant(self, value, name=None):
        """The name of a constant; an array of a name that stands already is not written again."""
        if self.around is not None:
            return self.around.constant(value, name)
        array = np.asarray(value)
        if name is None:
            for known, other in self.constants.items():
                if array.size < 16 and other.dtype == array.dtype and other.shape == array.shape \
                        and known.startswith("constant_") and other.tobytes() == array.tobytes():
                    return known
            name = self.name("constant")
        self.constants[name] = array
        return name

    def ints(self, *values):
        return self.constant(np.array(values, np.int64))

    def number(self, value):
        return self.constant(np.array(value, self.dtype))

    def input(self, name, dtype, shape):
        self.inputs.append(value_info(name, dtype, shape))
        return name

    def output(self, value, name, dtype, shape):
        """Declare a value as an output; it gets the name by a node of its own."""
        self.add("Identity", value, names=[name])
        self.outputs.append(value_info(name, dtype, shape))

    def message(self, name):
        return GRAPH(node=self.nodes, name=name, initializer=[to_tensor(array, key) for key, array in
                                                              self.constants.items()],
                     input=self.inputs, output=self.outputs)

    def model(self, name, version):
        return MODEL(ir_version=IR_VERSION, producer_name="fastrnn", producer_version=version, graph=self.message(name),
                     opset_import=[OPSET(domain="", version=OPSET_VERSION)])

    # Short forms that several modules use

    def transposed(self, value, *perm):
        return self.add("Transpose", value, perm=perm)

    def sliced(self, value, start, end, axis, step=1):
        return self.add("Slice", value, self.ints(start), self.ints(end), self.ints(axis), self.ints(step))

    def concatenated(self, values, axis):
        return values[0] if len(values) == 1 else self.add("Concat", *values, axis=axis)

    def affine(self, x, weight, *biases):
        """x weight^T + biases, of names; a bias may be None."""
        y = self.add("MatMul", x, self.transposed(weight, 1, 0))
        for bias in biases:
            if bias is not None:
                y = self.add("Add", y, bias)
        return y

    def reversed(self, x, lengths):
        """The steps of x (T, B, ...) in the opposite order, within each sequence's length."""
        if lengths is not None:
            wide = self.add("Cast", lengths, to=NUMBERS[np.dtype(np.int64)])
            return self.add("ReverseSequence", x, wide, time_axis=0, batch_axis=1)
        return self.sliced(x, -1, -(2**63), 0, -1)

    def valid(self, x, lengths):
        """Bools (T, B, 1): whether a step of x (T, B, ...) lies within its sequence."""
        steps = self.add("Squeeze", self.sliced(self.add("Shape", x), 0, 1, 0), self.ints(0))
        places = self.add("Range", self.constant(np.array(0, np.int64)), steps, self.constant(np.array(1, np.int64)))
        wide = self.add("Cast", lengths, to=NUMBERS[np.dtype(np.int64)])
        inside = self.add("Less", self.add("Unsqueeze", places, self.ints(1)), self.add("Unsqueeze", wide,
                                                                                        self.ints(0)))
        return self.add("Unsqueeze", inside, self.ints(2))
