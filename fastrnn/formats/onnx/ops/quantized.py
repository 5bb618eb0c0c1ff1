"""Operators on quantised values: x = (q - zero point) * scale."""

import numpy as np

from .registry import axis_of, operator


def along(vector, x, axis, block, where, name):
    """A scale or zero point in a form that x's elements meet: of one value, along an axis, or of blocks along it."""
    if vector.ndim == 0 or vector.size == 1:
        return vector.reshape(())
    at = axis_of(axis, x.ndim, where)
    if vector.ndim == 1 and not block:
        if len(vector) != x.shape[at]:
            raise ValueError(f"{where}: {name}: expected {x.shape[at]} values, found {len(vector)}")
        return vector.reshape(-1, *(1,) * (x.ndim - 1 - at))
    if not block or vector.ndim != x.ndim or -(-x.shape[at] // block) != vector.shape[at]:
        raise ValueError(f"{where}: {name}: expected one value for each block, found shape {vector.shape}")
    return np.repeat(vector, block, at)[(*(slice(None),) * at, slice(x.shape[at]))]


@operator("QuantizeLinear", 2, 3)
def build_quantize_linear(node, infos):
    axis, block, saturate = node.int("axis", 1), node.int("block_size", 0, 0), node.int("saturate", 1)
    to, precision = node.int("output_dtype", 0), node.int("precision", 0)
    if saturate != 1 or to not in (0, 2, 3, 4, 5) or precision not in (0, 1):
        raise ValueError(f"{node.where}: expected saturate=1, output_dtype of 8 or 16 bits and precision of float32")
    chosen = {0: np.uint8, 2: np.uint8, 3: np.int8, 4: np.uint16, 5: np.int16}[to]

    def call(x, scale, zero=None):
        dtype = chosen if zero is None else zero.dtype
        found = np.rint(x / along(scale, x, axis, block, node.where, "scale"))
        if zero is not None:
            found = found + along(zero, x, axis, block, node.where, "zero_point").astype(found.dtype)
        limits = np.iinfo(dtype)
        return np.clip(found, limits.min, limits.max).astype(dtype)
    return call


@operator("DequantizeLinear", 2, 3)
def build_dequantize_linear(node, infos):
    axis, block = node.int("axis", 1), node.int("block_size", 0, 0)
    if node.int("output_dtype", 0) not in (0, 1):
        raise ValueError(f"{node.where}: output_dtype: expected float32, found another")

    def call(x, scale, zero=None):
        wide = x.astype(np.int32)
        if zero is not None:
            wide -= along(zero, x, axis, block, node.where, "zero_point").astype(np.int32)
        return (wide.astype(scale.dtype) * along(scale, x, axis, block, node.where, "scale")).astype(scale.dtype)
    return call


@operator("DynamicQuantizeLinear", outputs=3)
def build_dynamic_quantize_linear(node, infos):
    return dynamic_quantize


def dynamic_quantize(x):
    """(uint8 values, scale, zero point) of x, whose range is made to hold 0."""
    low, high = min(x.min(initial=0), 0), max(x.max(initial=0), 0)
    scale = np.float32((high - low) / np.float32(255)) or np.float32(1)
    zero = np.uint8(np.clip(np.rint(-low / scale), 0, 255))
    return np.clip(np.rint(x / scale) + np.float32(zero), 0, 255).astype(np.uint8), np.array(scale), np.array(zero)


def centred(x, zero, axis):
    """x - zero point in float64, which holds every sum of products of these."""
    x = x.astype(np.float64)
    if zero is None or not zero.any():
        return x
    if zero.ndim == 1 and zero.size > 1:
        zero = zero[:, None] if axis == 0 else zero
    return x - zero


@operator("MatMulInteger", 2, 4)
def build_matmul_integer(node, infos):
    return lambda a, b, za=None, zb=None: np.matmul(centred(a, za, 0), centred(b, zb, 1)).astype(np.int32)


@operator("QLinearMatMul", 8)
def build_qlinear_matmul(node, infos):
    def call(a, sa, za, b, sb, zb, sy, zy):
        y = np.matmul(centred(a, za, 0), centred(b, zb, 1))
        y = np.rint(y * (sa.astype(np.float64) * sb / sy)) + zy.astype(np.float64)
        limits = np.iinfo(zy.dtype)
        return np.clip(y, limits.min, limits.max).astype(zy.dtype)
    return call
