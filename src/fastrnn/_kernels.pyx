"""Choice of the instruction set, and the vector functions for tests and Python callers."""

import os

cimport numpy as cnp

cnp.import_array()

cdef const fr_isa *_chosen = NULL


cdef const fr_kernels *kernels(int itemsize) noexcept nogil:
    return _chosen.f32 if itemsize == 4 else _chosen.f64


cdef uint64_t flush_begin() noexcept nogil:
    return fr_flush_begin()


cdef void flush_end(uint64_t word) noexcept nogil:
    fr_flush_end(word)


cdef uint64_t fingerprint(const void *data, fr_int n, uint64_t seed) noexcept nogil:
    return fr_fingerprint(data, n, seed)


def available_isas():
    """Names of the instruction sets that this build holds and this processor runs, best first."""
    cdef const fr_isa *entry = fr_isas()
    names = []
    while entry.name != NULL:
        if entry.supported():
            names.append(entry.name.decode())
        entry += 1
    return names


def isa():
    """Name of the instruction set in use."""
    return _chosen.name.decode()


def use_isa(name):
    """Switch every later call to the instruction set `name`; runners made before keep packed weights of the old one.

    Meant for tests and benchmarks; programs set ``FASTRNN_ISA`` before the import.
    """
    global _chosen
    cdef const fr_isa *entry = fr_isas()
    while entry.name != NULL:
        if entry.supported() and entry.name.decode() == name:
            _chosen = entry
            return
        entry += 1
    raise ValueError(f"FASTRNN_ISA: expected one of {', '.join(available_isas())}, found {name!r}")


def vector_lanes(itemsize):
    """Elements in one vector of the instruction set in use, for elements of `itemsize` bytes."""
    return kernels(itemsize).lanes


cdef int _map(cnp.ndarray dst, cnp.ndarray src, int which) except -1:
    if dst.dtype != src.dtype or dst.size != src.size or src.itemsize not in (4, 8) or src.dtype.kind != "f":
        raise ValueError("dst, src: expected float32 or float64 arrays of one dtype and size")
    if not (cnp.PyArray_IS_C_CONTIGUOUS(dst) and cnp.PyArray_IS_C_CONTIGUOUS(src)):
        raise ValueError("dst, src: expected C-contiguous arrays")
    cdef const fr_kernels *k = kernels(src.itemsize)
    cdef void *d = cnp.PyArray_DATA(dst)
    cdef const void *s = cnp.PyArray_DATA(src)
    cdef fr_int n = src.size
    with nogil:
        if which == 0:
            k.exp_(d, s, n)
        elif which == 1:
            k.sigmoid(d, s, n)
        else:
            k.tanh_(d, s, n)
    return 0


def exp_(dst, src):
    """dst = e^src, element by element, at most 4 ULP."""
    _map(dst, src, 0)


def sigmoid_(dst, src):
    """dst = 1 / (1 + e^-src), element by element, at most 4 ULP."""
    _map(dst, src, 1)


def tanh_(dst, src):
    """dst = tanh(src), element by element, at most 4 ULP."""
    _map(dst, src, 2)


use_isa(os.environ.get("FASTRNN_ISA") or available_isas()[0])
