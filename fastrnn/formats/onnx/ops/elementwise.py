"""Operators that act on each element alone, and their forms over broadcast inputs."""

import math
from functools import reduce

import numpy as np

from ....engine.runtime._kernels import exp_, sigmoid_, tanh_
from .registry import operator, same

FLOATS = np.float32, np.float64


def by_kernel(kernel):
    """A function of an array by one of the engine's maps."""
    def call(x):
        if x.dtype not in FLOATS:
            return call(x.astype(np.float32)).astype(x.dtype)
        x = np.asarray(x, order="C")
        y = np.empty(x.shape, x.dtype)
        kernel(y, x)
        return y
    return call


sigmoid, tanh, exp = by_kernel(sigmoid_), by_kernel(tanh_), by_kernel(exp_)


def plain(function):
    """The builder of an operator without attributes."""
    return lambda node, infos: function


def scaled(function, **defaults):
    """The builder of an activation whose attributes, floats with these defaults, follow x in `function`."""
    def build(node, infos):
        numbers = [node.float(name, default) for name, default in defaults.items()]

        def call(x):
            return function(x, *[x.dtype.type(number) for number in numbers])
        return call
    return build


def erf_like(build):
    """The builder of a function that needs SciPy's erf, which is imported when first built."""
    def enter(node, infos):
        from scipy.special import erf
        return build(node, erf)
    return enter


def in_dtype(function):
    """`function` with its result in x's dtype."""
    return lambda x, *others: function(x, *others).astype(x.dtype, copy=False)


UNARY = {
    "Neg": np.negative, "Abs": np.abs, "Sqrt": np.sqrt, "Exp": exp, "Log": np.log, "Floor": np.floor, "Ceil": np.ceil,
    "Round": np.rint, "Sign": np.sign, "Sin": np.sin, "Cos": np.cos, "Tan": np.tan, "Asin": np.arcsin,
    "Acos": np.arccos,
    "Atan": np.arctan, "Sinh": np.sinh, "Cosh": np.cosh, "Asinh": np.arcsinh, "Acosh": np.arccosh, "Atanh": np.arctanh,
    "Not": np.logical_not, "IsNaN": np.isnan, "BitwiseNot": np.invert, "Sigmoid": sigmoid, "Tanh": tanh,
    "Reciprocal": in_dtype(lambda x: x.dtype.type(1) / x), "Relu": lambda x: np.maximum(x, x.dtype.type(0)),
    "Softplus": lambda x: np.logaddexp(x, x.dtype.type(0)), "Softsign": lambda x: x / (1 + np.abs(x)),
    "HardSwish": lambda x: x * np.clip(x / x.dtype.type(6) + x.dtype.type(0.5), 0, 1).astype(x.dtype),
    "Mish": lambda x: x * tanh(np.logaddexp(x, x.dtype.type(0))),
}  # fmt: skip
for _name, _function in UNARY.items():
    operator(_name)(plain(_function))

SCALED = {
    "LeakyRelu": (lambda x, alpha: np.where(x < 0, alpha * x, x), {"alpha": 0.01}),
    "Elu": (lambda x, alpha: np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x), {"alpha": 1.0}),
    "Celu": (lambda x, alpha: np.maximum(x, 0) + np.minimum(alpha * np.expm1(x / alpha), 0), {"alpha": 1.0}),
    "Selu": (lambda x, alpha, gamma: gamma * np.where(x <= 0, alpha * np.expm1(np.minimum(x, 0)), x),
             {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875}),
    "HardSigmoid": (lambda x, alpha, beta: np.minimum(np.maximum(alpha * x + beta, 0), 1), {"alpha": 0.2, "beta": 0.5}),
    "ThresholdedRelu": (lambda x, alpha: np.where(x > alpha, x, x.dtype.type(0)), {"alpha": 1.0}),
    "Shrink": (lambda x, bias, lambd: np.where(x < -lambd, x + bias, np.where(x > lambd, x - bias, x.dtype.type(0))),
               {"bias": 0.0, "lambd": 0.5}),
    "Swish": (lambda x, alpha: x * sigmoid(alpha * x), {"alpha": 1.0}),
}
for _name, (_function, _defaults) in SCALED.items():
    operator(_name)(scaled(in_dtype(_function), **_defaults))


@operator("Erf")
@erf_like
def build_erf(node, erf):
    return in_dtype(erf)


@operator("Gelu")
@erf_like
def build_gelu(node, erf):
    if node.option("approximate", "none", ("none", "tanh")) == "none":
        return in_dtype(lambda x: x.dtype.type(0.5) * x * (1 + erf(x * x.dtype.type(math.sqrt(0.5)))))
    return in_dtype(lambda x: x.dtype.type(0.5) * x * (1 + tanh(x.dtype.type(math.sqrt(2 / math.pi)) * (
        x + x.dtype.type(0.044715) * x * x * x))))


def divide(x, y):
    """x / y, towards zero for ints."""
    if x.dtype.kind == "f":
        return np.divide(x, y)
    found = np.floor_divide(x, y)
    if x.dtype.kind == "i":
        found = found + ((found < 0) & (found * y != x)).astype(found.dtype)
    return found


BINARY = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": divide, "And": np.logical_and, "Or": np.logical_or,
    "Xor": np.logical_xor, "Equal": np.equal, "Less": np.less, "Greater": np.greater, "LessOrEqual": np.less_equal,
    "GreaterOrEqual": np.greater_equal, "BitwiseAnd": np.bitwise_and, "BitwiseOr": np.bitwise_or,
    "BitwiseXor": np.bitwise_xor, "PRelu": lambda x, slope: np.where(x < 0, x * slope, x),
}  # fmt: skip


def one_dtype(function):
    """The builder of an operator whose inputs have one dtype."""
    def build(node, infos):
        found = {info.dtype for info in infos if info.present and info.dtype is not None}
        if len(found) > 1:
            raise ValueError(f"{node.where}: expected inputs of one dtype, found "
                             f"{' and '.join(map(str, sorted(found)))}")
        return function
    return build


for _name, _function in BINARY.items():
    operator(_name, 2)(one_dtype(_function))


@operator("Pow", 2)
def build_pow(node, infos):
    exponent = infos[1].known
    if exponent is not None and exponent.size == 1 and exponent.ndim == 0 and infos[0].dtype in FLOATS:
        quick = {2: lambda x, y: x * x, 1: lambda x, y: x.copy(), 0.5: lambda x, y: np.sqrt(x)}.get(float(exponent))
        if quick is not None:
            return quick

    def call(x, y):
        return np.power(x, y.astype(np.result_type(x, y), copy=False)).astype(x.dtype, copy=False)
    return call


@operator("Magnitude", 2, domain="fastrnn")
def build_magnitude(node, infos):
    """sqrt(a^2 + b^2), as the nodes that it stands for compute it."""
    def call(a, b):
        total = np.add(a * a, b * b)    # inputs of one dtype, as the nodes check
        return np.sqrt(total, total) if total.dtype in FLOATS else np.sqrt(total).astype(total.dtype, copy=False)
    return one_dtype(call)(node, infos)


@operator("Mod", 2)
def build_mod(node, infos):
    return np.fmod if node.flag("fmod") else np.mod


@operator("BitShift", 2)
def build_bit_shift(node, infos):
    return np.left_shift if node.option("direction", None, ("LEFT", "RIGHT")) == "LEFT" else np.right_shift


def folded(function):
    """The builder of an operator over any number of inputs."""
    def build(node, infos):
        check = one_dtype(None)
        check(node, infos)
        if len(node.inputs) == 1:
            return lambda x: x.copy()
        return function if len(node.inputs) == 2 else lambda *inputs: reduce(function, inputs)
    return build


for _name, _function in {"Min": np.minimum, "Max": np.maximum, "Sum": np.add}.items():
    operator(_name, 1, 2**31)(folded(_function))


@operator("Mean", 1, 2**31)
def build_mean(node, infos):
    return lambda *inputs: reduce(np.add, inputs) / inputs[0].dtype.type(len(inputs))


@operator("Clip", 1, 3)
def build_clip(node, infos):
    if node.version < 11:
        limits = [np.float32(node.float(name)) if name in node.attributes else None for name in ("min", "max")]
        node.read.update(("min", "max"))
        return lambda x: clip(x, *[None if one is None else x.dtype.type(one) for one in limits])
    return clip


def clip(x, low=None, high=None):
    """x within the bounds that are given; `high` where `low` is above it."""
    if low is not None:
        x = np.maximum(x, low)
    return np.minimum(x, high) if high is not None else x.copy() if low is None else x


@operator("IsInf")
def build_is_inf(node, infos):
    negative, positive = node.flag("detect_negative", 1), node.flag("detect_positive", 1)
    return lambda x: np.isinf(x) & (((x < 0) & negative) | ((x > 0) & positive))


@operator("Where", 3)
def build_where(node, infos):
    one_dtype(None)(node, infos[1:])
    return np.where


@operator("Identity")
def build_identity(node, infos):
    return same


@operator("Dropout", 1, 3, outputs=2)
def build_dropout(node, infos):
    """In inference."""
    node.float("ratio", 0.5), node.int("seed")
    if infos[2].present and (infos[2].known is None or infos[2].known.any()):
        raise ValueError(f"{node.where}: training_mode: expected false, found another value or one that a run decides")
    if len(node.outputs) == 1:
        return lambda x, *_: (x.view(),)
    return lambda x, *_: (x.view(), np.ones(np.shape(x), np.bool_))
