"""A checked graph: nodes with their attributes, constants, inputs and outputs, and the graphs inside nodes.

Every name is made before it is used, once; calls of a model's own functions are replaced by the functions' nodes.
"""

from typing import NamedTuple

import numpy as np

from ...check.values import shown
from .tensors import dtype_of, to_array

OLDEST, NEWEST = 7, 28              # operator sets
DOMAINS = {"ai.onnx": ""}           # other names of a domain
KINDS = {1: "f", 2: "i", 3: "s", 4: "t", 5: "g", 6: "floats", 7: "ints", 8: "strings", 10: "graphs"}
MOST_NODES, MOST_TIMES = 5_000, 8   # that calls of functions make: so many, and so many times those in the file
DEEPEST = 40                        # graphs and functions inside each other


class Value(NamedTuple):
    """An input or output: its dtype and shape as the file names them, or None; a size is an int, a name or None."""

    name: str
    dtype: np.dtype | None
    shape: tuple | None


class Node:
    """One operator of a graph."""

    __slots__ = ("attributes", "domain", "inputs", "memos", "name", "op", "outputs", "read", "version", "where")

    def __init__(self, domain, op, version, name, inputs, outputs, attributes):
        self.domain, self.op, self.version, self.name = domain, op, version, name
        self.inputs, self.outputs, self.attributes = inputs, outputs, attributes
        self.read = set()   # names of the attributes that were asked for
        self.memos = {}     # what `ops` keeps of constant inputs, such as packed weights
        kind = f"{domain}.{op}" if domain else op
        self.where = f"node {name!r} ({kind})" if name else f"node of {outputs[0] if outputs else '?'!r} ({kind})"

    def renamed(self, names):
        """A copy with other names of values, also in the graphs inside; names that are not in the dict stay."""
        def new(name):
            return names.get(name, name)

        attributes = {key: value.renamed(names) if isinstance(value, Graph) else value
                      for key, value in self.attributes.items()}
        return Node(self.domain, self.op, self.version, self.name, tuple(map(new, self.inputs)),
                    tuple(map(new, self.outputs)), attributes)

    def graphs(self):
        """The graphs inside, by attribute."""
        return {name: value for name, value in self.attributes.items() if isinstance(value, Graph)}

    def uses(self):
        """All names that are used, those that graphs inside take from around them included."""
        found = {name for name in self.inputs if name}
        for graph in self.graphs().values():
            found |= graph.free()
        return found

    def attribute(self, name, kind, default=None):
        """An attribute of type `kind` (float, int, str, tuple, numpy.ndarray or Graph), or `default`."""
        self.read.add(name)
        value = self.attributes.get(name, default)
        if value is default:
            return default
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ValueError(f"{self.where}: {name}: expected {kind.__name__}, found {shown(value)}")
        return value

    def int(self, name, default=None, low=None, high=None):
        """An int in `low` .. `high`."""
        value = self.attribute(name, int, default)
        if value is not None and ((low is not None and value < low) or (high is not None and value > high)):
            raise ValueError(f"{self.where}: {name}: expected an int from {low} to {high}, found {value}")
        return value

    def flag(self, name, default=0):
        return bool(self.int(name, default, 0, 1))

    def float(self, name, default=None):
        return self.attribute(name, float, default)

    def ints(self, name, default=None):
        return self.numbers(name, int, default)

    def floats(self, name, default=None):
        return self.numbers(name, float, default)

    def numbers(self, name, kind, default):
        value = self.attribute(name, tuple, default)
        if value is not None and not all(type(n) is kind for n in value):
            raise ValueError(f"{self.where}: {name}: expected a list of {kind.__name__}s, found {shown(value)}")
        return value

    def option(self, name, default, options):
        value = self.attribute(name, str, default)
        if value not in options:
            raise ValueError(f"{self.where}: {name}: expected one of {', '.join(map(repr, options))}; found "
                             f"{shown(value)}")
        return value

    def finish(self):
        """Raise for attributes that nobody asked for: they would have changed the result."""
        unknown = self.attributes.keys() - self.read
        if unknown:
            raise ValueError(f"{self.where}: expected {', '.join(sorted(self.read)) or 'no'} attributes in operator "
                             "set "
                             f"{self.version}, found {shown(sorted(unknown))}")


class Graph:
    """Nodes in an order in which they can run, constants by name, inputs and outputs."""

    def __init__(self, name, nodes, constants, inputs, outputs):
        self.name, self.nodes, self.constants = name, nodes, constants
        self.inputs, self.outputs = inputs, outputs

    def renamed(self, names):
        def new(value):
            return value._replace(name=names.get(value.name, value.name))

        return Graph(self.name, [node.renamed(names) for node in self.nodes],
                     {names.get(name, name): array for name, array in self.constants.items()},
                     tuple(map(new, self.inputs)), tuple(map(new, self.outputs)))

    def made(self):
        """The names that the graph itself makes."""
        return {*self.constants, *(value.name for value in self.inputs),
                *(name for node in self.nodes for name in node.outputs if name)}

    def free(self):
        """The names that it takes from the graph around it."""
        used = {value.name for value in self.outputs}.union(*(node.uses() for node in self.nodes))
        return used - self.made()


class Builder:
    """Makes the `Graph` of a model's messages."""

    def __init__(self, model, files):
        self.files = files
        self.opsets = self.versions(model.opset_import)
        self.functions = {}
        for one in model.functions:
            key = DOMAINS.get(one.domain, one.domain), one.name, one.overload
            if key in self.functions:
                raise ValueError(f"function {one.name!r}: expected one of each name, found two")
            self.functions[key] = one
        self.bodies = {}        # of functions whose nodes were read; None while they are
        self.count = self.made = self.calls = 0

    def versions(self, imports):
        found = {}
        for one in imports:
            domain = DOMAINS.get(one.domain, one.domain)
            if found.get(domain, one.version) != one.version:
                raise ValueError(f"operator set {domain!r}: expected one version, found {found[domain]} and "
                                 f"{one.version}")
            found[domain] = one.version
        version = found.get("")
        if version is not None and not OLDEST <= version <= NEWEST:
            raise ValueError(f"operator set: expected {OLDEST} to {NEWEST}, found {version}")
        return found

    def graph(self, proto, opsets, depth=0):
        if depth > DEEPEST:
            raise ValueError(f"expected at most {DEEPEST} graphs and functions inside each other, found more")
        if len(proto.sparse_initializer):
            raise ValueError(f"graph {proto.name!r}: expected dense initializers, found sparse ones")
        constants = {}
        for tensor in proto.initializer:
            if not tensor.name or tensor.name in constants:
                raise ValueError(f"initializer {tensor.name!r}: expected a name that no other has")
            constants[tensor.name] = to_array(tensor, self.files, f"initializer {tensor.name!r}")
        inputs = tuple(self.value(one, "input", depth) for one in proto.input)
        for value in inputs:
            if value.name in constants and value.dtype not in (None, constants[value.name].dtype):
                raise ValueError(f"initializer {value.name!r}: expected {value.dtype} as the input of this name, found "
                                 f"{constants[value.name].dtype}")
        return Graph(proto.name, self.nodes(proto.node, opsets, depth), constants,
                     tuple(value for value in inputs if value.name not in constants),
                     tuple(self.value(one, "output", depth) for one in proto.output))

    def value(self, proto, what, depth):
        type_ = proto.type
        where = f"{what} {proto.name!r}"
        if not proto.name:
            raise ValueError(f"{what}: expected a name, found none")
        if type_ is None or type_.tensor_type is None:
            others = type_ is not None and [one for one in ("sequence_type", "map_type", "sparse_tensor_type",
                                                            "optional_type") if type_.__dict__.get(one) is not None]
            if others or (depth == 0 and what == "input"):
                raise ValueError(f"{where}: expected a tensor, found {others[0][:-5] if others else 'no type'}")
            return Value(proto.name, None, None)
        tensor = type_.tensor_type
        dtype = dtype_of(tensor.elem_type, where) if tensor.elem_type or depth == 0 else None
        if tensor.shape is None:
            return Value(proto.name, dtype, None)
        shape = []
        for one in tensor.shape.dim:
            if one.dim_value is not None and one.dim_value < 0:
                one.dim_value = None    # some exporters' unknown size
            shape.append(one.dim_value if one.dim_value is not None else one.dim_param or None)
        return Value(proto.name, dtype, tuple(shape))

    def nodes(self, protos, opsets, depth):
        found = []
        self.count += len(protos)
        for proto in protos:
            domain = DOMAINS.get(proto.domain, proto.domain)
            if not proto.op_type:
                raise ValueError(f"node {proto.name!r}: expected an operator, found none")
            node = Node(domain, proto.op_type, opsets.get(domain, 1), proto.name, tuple(proto.input),
                        tuple(proto.output), {})
            function = self.functions.get((domain, proto.op_type, proto.overload))
            if function is None and domain == "" and "" not in opsets:
                raise ValueError(f"{node.where}: expected the version of its operator set, found none")
            for attribute in proto.attribute:
                if attribute.name in node.attributes or not attribute.name:
                    raise ValueError(f"{node.where}: expected attributes with a name each, found two of "
                                     f"{attribute.name!r}")
                node.attributes[attribute.name] = self.attribute(attribute, node.where, opsets, depth)
            if function is None:
                found.append(node)
            else:
                found += self.inlined(node, (domain, proto.op_type, proto.overload), function, depth)
        return found

    def attribute(self, proto, where, opsets, depth):
        where = f"{where}: {proto.name}"
        if proto.ref_attr_name:
            return Reference(proto.ref_attr_name)
        if proto.type not in KINDS:
            raise ValueError(f"{where}: expected a number, text, tensor, graph or list, found type {proto.type}")
        value = getattr(proto, KINDS[proto.type])
        if proto.type in (1, 2):
            return value
        if proto.type == 3:
            return _text(value, where)
        if proto.type == 4:
            if value is None:
                raise ValueError(f"{where}: expected a tensor, found none")
            return to_array(value, self.files, where)
        if proto.type == 5:
            if value is None:
                raise ValueError(f"{where}: expected a graph, found none")
            return self.graph(value, opsets, depth + 1)
        if proto.type == 10:
            raise ValueError(f"{where}: expected one graph, found a list of graphs")
        if proto.type == 6:
            return () if value is None else tuple(value.tolist())
        return tuple(_text(one, where) for one in value) if proto.type == 8 else tuple(value)

    def body(self, key, function, where, depth):
        """The nodes of a function, read once for all its calls."""
        if self.bodies.setdefault(key, ()) is None:
            raise ValueError(f"{where}: expected functions that do not call themselves, found {function.name!r}")
        if not self.bodies[key]:
            self.bodies[key] = None
            self.bodies[key] = self.nodes(function.node, self.versions(function.opset_import), depth + 1)
        return self.bodies[key]

    def inlined(self, call, key, function, depth):
        """The nodes of a function that `call` calls, with the caller's names."""
        if depth > DEEPEST:
            raise ValueError(f"{call.where}: expected at most {DEEPEST} graphs and functions inside each other, found "
                             "more")
        if len(call.inputs) > len(function.input) or len(call.outputs) > len(function.output):
            raise ValueError(f"{call.where}: expected at most {len(function.input)} inputs and {len(function.output)} "
                             f"outputs, found {len(call.inputs)} and {len(call.outputs)}")
        defaults = {one.name: self.attribute(one, call.where, {}, depth) for one in function.attribute_proto}
        unknown = call.attributes.keys() - {*defaults, *function.attribute}
        if unknown:
            raise ValueError(f"{call.where}: expected attributes of its function, found {shown(sorted(unknown))}")
        given = {**defaults, **call.attributes}
        nodes = self.body(key, function, call.where, depth)
        self.made += sum(map(_size, nodes))
        if self.made > MOST_NODES + MOST_TIMES * self.count:
            raise ValueError(f"{call.where}: expected calls of functions that make at most "
                             f"{MOST_NODES + MOST_TIMES * self.count} nodes, found more")
        self.calls += 1
        names = dict.fromkeys(function.input, "")
        names |= dict(zip(function.input, call.inputs))
        inner = Graph("", nodes, {}, (), ())
        names |= {name: f"{name}@{self.calls}" for name in _all_made(inner) if name not in names}
        for own, outer in zip(function.output, call.outputs):
            if outer and own in function.input:
                raise ValueError(f"{call.where}: expected outputs that its function makes, found its input {own!r}")
            names[own] = outer or f"{own}@{self.calls}"
        return [_with_attributes(node.renamed(names), given) for node in nodes]


def _size(node):
    """How many nodes a node is, those of its graphs included."""
    return 1 + sum(_size(one) for graph in node.graphs().values() for one in graph.nodes)


class Reference(NamedTuple):
    """The attribute of a function's caller that an attribute inside the function stands for."""

    name: str


def _with_attributes(node, given):
    """The node with its references replaced; one to an attribute that the caller left out disappears."""
    found = {}
    for key, value in node.attributes.items():
        if isinstance(value, Reference):
            if value.name in given:
                found[key] = given[value.name]
        elif isinstance(value, Graph):
            value.nodes = [_with_attributes(one, given) for one in value.nodes]
            found[key] = value
        else:
            found[key] = value
    node.attributes = found
    return node


def _all_made(graph):
    """The names that a graph and those inside it make."""
    found = graph.made()
    for node in graph.nodes:
        for inner in node.graphs().values():
            found |= _all_made(inner)
    return found


def _text(value, where):
    try:
        return str(value, "utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{where}: expected UTF-8 text, found other bytes") from None


def check_names(graph, around=()):
    """Raise unless every name is made once, before it is used; `around` are the names of each graph around this one."""
    known = set()
    scopes = (known, *around)

    def is_known(name):
        return any(name in scope for scope in scopes)

    for name in [*graph.constants, *(value.name for value in graph.inputs)]:
        if name in known:
            raise ValueError(f"graph {graph.name!r}: expected each name once, found {name!r} twice among its inputs "
                             "and "
                             "initializers")
        known.add(name)
    for node in graph.nodes:
        missing = [name for name in node.inputs if name and not is_known(name)]
        if missing:
            raise ValueError(f"{node.where}: expected inputs that an earlier node makes, found {missing[0]!r}")
        for inner in node.graphs().values():
            check_names(inner, scopes)
        for name in node.outputs:
            if name and name in known:
                raise ValueError(f"{node.where}: expected outputs that no other node makes, found {name!r}")
            known.add(name)
    for value in graph.outputs:
        if not is_known(value.name):
            raise ValueError(f"output {value.name!r}: expected a value that a node makes, found none")


def build_graph(model, files) -> Graph:
    """The checked graph of a ModelProto message; `files` is the `DataFiles` of its tensors."""
    if model.graph is None:
        raise ValueError("expected an ONNX model, found one without a graph")
    builder = Builder(model, files)
    graph = builder.graph(model.graph, builder.opsets)
    check_names(graph)
    return graph
