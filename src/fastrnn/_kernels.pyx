"""Choice of the instruction set and of who does the large products; the vector functions for Python callers."""

from contextlib import nullcontext
import os

from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New

cimport numpy as cnp

cnp.import_array()

# Where BLAS adds up the weight gradients faster than our own product. Measured on a core with AVX-512, dW of
# 1024 x 256 over 3200 rows, GFLOP/s own : SciPy's OpenBLAS: avx512 100 : 91, avx2 55 : 96 (BLAS used AVX-512 there;
# 91 : 93 on a core that stops at AVX2), baseline 21 : 92.
BLAS_IS_FASTER = ("baseline",)

cdef enum:
    MOST_ISAS = 8

cdef const fr_isa *_chosen = NULL
# Copies of each instruction set's tables, with the large product replaced where BLAS does it. They stay where they are:
# runners point at them.
cdef fr_kernels _f32[MOST_ISAS]
cdef fr_kernels _f64[MOST_ISAS]
cdef object _one_thread = None  # makes the context of a call that may use BLAS


cdef inline int _place() noexcept nogil:
    return <int>(_chosen - fr_isas())


cdef const fr_kernels *kernels(int itemsize) noexcept nogil:
    return &_f32[_place()] if itemsize == 4 else &_f64[_place()]


cdef void meet_team(fr_team *team) noexcept nogil:
    fr_meet(team)


cdef void end_team(fr_team *team) noexcept nogil:
    fr_team_end(team)


cdef bint team_ended(const fr_team *team) noexcept nogil:
    return fr_team_ended(team)


cdef bint can_meet() noexcept nogil:
    return fr_can_meet()


cdef uint64_t flush_begin() noexcept nogil:
    return fr_flush_begin()


cdef void flush_end(uint64_t word) noexcept nogil:
    fr_flush_end(word)


cdef void play(int role) noexcept nogil:
    fr_play(role)


cdef void keep_apart() noexcept nogil:
    fr_keep_apart()


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
    """Use the instruction set `name` for what is made from now on; runners made before keep theirs.

    Meant for tests and benchmarks; programs set ``FASTRNN_ISA`` before the import.
    """
    global _chosen, _one_thread
    cdef const fr_isa *entry = fr_isas()
    while entry.name != NULL:
        if entry.supported() and entry.name.decode() == name:
            _chosen = entry
            _f32[_place()] = entry.f32[0][0]
            _f64[_place()] = entry.f64[0][0]
            _one_thread = None
            return
        entry += 1
    raise ValueError(f"FASTRNN_ISA: expected one of {', '.join(available_isas())}, found {name!r}")


def blas_wanted():
    """Whether SciPy's BLAS does the weight gradients: FASTRNN_BLAS=1 or 0, by default where it is faster."""
    asked = os.environ.get("FASTRNN_BLAS")
    return isa() in BLAS_IS_FASTER if asked not in ("0", "1") else asked == "1"


cdef object large_products():
    """The context for a call that adds up weight gradients; imports SciPy at the first one that wants its BLAS."""
    global _one_thread
    cdef void *f32
    cdef void *f64
    if _one_thread is None:
        if not blas_wanted():
            _one_thread = nullcontext
            return nullcontext()
        from fastrnn import _blas
        from fastrnn._onethread import one_thread
        theirs = _blas.functions(PyCapsule_New(<void *>_chosen.f32[0].gemm_tn, "fastrnn.gemm_tn", NULL),
                                 PyCapsule_New(<void *>_chosen.f64[0].gemm_tn, "fastrnn.gemm_tn", NULL))
        f32 = PyCapsule_GetPointer(theirs[0], "fastrnn.gemm_tn")
        f64 = PyCapsule_GetPointer(theirs[1], "fastrnn.gemm_tn")
        _one_thread = one_thread.held       # before the products: nobody may call BLAS outside the context
        _f32[_place()].gemm_tn = <gemm_tn_fn>f32
        _f64[_place()].gemm_tn = <gemm_tn_fn>f64
    return _one_thread()


cdef int _map(dst, src, int which) except -1:
    if not (isinstance(dst, cnp.ndarray) and isinstance(src, cnp.ndarray)):
        raise TypeError("dst, src: expected two arrays")
    if (cnp.PyArray_TYPE(dst) != cnp.PyArray_TYPE(src) or cnp.PyArray_SIZE(dst) != cnp.PyArray_SIZE(src)
            or cnp.PyArray_TYPE(src) not in (cnp.NPY_FLOAT, cnp.NPY_DOUBLE)):
        raise ValueError("dst, src: expected float32 or float64 arrays of one dtype and size")
    if not (cnp.PyArray_ISCARRAY(dst) and cnp.PyArray_ISCARRAY_RO(src)):
        raise ValueError("dst, src: expected C-contiguous arrays, dst writeable")
    cdef const fr_kernels *k = kernels(cnp.PyArray_ITEMSIZE(src))
    cdef void *d = cnp.PyArray_DATA(dst)
    cdef const void *s = cnp.PyArray_DATA(src)
    cdef fr_int n = cnp.PyArray_SIZE(src)
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
