"""PyTorch's modules over (N, C, T), whose channels come first: here they come last."""

from typing import TYPE_CHECKING

import numpy as np

from ...nn.layers import AvgPool1d, BatchNorm1d, Conv1d, Dropout, Flatten, Linear, MaxOverTime, MaxPool1d, MeanOverTime
from ..build import build

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

FIRST = Conv1d, MaxPool1d, AvgPool1d, MeanOverTime, MaxOverTime
NOTE = "takes x with the channels last, (B, T, C), which is PyTorch's x.transpose(1, 2)"


def _size(node, name):
    """A size along time, which PyTorch also writes as a tuple of one."""
    value = node.state.get(name)
    value = value[0] if isinstance(value, (tuple, list)) and len(value) == 1 else value
    if type(value) is not int:
        raise ValueError(f"{node.shown()}.{name}: expected an int, found {value!r:.80}")
    return value


def convolution(node: "Any", walk: "Any") -> Conv1d:
    """Of Conv1d."""
    node.expect("padding_mode", "zeros")
    padding = node.state.get("padding")
    return build(Conv1d, walk.arrays(node), node.shown(), in_channels=node.get("in_channels"),
                 out_channels=node.get("out_channels"), kernel_size=_size(node, "kernel_size"),
                 stride=_size(node, "stride"), dilation=_size(node, "dilation"), groups=node.get("groups"),
                 padding=padding if isinstance(padding, str) else _size(node, "padding"),
                 bias="bias" in node.parameters, batch_first=True)


def batch_norm(node: "Any", walk: "Any") -> BatchNorm1d:
    """Of BatchNorm1d."""
    arrays = walk.arrays(node, buffers=True)
    if "num_batches_tracked" in arrays:
        like = arrays["running_mean"].dtype if "running_mean" in arrays else np.float32
        arrays["num_batches_tracked"] = arrays["num_batches_tracked"].astype(like)
    return build(BatchNorm1d, arrays, node.shown(), num_features=node.get("num_features"), eps=node.get("eps"),
                 momentum=node.get("momentum"), affine="weight" in arrays, track_running_stats="running_mean" in arrays,
                 batch_first=True)


def pool(cls: type) -> "Callable[..., Any]":
    """Of MaxPool1d and AvgPool1d."""
    def make(node, walk):
        for name in ("ceil_mode", "return_indices"):
            node.expect(name, False)
        more = {"dilation": _size(node, "dilation")} if cls is MaxPool1d else \
            {"count_include_pad": node.get("count_include_pad", True)}
        return build(cls, walk.arrays(node), node.shown(), kernel_size=_size(node, "kernel_size"),
                     stride=_size(node, "stride"), padding=_size(node, "padding"), batch_first=True, **more)

    return make


def over_time(cls: type) -> "Callable[..., Any]":
    """Of AdaptiveAvgPool1d and AdaptiveMaxPool1d with one output."""
    def make(node, walk):
        if _size(node, "output_size") != 1:
            raise ValueError(f"{node.shown()}.output_size: expected 1, found {node.state.get('output_size')!r:.80}")
        node.expect("return_indices", False)
        return cls()

    return make


def flatten(node: "Any", walk: "Any") -> Flatten:
    """Of Flatten over all axes but the batch's."""
    node.expect("start_dim", 1)
    node.expect("end_dim", -1)
    return Flatten(batch_first=True)


def dropout(node: "Any", walk: "Any") -> Dropout:
    """Of Dropout1d, which drops whole channels."""
    return build(Dropout, walk.arrays(node), node.shown(), p=node.get("p"), variational=True)


def is_first(module: "Any") -> bool:
    """Whether a module, or one inside, stands for one of PyTorch's over (N, C, T)."""
    return isinstance(module, FIRST) or any(map(is_first, getattr(module, "modules", ())))


def notes_of(found: "dict[str, Any]") -> "list[str]":
    """What callers have to know of the layout of modules, by name."""
    first = [name for name, module in found.items() if is_first(module)]
    norms = [name for name, module in found.items() if name not in first and _has_norm(module)]
    return [f"{', '.join(map(repr, names))[:200]} {told}".removeprefix("'' ") for names, told in (
        (first, NOTE), (norms, "normalises the last axis, which is PyTorch's of x (N, C)")) if names]


def _has_norm(module):
    return isinstance(module, BatchNorm1d) or any(map(_has_norm, getattr(module, "modules", ())))


def in_one_layout(modules: "list[Any]", where: str, mapped: "Callable[[Any], bool]") -> "list[Any]":
    """The modules of a Sequential over (N, C, T), if none of them maps the last axis, T.

    Behind a Flatten the features are in another order here, steps first, so that the columns of the Linear that reads
    them are, too. A pooling over all steps, which PyTorch follows by a Flatten, leaves no steps here.
    """
    found, channels, flat, pooled = [], None, False, False
    for module in modules:
        name = type(module).__name__
        if pooled and not flat and not isinstance(module, Flatten):
            raise ValueError(f"{where}: expected a Flatten behind a pooling over all steps, found {name}")
        if isinstance(module, Flatten):
            if not pooled and not flat:
                if channels is None:
                    raise ValueError(f"{where}: expected a Conv1d or BatchNorm1d before a Flatten, which tells the "
                                     "number of channels; found none")
                found.append(module)
            flat = True
            continue
        if flat and isinstance(module, FIRST):
            raise ValueError(f"{where}: expected modules over rows behind a Flatten, found {name}")
        if not flat and mapped(module):
            raise ValueError(f"{where}: expected modules of one layout, found {name}, which maps the last axis, among "
                             f"those whose channels are the second; convert the parts alone")
        if flat and not pooled and channels is not None:
            if isinstance(module, Linear):
                module, channels = _by_steps(module, channels, where), None
            elif module.params or mapped(module):
                raise ValueError(f"{where}: expected a Linear first behind a Flatten, found {name}")
        elif not flat and isinstance(module, (Conv1d, BatchNorm1d)):
            channels = module.out_channels if isinstance(module, Conv1d) else module.num_features
        pooled = pooled or isinstance(module, (MeanOverTime, MaxOverTime))
        found.append(module)
    if pooled and not flat:
        raise ValueError(f"{where}: expected a Flatten behind a pooling over all steps, found none")
    if flat and not pooled and channels is not None:
        raise ValueError(f"{where}: expected a Linear behind a Flatten, found none: its features are in another order")
    return found


def _by_steps(linear, channels, where):
    """A Linear that reads (T, C) as a row, made of one that reads (C, T)."""
    weight = linear.params["weight"]
    if weight.shape[1] % channels:
        raise ValueError(f"{where}: expected a Linear of a multiple of {channels} channels behind the Flatten, found "
                         f"{weight.shape[1]}")
    turned = weight.reshape(len(weight), channels, -1).swapaxes(1, 2).reshape(weight.shape)
    arrays = {**linear.params, "weight": turned}
    return build(Linear, arrays, where, in_features=linear.in_features, out_features=linear.out_features,
                 bias="bias" in arrays)
