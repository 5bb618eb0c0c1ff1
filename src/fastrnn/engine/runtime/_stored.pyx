"""Matrices of weights with few bits, as modules and files have them.

    int8    w[i, j] = q[i, j] s[i],  q = -127 .. 127 (int8), s = max |w[i]| / 127 (float32): one scale for a row
    bf16    the upper half of each float32, rounded to the nearest (uint16)

Each row of q with a scale above 0 has an entry of 127 or -127. So packing, which scales each row by its largest entry,
finds the same q again.
"""

from libc.stdint cimport int8_t, uint16_t, uint32_t
from libc.string cimport memcpy

import numpy as np

cimport numpy as cnp

from fastrnn.engine.runtime._arrays cimport WRITE, check_array
from fastrnn.engine.runtime._kernels cimport BF16, FULL, INT8

cnp.import_array()

FORMATS = "int8", "bf16"
SCALE = "_scale"    # ends the name of the scales of an int8 matrix


cdef Precision precision_of(str name) except *:
    if name != "float" and name not in FORMATS:
        raise ValueError(f"weight_format: expected one of float, {', '.join(FORMATS)}, found {name}")
    return FULL if name == "float" else INT8 if name == "int8" else BF16


cdef int check_stored(object weight, object scale, str name, Precision precision, fr_int rows,
                      fr_int columns) except -1:
    check_array(weight, name, cnp.NPY_BYTE if precision == INT8 else cnp.NPY_USHORT, WRITE, rows, columns)
    if precision == INT8:
        check_array(scale, f"{name}'s scale", cnp.NPY_FLOAT, WRITE, rows)
    return 0


cdef int restore(float *to, object weight, object scale) except -1:
    cdef fr_int rows = cnp.PyArray_DIM(weight, 0), columns = cnp.PyArray_SIZE(weight) // max(rows, 1), i, j
    cdef const int8_t *q
    cdef const uint16_t *halves
    cdef const float *scales
    cdef uint32_t bits
    if scale is None:
        halves = <const uint16_t *>cnp.PyArray_DATA(weight)
        for i in range(rows * columns):
            bits = <uint32_t>halves[i] << 16
            memcpy(&to[i], &bits, sizeof(float))
        return 0
    q = <const int8_t *>cnp.PyArray_DATA(weight)
    scales = <const float *>cnp.PyArray_DATA(scale)
    for i in range(rows):
        for j in range(columns):
            to[i * columns + j] = q[i * columns + j] * scales[i]
    return 0


def store(cnp.ndarray w not None, str weight_format not None):
    """(q, s) of a finite float32 matrix, or (halves, None): new arrays."""
    cdef Precision precision = precision_of(weight_format)
    if cnp.PyArray_NDIM(w) != 2:
        raise ValueError(f"w: expected a matrix, found {cnp.PyArray_NDIM(w)} axes")
    check_array(w, "w", cnp.NPY_FLOAT, 0, cnp.PyArray_DIM(w, 0), cnp.PyArray_DIM(w, 1))
    if precision == FULL:
        raise ValueError("weight_format: expected int8 or bf16, found float")
    if not np.isfinite(w).all():
        raise ValueError("w: expected finite weights, found NaN or infinity")
    if precision == BF16:
        bits = w.view(np.uint32)
        return ((bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) >> np.uint32(16)).astype(
            np.uint16), None
    scale = np.abs(w).max(axis=1) / np.float32(127)
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
    return np.rint(w * inverse[:, None]).astype(np.int8), scale
