"""Choice of the instruction set; the vector functions for Python callers."""

import os

cimport numpy as cnp

cnp.import_array()

cdef enum:
    MOST_ISAS = 8

cdef const fr_isa *_chosen = NULL
cdef int _generation = 0        # how often the tables were filled
# Copies of each instruction set's tables, in which `_backend` replaces products. Runners point at them, so they must
# not move.
cdef fr_kernels _f32[MOST_ISAS]
cdef fr_kernels _f64[MOST_ISAS]
cdef fr_kernels _int8[MOST_ISAS]
cdef fr_kernels _bf16[MOST_ISAS]
cdef const char *_int8_name     # of the instructions that multiply such weights
cdef const char *_bf16_name


cdef inline int _place() noexcept nogil:
    return <int>(_chosen - fr_isas())


cdef fr_kernels *table(int itemsize) noexcept nogil:
    return &_f32[_place()] if itemsize == 4 else &_f64[_place()]


cdef const fr_kernels *kernels(int itemsize) noexcept nogil:
    return table(itemsize)


cdef const fr_kernels *kernels_for(Precision precision) noexcept nogil:
    return &_int8[_place()] if precision == INT8 else &_bf16[_place()]


cdef gemm_tn_fn own_gemm_tn(int itemsize) noexcept nogil:
    return _chosen.f32[0].gemm_tn if itemsize == 4 else _chosen.f64[0].gemm_tn


cdef int generation() noexcept nogil:
    return _generation


cdef void team_barrier(fr_team *team) noexcept nogil:
    fr_barrier(team)


cdef void end_team(fr_team *team) noexcept nogil:
    fr_team_end(team)


cdef bint team_ended(const fr_team *team) noexcept nogil:
    return fr_team_ended(team)


cdef bint has_barrier() noexcept nogil:
    return fr_has_barrier()


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


def dots():
    """dict "int8", "bf16" -> name of the instructions in use that multiply with such weights."""
    return {"int8": _int8_name.decode(), "bf16": _bf16_name.decode()}


def available_dots():
    """Names of the instructions, best first, that the instruction set in use has for weights of 8 or 16 bits."""
    cdef const fr_dot *entry = _chosen.dots
    names = []
    while entry.name != NULL:
        if entry.supported() and (entry.int8[0] != NULL or entry.bf16[0] != NULL):
            names.append(entry.name.decode())
        entry += 1
    return names


def use_dots(name=None):
    """Multiply with weights of 8 and 16 bits by these instructions, or by the next best where they are not for such
    weights; existing runners keep theirs. None stands for the best.

    Meant for tests and benchmarks; programs set ``FASTRNN_DOT`` before the import.
    """
    global _int8_name, _bf16_name
    cdef const fr_dot *entry = _chosen.dots
    cdef const fr_dot *int8 = NULL
    cdef const fr_dot *bf16 = NULL
    cdef int place = _place()
    if name is not None and name not in available_dots():
        raise ValueError(f"FASTRNN_DOT: expected one of {', '.join(available_dots())}, found {name!r}")
    while entry.name != NULL:
        if name is None or entry.name.decode() == name:
            name = None
            if entry.supported():
                int8 = entry if int8 == NULL and entry.int8[0] != NULL else int8
                bf16 = entry if bf16 == NULL and entry.bf16[0] != NULL else bf16
        entry += 1
    _int8[place] = _bf16[place] = _chosen.f32[0][0]
    _int8[place].forward, _int8[place].backward = int8.int8[0], &_int8[place].own
    _bf16[place].forward = _bf16[place].backward = bf16.bf16[0]
    _int8_name, _bf16_name = int8.name, bf16.name


def use_isa(name):
    """Use the instruction set `name` for all that is made from now on; existing runners keep theirs.

    Meant for tests and benchmarks; programs set ``FASTRNN_ISA`` before the import.
    """
    global _chosen, _generation
    cdef fr_kernels *k
    cdef int itemsize
    cdef const fr_isa *entry = fr_isas()
    while entry.name != NULL:
        if entry.supported() and entry.name.decode() == name:
            _chosen = entry
            _f32[_place()] = entry.f32[0][0]
            _f64[_place()] = entry.f64[0][0]
            for itemsize in (4, 8):
                k = table(itemsize)
                k.forward = k.backward = &k.own
            use_dots()
            _generation += 1
            return
        entry += 1
    raise ValueError(f"FASTRNN_ISA: expected one of {', '.join(available_isas())}, found {name!r}")


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
            k.map_exp(d, s, n)
        elif which == 1:
            k.map_sigmoid(d, s, n)
        else:
            k.map_tanh(d, s, n)
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
if os.environ.get("FASTRNN_DOT"):
    use_dots(os.environ["FASTRNN_DOT"])
