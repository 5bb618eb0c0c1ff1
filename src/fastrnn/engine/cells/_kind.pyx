"""What a cell is, said once: by a `Kind` in the cell's own file, which all others read.

A word names an option that changes what a cell has or does:

    bias            the biases are there
    projection      of h to fewer values
    layer_norm      the cell's equations with layer normalisation
    peepholes       the gates see the cell state
    general         other activations, clipping, coupled gates or peepholes: the functions of `_general`
    reset_before    a GRU's reset gate acts on h, before the recurrent product
    square          the inputs are as wide as h
"""

from collections import namedtuple
from types import MappingProxyType

from fastrnn.engine.cells._cell cimport CellOps, Params

# function: "sigmoid" or "tanh", or None for a candidate that is no gate. keeps: whether 1 leaves the state as it is;
# complement: whether it is 1 minus the value that does.
Gate = namedtuple("Gate", "symbol name function keeps complement", defaults=("sigmoid", False, False))

# shape: names of sizes (see `Kind.layout`), or for rows the gates' symbols, each of which has H rows. start: the
# initial value, "input", "recurrent", "bias", "ones" or "vector" (see `nn._init`).
# words: all that it takes to be there.
Parameter = namedtuple("Parameter", "name shape start words", defaults=("",))

# A parameter of one layer. blocks: how many matrices or vectors its rows hold, each drawn alone; opening: which of them
# is the gate that starts open, or None.
Placed = namedtuple("Placed", "shape start blocks opening")


cdef class Kind:
    """A kind of cell.

    gates: in the order of memory, which is PyTorch's. orders: framework -> their symbols in its order. activations: the
    cell's own f, g and h, where others may be asked for. opening: the gate whose bias starts at `forget_bias`.
    """

    def __cinit__(self, str name, *, gates, str states, parameters, str activations="", str opening=None, **orders):
        self.name = name
        self.gates = tuple(Gate(*gate) for gate in gates)
        self.states = tuple(states.split())
        self.parameters = tuple(Parameter(*parameter) for parameter in parameters)
        self.activations = tuple(activations.split())
        self.opening = opening
        self.orders = MappingProxyType({framework: tuple(order.split()) for framework, order in orders.items()})
        self.served = []
        symbols = {gate.symbol for gate in self.gates}
        for order in self.orders.values():
            if set(order) != symbols:
                raise ValueError(f"orders: expected {symbols}, found {order}")

    cdef int serve(self, const CellOps *ops, str words="") except -1:
        """These functions are the cell's with exactly these words, "bias" and "peepholes" aside."""
        if len(self.served) == MOST_OPS:
            raise ValueError(f"words: expected at most {MOST_OPS} sets")
        self.ops[len(self.served)] = ops
        self.served.append(frozenset(words.split()))
        return 0

    cdef const CellOps *find(self, words) except NULL:
        """The cell's functions with these words."""
        wanted = frozenset(words) - {"bias", "peepholes"}
        if wanted not in self.served:
            known = ", ".join(" ".join(sorted(one)) or "none" for one in self.served)
            raise ValueError(f"words: expected one of {known} for {self.name}, found "
                             f"{' '.join(sorted(wanted)) or 'none'}")
        return self.ops[self.served.index(wanted)]

    def knows(self, str word):
        """Whether the word changes anything of this cell."""
        return any(word in one for one in self.served) or any(word in p.words.split() for p in self.parameters)

    def completed(self, words, features, hidden):
        """The words, with "square" where the inputs are as wide as h and the cell makes a difference of it."""
        return frozenset(words) | ({"square"} if features == hidden and self.knows("square") else frozenset())

    def layout(self, words, features, hidden, out, window=1):
        """dict of name -> `Placed`: the parameters of one direction of one layer.

        hidden: H; out: P; inputs of `features` values, `window` of them beside each other.
        """
        words = self.completed(words, features, hidden)
        unknown = sorted(word for word in words if not self.knows(word))
        if unknown:
            raise ValueError(f"words: expected none that a {self.name} has no use for, found {', '.join(unknown)}")
        gates = self.find(words).gates
        sizes = {"gates": gates * hidden, "input": window * features, "out": out, "hidden": hidden}
        found = {}
        for name, shape, start, needed in self.parameters:
            if words.issuperset(needed.split()):
                rows, blocks = shape[0], 1
                if rows == "gates":
                    blocks = gates
                elif rows not in sizes:
                    blocks = len(rows.split())
                opening = None
                if start == "bias" and rows == "gates" and self.opening:
                    opening = [gate.symbol for gate in self.gates].index(self.opening)
                numbers = sizes.get(rows, blocks * hidden), *(sizes[size] for size in shape[1:])
                found[name] = Placed(numbers, start, blocks, opening)
        return found


cdef dict _fields():
    """name -> bytes from the start of a `Params` to its pointer."""
    cdef Params p
    cdef char *start = <char *>&p
    return {
        "weight_ih": <char *>&p.weight_ih - start, "weight_hh": <char *>&p.weight_hh - start,
        "bias_ih": <char *>&p.bias_ih - start, "bias_hh": <char *>&p.bias_hh - start,
        "weight_hr": <char *>&p.weight_hr - start, "weight_c": <char *>&p.weight_c - start,
        "weight_ci": <char *>&p.weight_ci - start, "weight_cf": <char *>&p.weight_cf - start,
        "weight_co": <char *>&p.weight_co - start, "gain_ih": <char *>&p.gain_ih - start,
        "gain_hh": <char *>&p.gain_hh - start, "gain_c": <char *>&p.gain_c - start,
        "bias_c": <char *>&p.bias_c - start,
    }


_FIELDS = _fields()


cdef char **field(Params *params, str name) except NULL:
    """Where the pointer to the parameter of this name lies."""
    cdef Py_ssize_t offset = _FIELDS[name]
    return <char **>(<char *>params + offset)
