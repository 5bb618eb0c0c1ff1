"""PyTorch's modules, live or from a file, as modules of this package."""

from typing import TYPE_CHECKING

import numpy as np

from ...nn.cells import Cell, GRUCell, LSTMCell, RNNCell
from ...nn.layers import (
    ELU,
    GELU,
    AvgPool1d,
    BatchNorm1d,
    Dropout,
    Embedding,
    Flatten,
    Hardsigmoid,
    LayerNorm,
    LeakyReLU,
    Linear,
    LogSoftmax,
    MaxOverTime,
    MaxPool1d,
    MeanOverTime,
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
from . import channels
from .pickled import Instance
from .weightnorm import whole_weights

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..._types import Array

PARTS = "_parameters", "_buffers", "_modules"
BASE = "torch.nn.modules.module.Module"
PARAMETRIZED = "torch.nn.utils.parametrize."
HOOKS = "_forward_hooks", "_forward_pre_hooks"
SEQUENTIAL = "torch.nn.modules.container.Sequential"
# Not BatchNorm1d, which stands between Linears, too
OVER_CHANNELS = {"torch.nn.modules.conv.Conv1d", *(f"torch.nn.modules.pooling.{name}" for name in (
    "MaxPool1d", "AvgPool1d", "AdaptiveAvgPool1d", "AdaptiveMaxPool1d"))}
WEIGHT_NORM = "torch.nn.utils.weight_norm.WeightNorm"
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
        if self.path in KNOWN:
            self._take_parametrized()

    def _named(self, part):
        found = self.state.get(part, {})
        if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
            raise ValueError(f"{self.shown()}.{part}: expected a dict of names, found a {type(found).__name__}")
        return {name: value for name, value in found.items() if value is not None}

    def _take_parametrized(self):
        """Let weights that torch.nn.utils.parametrize computes count as parameters."""
        held = self.modules.get("parametrizations")
        if isinstance(self.module, Instance) or not is_module(held):
            return
        for name, own in vars(held)["_modules"].items():
            steps = [type(step).__name__ for step in vars(own)["_modules"].values()]
            if steps != ["_WeightNorm"] and getattr(self.module, "training", False):
                raise ValueError(f"{self.shown()}.{name}: expected a module in evaluation, as {', '.join(steps)} may "
                                 f"change in training; call eval() first")
            self.parameters[name] = getattr(self.module, name)
        del self.modules["parametrizations"]

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
        own = getattr(cls, "forward", None) is type(module).forward and not path.startswith(PARAMETRIZED)
        if path.startswith("torch.") and path != BASE and own:
            return path
    return f"{type(module).__module__}.{type(module).__qualname__}"


class _Walk:
    """One conversion: where it takes arrays from, and the modules that it has met."""

    def __init__(self, array_of, over_channels):
        self.array_of, self.met, self.count, self.over_channels = array_of, {}, 0, over_channels

    def arrays(self, node: Node, buffers: bool = False) -> "dict[str, Array]":
        """The module's own arrays by name."""
        if node.buffers and not buffers:
            raise ValueError(f"{node.shown()}: expected no buffers, found {', '.join(node.buffers)[:200]}")
        tensors = {**node.parameters, **node.buffers}
        whole = whole_weights(tensors, lambda tensor, name: self.array_of(tensor, node.name_of(name)))
        return {name: tensor if name not in tensors else self.array_of(tensor, node.name_of(name))
                for name, tensor in whole.items()}

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
    found = _convert(node, _Walk(array_of, _over_channels(node)))
    if isinstance(found, (MeanOverTime, MaxOverTime)):
        raise ValueError(f"{node.shown()}: expected a Flatten behind it, in a Sequential; found it alone")
    return found


def _convert(node, walk):
    walk.meet(node)
    make = KNOWN.get(node.path)
    if make is None:
        raise ValueError(f"{node.shown()}: expected a module that fastrnn has, found {node.path[:200]}")
    for hooks in HOOKS:
        if node.state.get(hooks) and not _normalises(node.state[hooks]):
            raise ValueError(f"{node.shown()}: expected no hooks, which change its numbers; found {hooks}")
    return make(node, walk)


def _normalises(hooks):
    """Whether hooks do nothing but put normalised weights together."""
    found = list(hooks.values()) if isinstance(hooks, dict) else [None]
    return all(str(hook.cls) == WEIGHT_NORM if isinstance(hook, Instance) else
               f"{type(hook).__module__}.{type(hook).__qualname__}" == WEIGHT_NORM for hook in found)


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


def _built(node, walk, cls, extra=None, **arguments):
    return build(cls, {**walk.arrays(node), **(extra or {})}, node.shown(), **arguments)


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
    arrays = walk.arrays(node)
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
        if node.get("dim") != -1:
            raise ValueError(f"{node.shown()}.dim: expected -1, the last axis, as which another counts for one number "
                             f"of axes only; found {node.get('dim')!r:.80}")
        return _built(node, walk, cls)

    return make


def _sequential(node, walk):
    modules = _in_order(node, walk)
    if walk.over_channels:
        modules = channels.in_one_layout(modules, node.shown(), _maps_last)
    else:
        modules = _without_idle_flatten(modules)
    steps = False
    for module in modules:
        steps = (steps or isinstance(module, Embedding)) and not isinstance(module, Flatten)
        if steps and isinstance(module, BatchNorm1d):
            raise ValueError(f"{node.shown()}: expected no BatchNorm1d behind an Embedding, where it normalises the "
                             f"steps; found one")
    layouts = {module.batch_first for module in modules if module.recurrent and not isinstance(module, Cell)}
    if len(layouts) > 1:
        raise ValueError(f"{node.shown()}: expected recurrent modules of one layout, found batch_first of both kinds")
    try:
        return Sequential(*modules, batch_first=layouts.pop() if layouts else True)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{node.shown()}: {error}") from None


def _without_idle_flatten(modules):
    """The modules without a Flatten behind a BatchNorm1d over rows, which leaves rows as they are."""
    found, rows = [], False
    for module in modules:
        rows = (rows or isinstance(module, BatchNorm1d)) and not module.recurrent
        if not (rows and isinstance(module, Flatten)):
            found.append(module)
    return found


def _flattens_channels(children):
    """Whether a Linear behind BatchNorm1d and Flatten reads more values than there are channels: those of steps."""
    width, flat = None, False
    for child in children:
        name = child.path.rpartition(".")[2]
        if name == "BatchNorm1d":
            width = child.state.get("num_features")
        elif name == "Flatten":
            flat = True
        elif name == "Linear":
            return flat and width is not None and child.state.get("in_features") != width
    return False


def _over_channels(node):
    """Whether Sequentials have a module over (N, C, T), as none of those over (N, ..., C) is."""
    todo, seen = [node], set()
    while todo:
        one = todo.pop()
        if one.path in OVER_CHANNELS:
            return True
        if one.path == SEQUENTIAL and id(one.module) not in seen:
            seen.add(id(one.module))
            if _flattens_channels(one.children()):
                return True
            todo += one.children()
    return False


def _in_order(node, walk):
    """The modules of a Sequential; where any is over (N, C, T), those of Sequentials inside in their places."""
    found = []
    if len(node.modules) != len(node.children()) or node.parameters:
        raise ValueError(f"{node.shown()}: expected modules one after another, found others")
    for child in node.children():
        if walk.over_channels and child.path == SEQUENTIAL:
            walk.meet(child)
            found += _in_order(child, walk)
        else:
            found.append(_convert(child, walk))
    found = [module for module in found if module is not None]
    if not found:
        raise ValueError(f"{node.shown()}: expected modules one after another, found none")
    return found


def _maps_last(module):
    """Whether a module acts along the last axis of x, and not on each number alone."""
    return module.recurrent or isinstance(module, (Linear, LayerNorm, Softmax, LogSoftmax, Embedding, Sequential))


KNOWN: "dict[str, Callable[..., Any]]" = {
    **{f"torch.nn.modules.rnn.{cls.__name__}": _recurrent(cls) for cls in (RNN, LSTM, GRU, RNNCell, LSTMCell, GRUCell)},
    "torch.nn.modules.sparse.Embedding": _embedding,
    "torch.nn.modules.linear.Linear": _linear,
    "torch.nn.modules.linear.Identity": lambda node, walk: None,
    "torch.nn.modules.normalization.LayerNorm": _layer_norm,
    "torch.nn.modules.dropout.Dropout": _plain(Dropout, p="p"), "torch.nn.modules.dropout.Dropout1d": channels.dropout,
    "torch.nn.modules.conv.Conv1d": channels.convolution, "torch.nn.modules.batchnorm.BatchNorm1d": channels.batch_norm,
    **{f"torch.nn.modules.pooling.{name}": make for name, make in {
        "MaxPool1d": channels.pool(MaxPool1d), "AvgPool1d": channels.pool(AvgPool1d),
        "AdaptiveAvgPool1d": channels.over_time(MeanOverTime), "AdaptiveMaxPool1d": channels.over_time(MaxOverTime),
    }.items()},
    "torch.nn.modules.flatten.Flatten": channels.flatten,
    SEQUENTIAL: _sequential,
    **{f"torch.nn.modules.activation.{name}": make for name, make in {
        "ReLU": _plain(ReLU), "LeakyReLU": _plain(LeakyReLU, negative_slope="negative_slope"),
        "ELU": _plain(ELU, alpha="alpha"), "SiLU": _plain(SiLU), "Tanh": _plain(Tanh), "Sigmoid": _plain(Sigmoid),
        "GELU": lambda node, walk: _built(node, walk, GELU, approximate=node.get("approximate", "none")),
        "Softplus": _plain(Softplus, beta="beta", threshold="threshold"), "Hardsigmoid": _plain(Hardsigmoid),
        "Softmax": _softmax(Softmax), "LogSoftmax": _softmax(LogSoftmax),
    }.items()},
}  # fmt: skip
