"""Matrices of weights with few bits: see ``_stored.pyx``."""

from fastrnn.engine.runtime._kernels cimport Precision, fr_int

# The precision of "float", "int8" or "bf16".
cdef Precision precision_of(str name) except *
# Raise unless these are the arrays of a matrix [rows, columns].
cdef int check_stored(object weight, object scale, str name, Precision precision, fr_int rows, fr_int columns) except -1
# The matrix as floats.
cdef int restore(float *to, object weight, object scale) except -1
