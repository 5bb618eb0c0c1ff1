"""Keras' layers, one by one, as modules."""

from typing import TYPE_CHECKING

import numpy as np

from ...nn.layers import (
    ELU,
    AvgPool1d,
    BatchNorm1d,
    Conv1d,
    Dropout,
    Embedding,
    Flatten,
    LayerNorm,
    LeakyReLU,
    Linear,
    MaxOverTime,
    MaxPool1d,
    MeanOverTime,
    ReLU,
    Softmax,
)
from ..build import build
from .options import Spec
from .recurrent import LAYERS, bidirectional, inner, layer, wrapper

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# What looks at masked steps as at others in Keras, or puts them elsewhere.
MIXING = {"Flatten", "Conv1D", "MaxPooling1D", "AveragePooling1D", "GlobalMaxPooling1D"}
POLICIES = "float32", "float64", "float16", "bfloat16", "mixed_float16", "mixed_bfloat16"
PASSED = "InputLayer", "ActivityRegularization"


def modules_of(spec: Spec) -> "list[Any]":
    """The modules that give a layer's outputs; one that is not known is refused by its name."""
    make = KNOWN.get(spec.kind)
    if make is None:
        raise ValueError(f"{spec.where}: expected one of {', '.join(KNOWN)}; found {spec.kind:.80}")
    _check_policy(spec)
    return make(spec)


def mask_of(spec: Spec) -> "float | None":
    """The value of masked steps, of a layer that masks any."""
    if spec.kind == "Embedding" and spec.flag("mask_zero"):
        return 0.0
    if spec.kind == "Masking":
        value = spec.get("mask_value", 0.0)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"{spec.where}.mask_value: expected a number, found {value!r:.80}")
        return float(value)
    return None


def _check_policy(spec):
    policy = spec.config.get("dtype")
    if isinstance(policy, dict):
        policy = policy.get("config", {}).get("name") if isinstance(policy.get("config"), dict) else None
    if policy is not None and policy not in POLICIES and spec.kind not in PASSED:
        raise ValueError(f"{spec.where}.dtype: expected one of {', '.join(POLICIES)}; found {policy!r:.80}")


def _counted(spec, *counts):
    if len(spec.weights) not in counts:
        raise ValueError(f"{spec.where}: expected {' or '.join(map(str, counts))} weights, found {len(spec.weights)}")


def _check_axis(spec):
    axis = spec.config.get("axis", -1)
    if axis not in (-1, [-1]):
        raise ValueError(f"{spec.where}.axis: expected -1, found {axis!r:.80}")


def _nothing(spec):
    _counted(spec, 0)
    return []


def _embedding(spec):
    _counted(spec, 1)
    table = spec.weights[0]
    shape = spec.get("input_dim"), spec.get("output_dim")
    if table.shape != shape:
        raise ValueError(f"{spec.where}: expected a table of shape {shape}, found {table.shape}")
    if spec.config.get("lora_rank") is not None or spec.config.get("quantization_config") is not None:
        raise ValueError(f"{spec.where}: expected a plain table, found one with another beside it")
    return [build(Embedding, {"weight": table}, spec.where, num_embeddings=table.shape[0],
                  embedding_dim=table.shape[1])]


def _dense(spec):
    bias = spec.flag("use_bias", True)
    _counted(spec, 1 + bias)
    kernel = spec.weights[0]
    if kernel.ndim != 2 or kernel.shape[1] != spec.get("units"):
        raise ValueError(f"{spec.where}: expected a kernel of {spec.get('units')} units, found shape {kernel.shape}")
    if spec.config.get("lora_rank") is not None or spec.config.get("quantization_config") is not None:
        raise ValueError(f"{spec.where}: expected a plain kernel, found one with another beside it")
    arrays = {"weight": kernel.T, **({"bias": spec.weights[1]} if bias else {})}
    return [build(Linear, arrays, spec.where, in_features=kernel.shape[0], out_features=kernel.shape[1], bias=bias),
            *spec.module()]


def _layer_norm(spec):
    scale, center = spec.flag("scale", True), spec.flag("center", True)
    _counted(spec, scale + center)
    _check_axis(spec)
    spec.refuse("rms_scaling", False)
    if not spec.weights:
        raise ValueError(f"{spec.where}: expected scale or center, found neither, which does not tell its size")
    like = spec.weights[0]
    arrays = {"weight": like if scale else np.ones_like(like),
              "bias": spec.weights[-1] if center else np.zeros_like(like)}
    return [build(LayerNorm, arrays, spec.where, features=like.size, eps=spec.get("epsilon", 1e-3))]


def _dropout(spec):
    _counted(spec, 0)
    if spec.config.get("noise_shape") is not None:
        raise ValueError(f"{spec.where}.noise_shape: expected null, found another")
    return [build(Dropout, {}, spec.where, p=spec.get("rate"), variational=spec.kind == "SpatialDropout1D")]


def _relu(spec):
    _counted(spec, 0)
    for name, expected in (("max_value", None), ("threshold", 0), ("negative_slope", 0)):
        found = spec.get(name, expected)
        if found is not None and found != expected:
            raise ValueError(f"{spec.where}.{name}: expected {expected!r}, found {found!r:.80}")
    return [ReLU()]


def _leaky_relu(spec):
    _counted(spec, 0)
    slope = spec.get("negative_slope", None) if "negative_slope" in spec.config else spec.get("alpha", 0.3)
    return [build(LeakyReLU, {}, spec.where, negative_slope=slope)]


def _softmax(spec):
    _counted(spec, 0)
    _check_axis(spec)
    return [Softmax()]


def _activation(spec):
    _counted(spec, 0)
    return spec.module()


def _time_distributed(spec):
    """Of a layer that maps each step alone, which it does without being told."""
    one = inner(spec, "layer")
    if one.kind not in STEPWISE:
        raise ValueError(f"{spec.where}.layer: expected one of {', '.join(STEPWISE)}; found {one.kind:.80}")
    return modules_of(one._replace(weights=spec.weights))


def _batch_norm(spec):
    scale, center = spec.flag("scale", True), spec.flag("center", True)
    _counted(spec, 2 + scale + center)
    _check_axis(spec)
    *own, mean, variance = spec.weights
    arrays = {"weight": own[0] if scale else np.ones_like(mean), "bias": own[-1] if center else np.zeros_like(mean),
              "running_mean": mean, "running_var": variance, "num_batches_tracked": np.zeros((), mean.dtype)}
    return [build(BatchNorm1d, arrays, spec.where, num_features=mean.size, eps=spec.get("epsilon", 1e-3),
                  momentum=1 - float(spec.get("momentum", 0.99)))]


def _convolution(spec):
    bias = spec.flag("use_bias", True)
    _counted(spec, 1 + bias)
    spec.refuse("data_format", "channels_last")
    kernel, groups = spec.weights[0], spec.get("groups", 1)
    if kernel.ndim != 3 or kernel.shape[2] != spec.get("filters") or type(groups) is not int or groups < 1:
        raise ValueError(f"{spec.where}: expected a kernel of {spec.get('filters')} filters, found shape "
                         f"{kernel.shape} and groups {groups!r:.80}")
    width, inputs, out = kernel.shape
    arrays = {"weight": kernel.transpose(2, 1, 0), **({"bias": spec.weights[1]} if bias else {})}
    return [build(Conv1d, arrays, spec.where, in_channels=inputs * groups, out_channels=out, kernel_size=width,
                  stride=_size(spec, "strides", 1), padding=spec.get("padding", "valid"),
                  dilation=_size(spec, "dilation_rate", 1), groups=groups, bias=bias), *spec.module()]


def _pool(cls):
    def make(spec):
        _counted(spec, 0)
        spec.refuse("data_format", "channels_last")
        spec.refuse("padding", "valid")
        size = _size(spec, "pool_size", 2)
        return [build(cls, {}, spec.where, kernel_size=size, stride=_size(spec, "strides", size))]

    return make


def _size(spec, name, default):
    """A size along time, which Keras also writes as a list of one."""
    value = spec.config.get(name)
    value = value[0] if isinstance(value, (list, tuple)) and len(value) == 1 else value
    if value is None:
        return default
    if type(value) is not int:
        raise ValueError(f"{spec.where}.{name}: expected an int, found a {type(value).__name__}")
    return value


def _over_time(cls):
    def make(spec):
        _counted(spec, 0)
        spec.refuse("data_format", "channels_last")
        spec.refuse("keepdims", False)
        return [cls()]

    return make


def _flatten(spec):
    _counted(spec, 0)
    spec.refuse("data_format", "channels_last")
    return [Flatten()]


KNOWN: "dict[str, Callable[[Spec], list[Any]]]" = {
    **dict.fromkeys(("InputLayer", "Masking", "ActivityRegularization"), _nothing),
    "Embedding": _embedding, "Dense": _dense, "LayerNormalization": _layer_norm,
    **dict.fromkeys(("Dropout", "SpatialDropout1D"), _dropout),
    "Activation": _activation, "ReLU": _relu, "LeakyReLU": _leaky_relu, "Softmax": _softmax,
    "ELU": lambda spec: [build(ELU, {}, spec.where, alpha=spec.get("alpha", 1.0))],
    "TimeDistributed": _time_distributed, "Flatten": _flatten, "BatchNormalization": _batch_norm,
    "GlobalAveragePooling1D": _over_time(MeanOverTime), "GlobalMaxPooling1D": _over_time(MaxOverTime),
    "Conv1D": _convolution, "MaxPooling1D": _pool(MaxPool1d), "AveragePooling1D": _pool(AvgPool1d),
    **dict.fromkeys(LAYERS, layer), "RNN": wrapper, "Bidirectional": bidirectional,
}  # fmt: skip
STEPWISE = "Dense", "Dropout", "Activation", "ReLU", "LeakyReLU", "ELU", "Softmax", "LayerNormalization"
