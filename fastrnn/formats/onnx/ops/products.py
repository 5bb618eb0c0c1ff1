"""Matrix products; constant weights are packed once, for the engine's kernels."""

import numpy as np

from ....engine.ops._products import PackedLinear
from ....engine.runtime._arrays import room
from .registry import memo, operator

FLOATS = np.dtype(np.float32), np.dtype(np.float64)


class Packed:
    """y = x weight^T + bias over the last axis, with weight (O, I) and bias (O,) or None, both constant."""

    def __init__(self, weight, bias=None):
        self.outputs, self.inputs = weight.shape
        params = {"weight": room(weight.shape, weight.dtype)}
        params["weight"][...] = weight
        if bias is not None:
            params["bias"] = room((self.outputs,), weight.dtype)
            params["bias"][...] = bias
        self.dtype = weight.dtype
        self.rows = PackedLinear(params).forward

    def __call__(self, x):
        y = np.empty((*x.shape[:-1], self.outputs), self.dtype)
        self.rows(y.reshape(-1, self.outputs), np.asarray(x, order="C").reshape(-1, self.inputs))
        return y


def packs(weight, *others):
    """Whether the engine's kernels take a constant matrix."""
    return weight is not None and weight.ndim == 2 and weight.size > 0 and weight.dtype in FLOATS and all(
        other is None or other.dtype == weight.dtype for other in others)


def matmul(a, b):
    """The product; sums of float16 are made in float32."""
    if a.dtype == np.float16:
        return np.matmul(a.astype(np.float32), b.astype(np.float32)).astype(np.float16)
    return np.matmul(a, b)


@operator("MatMul", 2)
def build_matmul(node, infos):
    weight = infos[1].known
    if packs(weight) and infos[0].dtype in (None, weight.dtype):
        return product(memo(node, "packed", weight, lambda array: Packed(array.T)), node.where)
    return matmul


def product(packed, where):
    """The call of x weight^T for x of any number of axes."""
    def call(x, *_):
        if not x.ndim or x.shape[-1] != packed.inputs or x.dtype != packed.dtype:
            raise ValueError(f"{where}: expected {packed.dtype} of shape (..., {packed.inputs}), found {x.dtype} of "
                             "shape "
                             f"{x.shape}")
        return packed(x)
    return call


@operator("Gemm", 2, 3)
def build_gemm(node, infos):
    alpha, beta = node.float("alpha", 1.0), node.float("beta", 1.0)
    turn_a, turn_b = node.flag("transA"), node.flag("transB")
    weight, bias = infos[1].known, infos[2].known

    def call(a, b, c=None):
        if a.ndim != 2 or b.ndim != 2:
            raise ValueError(f"{node.where}: expected two matrices, found shapes {a.shape} and {b.shape}")
        y = matmul(a.T if turn_a else a, b.T if turn_b else b)
        if alpha != 1:
            y = (a.dtype.type(alpha) * y).astype(a.dtype)
        if c is None or beta == 0:
            return y
        np.broadcast_to(c, y.shape)     # c fits y, never the reverse
        return y + (c if beta == 1 else (a.dtype.type(beta) * c).astype(a.dtype))

    outputs = 0 if weight is None or weight.ndim != 2 else weight.shape[0 if turn_b else 1]
    fits = not infos[2].present or (bias is not None and bias.size in (1, outputs) and bias.shape in (
        (), (1,), (outputs,), (1, outputs), (1, 1)))
    if not packs(weight, bias) or not fits or infos[0].dtype not in (None, weight.dtype):
        return call

    def make(array):
        scaled = (array if turn_b else array.T) * array.dtype.type(alpha)
        whole = None if bias is None else np.broadcast_to(bias.reshape(-1) * array.dtype.type(beta), (outputs,))
        return Packed(scaled, whole)

    ready = product(memo(node, "packed", weight, make), node.where)
    return (lambda a, *_: ready(a.T)) if turn_a else ready
