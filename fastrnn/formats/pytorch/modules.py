"""PyTorch's modules, live or from a file, as modules of this package."""

from typing import TYPE_CHECKING

import numpy as np

from ...nn.cells import Cell, GRUCell, LSTMCell, RNNCell
from ...nn.layers import (
    ELU,
    GELU,
    Dropout,
    Embedding,
    Hardsigmoid,
    LayerNorm,
    LeakyReLU,
    Linear,
    LogSoftmax,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from ...nn.runners import GRU, LSTM, RNN
from ...nn.sequential import Sequential
from ..build import build
from .pickled import Instance

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..._types import Array

PARTS = "_parameters", "_buffers", "_modules"
BASE = "torch.nn.modules.module.Module"
HOOKS = "_forward_hooks", "_forward_pre_hooks"
MOST_DEEP, MOST_MODULES = 64, 10_000
MOST_PLAIN = 2**24  # bytes of a norm's parameters that the source does not have
PLAIN = int, float, str, bool, type(None)


class Node:
    """A module of PyTorch: its class by name, its attributes, its parameters and the modules inside.

    Parameters
    ----------
    module : torch.nn.Module or Instance
    where : str
        Its name in the model.
    """

    def __init__(self, module: "Any", where: str) -> None:
        self.module, self.where = module, where
        if isinstance(module, Instance):
            self.state, self.path = module.state, str(module.cls)
        else:
            self.state, self.path = vars(module), _class_of(module)
        self.parameters, self.buffers, self.modules = (self._named(part) for part in PARTS)

    def _named(self, part):
        found = self.state.get(part, {})
        if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
            raise ValueError(f"{self.shown()}.{part}: expected a dict of names, found a {type(found).__name__}")
        return {name: value for name, value in found.items() if value is not None}

    def shown(self) -> str:
        """What an error names."""
        return f"{self.where or 'the model'} ({self.path.rpartition('.')[2][:100]})"

    def name_of(self, own: str) -> str:
        """The name in the model of a part of this module."""
        return f"{self.where}.{own}" if self.where else own

    def children(self) -> "list[Node]":
        """The modules inside, in their order."""
        return [Node(module, self.name_of(name)) for name, module in self.modules.items() if is_module(module)]

    def get(self, name: str, *default: "Any") -> "Any":
        """A plain attribute."""
        if name not in self.state and not default:
            raise ValueError(f"{self.shown()}: expected an attribute {name}, found none")
        value = self.state.get(name, *default)
        if not isinstance(value, PLAIN):
            raise ValueError(f"{self.shown()}.{name}: expected a number, a text, True, False or None; found a "
                             f"{type(value).__name__}")
        return value

    def expect(self, name: str, expected: "Any") -> None:
        """Raise unless a plain attribute, where there is one, has the one value that is known here."""
        found = self.get(name, expected)
        if found != expected or isinstance(found, bool) != isinstance(expected, bool):
            raise ValueError(f"{self.shown()}.{name}: expected {expected!r}, found {found!r:.80}")


def is_module(value: "Any") -> bool:
    """Whether a value is a module of PyTorch, live or from a file."""
    if isinstance(value, Instance):
        return isinstance(value.state, dict) and all(part in value.state for part in PARTS)
    return not isinstance(value, type) and all(part in getattr(value, "__dict__", {}) for part in PARTS)


def _class_of(module):
    """The path of the class of PyTorch whose forward a module runs, else of its own class."""
    for cls in type(module).__mro__:
        path = f"{cls.__module__}.{cls.__qualname__}"
        if path.startswith("torch.") and path != BASE and getattr(cls, "forward", None) is type(module).forward:
            return path
    return f"{type(module).__module__}.{type(module).__qualname__}"


class _Walk:
    """One conversion: where it takes arrays from, and the modules that it has met."""

    def __init__(self, array_of):
        self.array_of, self.met, self.count = array_of, {}, 0

    def meet(self, node):
        self.count += 1
        if self.count > MOST_MODULES or node.where.count(".") > MOST_DEEP:
            raise ValueError(f"{node.where[:80]}: expected at most {MOST_MODULES} modules and {MOST_DEEP} inside each "
                             f"other, found more")
        before = self.met.setdefault(id(node.module), node.where)
        if before != node.where and (node.parameters or node.modules):
            raise ValueError(f"{node.shown()}: expected a module of its own, found {before} again")


def convert(node: Node, array_of: "Callable[[Any, str], Array]") -> "Any":
    """The module that gives a module's numbers; one that is not known, or that hooks change, is refused."""
    return _convert(node, _Walk(array_of))


def _convert(node, walk):
    walk.meet(node)
    make = KNOWN.get(node.path)
    if make is None:
        raise ValueError(f"{node.shown()}: expected a module that fastrnn has, found {node.path[:200]}")
    for hooks in HOOKS:
        if node.state.get(hooks):
            raise ValueError(f"{node.shown()}: expected no hooks, which change its numbers; found {hooks}")
    return make(node, walk)


def is_known(node: Node) -> bool:
    """Whether `convert` has a table entry for the module's class."""
    return node.path in KNOWN


def is_of_torch(node: Node) -> bool:
    """Whether the module is one of PyTorch's own that are more than a container of others."""
    return node.path.startswith("torch.") and node.path not in CONTAINERS


CONTAINERS = {
    *(f"torch.nn.modules.container.{name}" for name in ("Sequential", "ModuleList", "ModuleDict")),
    "torch.nn.parallel.data_parallel.DataParallel", "torch.nn.parallel.distributed.DistributedDataParallel",
}  # fmt: skip


def _arrays(node, walk):
    if node.buffers:
        raise ValueError(f"{node.shown()}: expected no buffers, found {', '.join(node.buffers)[:200]}")
    return {name: walk.array_of(tensor, node.name_of(name)) for name, tensor in node.parameters.items()}


def _built(node, walk, cls, extra=None, **arguments):
    return build(cls, {**_arrays(node, walk), **(extra or {})}, node.shown(), **arguments)


def _recurrent(cls):
    """Of the runners and cells, whose arguments are the attributes' names."""
    cell = issubclass(cls, Cell)

    def make(node, walk):
        arguments = {name: node.get(name) for name in ("input_size", "hidden_size", "bias")}
        if cls is RNN and "nonlinearity" not in node.state:  # of early versions
            modes = {"RNN_TANH": "tanh", "RNN_RELU": "relu"}
            if node.get("mode") not in modes:
                raise ValueError(f"{node.shown()}.mode: expected {' or '.join(modes)}, found {node.get('mode')!r:.80}")
            arguments["nonlinearity"] = modes[node.get("mode")]
        elif cls in (RNN, RNNCell):
            arguments["nonlinearity"] = node.get("nonlinearity")
        if not cell:
            arguments |= {name: node.get(name) for name in ("num_layers", "batch_first", "bidirectional")}
            # between layers alone, so that with one of them it does nothing
            arguments["dropout"] = node.get("dropout", 0.0) if arguments["num_layers"] != 1 else 0.0
            if cls is LSTM:
                arguments["proj_size"] = node.get("proj_size", 0)
            else:
                node.expect("proj_size", 0)
        return _built(node, walk, cls, **arguments)

    return make


def _embedding(node, walk):
    node.expect("max_norm", None)  # rows would change as they are read
    return _built(node, walk, Embedding, num_embeddings=node.get("num_embeddings"),
                  embedding_dim=node.get("embedding_dim"))


def _linear(node, walk):
    return _built(node, walk, Linear, in_features=node.get("in_features"), out_features=node.get("out_features"),
                  bias="bias" in node.parameters)


def _layer_norm(node, walk):
    shape = node.state.get("normalized_shape")
    if not isinstance(shape, (tuple, list)) or len(shape) != 1 or type(shape[0]) is not int:
        raise ValueError(f"{node.shown()}.normalized_shape: expected that of the last axis, (features,), found another")
    arrays = _arrays(node, walk)
    like = next(iter(arrays.values()), np.empty(0, np.float32)).dtype
    if shape[0] * like.itemsize > MOST_PLAIN:
        raise ValueError(f"{node.shown()}.normalized_shape: expected at most {MOST_PLAIN} bytes, found "
                         f"{shape[0]!r:.80}")
    plain = {"weight": np.ones(shape, like), "bias": np.zeros(shape, like)}
    return build(LayerNorm, {**plain, **arrays}, node.shown(), features=shape[0], eps=node.get("eps"))


def _plain(cls, **names):
    """Of a module without parameters: its argument -> the attribute that has it."""
    return lambda node, walk: _built(node, walk, cls, **{
        argument: node.get(attribute) for argument, attribute in names.items()})


def _softmax(cls):
    def make(node, walk):
        node.expect("dim", -1)
        return _built(node, walk, cls)

    return make


def _sequential(node, walk):
    modules = [_convert(child, walk) for child in node.children()]
    modules = [module for module in modules if module is not None]
    if not modules or len(node.modules) != len(node.children()) or node.parameters:
        raise ValueError(f"{node.shown()}: expected modules one after another, found none or others")
    layouts = {module.batch_first for module in modules if module.recurrent and not isinstance(module, Cell)}
    if len(layouts) > 1:
        raise ValueError(f"{node.shown()}: expected recurrent modules of one layout, found batch_first of both kinds")
    try:
        return Sequential(*modules, batch_first=layouts.pop() if layouts else True)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{node.shown()}: {error}") from None


KNOWN: "dict[str, Callable[..., Any]]" = {
    **{f"torch.nn.modules.rnn.{cls.__name__}": _recurrent(cls) for cls in (RNN, LSTM, GRU, RNNCell, LSTMCell, GRUCell)},
    "torch.nn.modules.sparse.Embedding": _embedding,
    "torch.nn.modules.linear.Linear": _linear,
    "torch.nn.modules.linear.Identity": lambda node, walk: None,
    "torch.nn.modules.normalization.LayerNorm": _layer_norm,
    "torch.nn.modules.dropout.Dropout": _plain(Dropout, p="p"),
    "torch.nn.modules.container.Sequential": _sequential,
    **{f"torch.nn.modules.activation.{name}": make for name, make in {
        "ReLU": _plain(ReLU), "LeakyReLU": _plain(LeakyReLU, negative_slope="negative_slope"),
        "ELU": _plain(ELU, alpha="alpha"), "SiLU": _plain(SiLU), "Tanh": _plain(Tanh), "Sigmoid": _plain(Sigmoid),
        "GELU": lambda node, walk: _built(node, walk, GELU, approximate=node.get("approximate", "none")),
        "Softplus": _plain(Softplus, beta="beta", threshold="threshold"), "Hardsigmoid": _plain(Hardsigmoid),
        "Softmax": _softmax(Softmax), "LogSoftmax": _softmax(LogSoftmax),
    }.items()},
}  # fmt: skip
