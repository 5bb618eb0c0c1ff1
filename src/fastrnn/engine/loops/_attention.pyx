"""Attention: each step of a decoder reads from the memory of its source.

    q' = W_q q  (additive, general),  q' = q  (dot)
    e_s = v . tanh(q' + k_s)                        additive (Bahdanau et al. 2015), the keys are W_k m_s + b
    e_s = q' . k_s                                  dot, general (Luong et al. 2015), the keys are m_s
    a = softmax of e over the valid positions s,    context = sum_s a_s m_s

    da_s = dcontext . m_s,   de_s = a_s (da_s - sum_r a_r da_r),   dm_s += a_s dcontext
    additive:   u = de_s v (1 - tanh^2(q' + k_s)),  dq' += u,  dk_s += u,  dv += de_s tanh(q' + k_s)
    otherwise:  dq' += de_s k_s,  dk_s += de_s q'
    dq += W_q^T dq',  dW_q += dq' q^T

Attention ignores positions beyond a source's length; a source of length 0 gives a context of zeros. The gradients of
the values, and without v those of the keys, are sums over a sequence's steps: one product each after the last step.

To a GRU decoder additive attention adds a quarter forward and a fifth backward (bench/NOTES.md, Attention in a
decoder).
"""

from libc.string cimport memcpy, memset

cimport numpy as cnp

from fastrnn.engine.runtime._arrays cimport Pinned
from fastrnn.engine.runtime._backend cimport blas_context, products
from fastrnn.engine.runtime._panels cimport matrix, multiply, pack_columns, pack_rows, zero
from fastrnn.engine.runtime._sums cimport largest, row_total
from fastrnn.engine.runtime._workspace cimport room_in, take, take_array

cnp.import_array()

ctypedef fused real:
    float
    double


cdef void carve_reading(const Attention *a, fr_int batch, fr_int count, fr_int positions, bint before, Reading *reading,
                        Arena *arena) noexcept nogil:
    """Place the arrays of the forward pass; `before`: the query is h_{t-1}."""
    cdef fr_int size = a.k.itemsize
    reading.start = <fr_int *>take_array(arena, batch, 1, sizeof(fr_int))
    reading.weights = take_array(arena, count, positions, size)
    reading.queries = take_array(arena, count if before else 0, a.query, size)
    reading.projected = take_array(arena, count if a.projected else 0, a.width, size)


cdef void carve_reading_backward(const Attention *a, fr_int count, fr_int steps, fr_int positions, Reading *reading,
                                 Arena *arena) noexcept nogil:
    cdef fr_int size = a.k.itemsize
    reading.dcontext = take_array(arena, count, a.values, size)
    reading.dscores = take_array(arena, count, positions, size)
    reading.dprojected = take_array(arena, count, a.width, size)
    reading.dv = take_array(arena, a.width, 1, size)
    reading.ordered = take_array(arena, steps, a.width, size)


cdef void softmax(const fr_kernels *k, real *x, fr_int n) noexcept nogil:
    cdef real top = largest(x, n), scale
    cdef fr_int s
    for s in range(n):
        x[s] -= top
    k.map_exp(x, x, n)
    scale = <real>(1 / row_total(x, n))
    for s in range(n):
        x[s] *= scale


cdef void softmax_backward(real *dx, const real *y, fr_int n) noexcept nogil:
    """dx: [n] from dy, in place."""
    cdef double total = 0
    cdef fr_int s
    for s in range(n):
        total += <double>y[s] * dx[s]
    for s in range(n):
        dx[s] = y[s] * (dx[s] - <real>total)


cdef inline fr_int source_of(const Memory *memory, fr_int sequence) noexcept nogil:
    return memory.source[sequence] if memory.source != NULL else sequence


cdef inline const char *query_of(const Attention *a, const Reading *reading, fr_int row, const char *query,
                                 fr_int ldq, fr_int j) noexcept nogil:
    """q' of a packed row, which belongs to sequence j of the step."""
    if a.projected:
        return reading.projected + row * a.width * a.k.itemsize
    return query + j * ldq * a.k.itemsize


cdef void attend(const Attention *a, const Memory *memory, const Reading *reading, const fr_int *seq, fr_int rows,
                 fr_int t, fr_int first, const char *query, fr_int ldq, char *context, fr_int ldc) noexcept nogil:
    """context: [rows, W] of query: [rows, H] at step t, whose packed rows begin at `first`."""
    cdef const fr_kernels *k = a.k
    cdef fr_int size = k.itemsize, S = memory.steps, A = a.width, W = a.values, j, b, valid
    cdef char *weights
    if a.projected:
        # q': [rows, A] = q: [rows, H] W_q^T
        multiply(matrix(reading.projected + first * A * size, A), matrix(query, ldq), &a.p_q, zero(), rows)
    for j in range(rows):
        b = source_of(memory, seq[j])
        valid = memory.lengths[b]
        weights = reading.weights + (reading.start[j] + t) * S * size
        memset(weights + valid * size, 0, (S - valid) * size)
        if valid == 0:
            memset(context + j * ldc * size, 0, W * size)
            continue
        k.attention_scores(weights, query_of(a, reading, first + j, query, ldq, j), memory.keys + b * S * A * size, A,
                           a.v, valid, A)
        if size == 4:
            softmax(k, <float *>weights, valid)
        else:
            softmax(k, <double *>weights, valid)
        k.weighted_sum(context + j * ldc * size, weights, memory.values + b * S * W * size, W, valid, W)


cdef void attend_backward(const Attention *a, const Memory *memory, const Reading *reading, const fr_int *seq,
                          fr_int rows, fr_int t, fr_int first, const char *query, fr_int ldq, char *dquery,
                          fr_int lddq) noexcept nogil:
    """dquery: [rows, H] += the gradient of the query, from the step's rows of reading.dcontext."""
    cdef const fr_kernels *k = a.k
    cdef fr_int size = k.itemsize, S = memory.steps, A = a.width, W = a.values, j, b, valid, place
    cdef char *ds
    cdef char *dq = reading.dprojected + first * A * size
    for j in range(rows):
        b = source_of(memory, seq[j])
        valid = memory.lengths[b]
        place = reading.start[j] + t
        ds = reading.dscores + place * S * size
        memset(ds + valid * size, 0, (S - valid) * size)
        k.attention_scores(ds, reading.dcontext + place * W * size, memory.values + b * S * W * size, W, NULL, valid, W)
        if size == 4:
            softmax_backward(<float *>ds, <const float *>(reading.weights + place * S * size), valid)
        else:
            softmax_backward(<double *>ds, <const double *>(reading.weights + place * S * size), valid)
        if a.additive:
            k.attention_backward(dq + j * A * size, memory.dkeys + b * S * A * size, A, reading.dv, ds,
                                 query_of(a, reading, first + j, query, ldq, j), memory.keys + b * S * A * size, A,
                                 a.v, valid, A)
        else:
            k.weighted_sum(dq + j * A * size, ds, memory.keys + b * S * A * size, A, valid, A)
    if a.projected:
        # dq: [rows, H] += dq': [rows, A] W_q
        multiply(matrix(dquery, lddq), matrix(dq, A), &a.q_q, matrix(dquery, lddq), rows)
    else:
        k.add(dquery, lddq, dq, A, rows, A)


cdef void memory_gradient(const Attention *a, const Memory *memory, const Reading *reading, fr_int j, fr_int b,
                          fr_int steps, const char *queries, const Scratch *scratch) noexcept nogil:
    """Add sequence j's part to the gradients of source b. queries: [steps, A], its q' at every step; unused if
    additive."""
    cdef const fr_kernels *k = a.k
    cdef fr_int size = k.itemsize, S = memory.steps, A = a.width, W = a.values, valid = memory.lengths[b]
    cdef char *work = room_in(scratch, k.gemm_tn_work)
    if valid == 0 or steps == 0:
        return
    # dm: [S, W] += a: [T, S]^T dcontext: [T, W];   dk: [S, A] += de: [T, S]^T q': [T, A]
    k.gemm_tn(matrix(memory.dvalues + b * S * W * size, W), matrix(reading.weights + reading.start[j] * S * size, S),
              matrix(reading.dcontext + reading.start[j] * W * size, W), valid, W, steps, work)
    if not a.additive:
        k.gemm_tn(matrix(memory.dkeys + b * S * A * size, A), matrix(reading.dscores + reading.start[j] * S * size, S),
                  matrix(queries, A), valid, A, steps, work)


cdef class Packing:
    """One packing of the attention's weights; calls in flight keep the one they started with."""

    def __cinit__(self):
        self.memory = Workspace()


cdef class AttentionWeights(Watched):
    """An attention's parameters and gradients: "weight_query" [A,H] and "score" [A], or only some of them."""

    def __cinit__(self, params, grads, fr_int query, fr_int width, fr_int values, int itemsize):
        cdef Attention *a = &self.attention
        shapes = {"weight_query": (width, query), "score": (width,)}
        if min(query, width, values) < 1 or itemsize not in (4, 8):
            raise ValueError(f"query, width, values: expected sizes of at least 1 of elements of 4 or 8 bytes, found "
                             f"{query}, {width} and {values} of {itemsize}")
        self.pin(params)
        self.grads = Pinned(grads, "grads")
        # Dicts of our own: nobody can change them between the check and the use.
        params = dict(zip(self.pinned.names, self.pinned.arrays))
        grads = dict(zip(self.grads.names, self.grads.arrays))
        for arrays in (params, grads):
            for name, array in arrays.items():
                if (name not in shapes or not isinstance(array, cnp.ndarray) or array.shape != shapes[name]
                        or cnp.PyArray_TYPE(array) != (cnp.NPY_FLOAT if itemsize == 4 else cnp.NPY_DOUBLE)
                        or not cnp.PyArray_ISCARRAY(array)):
                    raise ValueError(f"params, grads: expected C-contiguous arrays of {itemsize} bytes an element and "
                                     f"the shapes {shapes}, found {name!r}")
        if params.keys() != grads.keys() or ("weight_query" not in params and width != query) \
                or ("score" not in params and width != values):
            raise ValueError("params, grads: expected a score or keys as wide as the values, and a weight_query or "
                             "queries as wide as the keys")
        a.k = products(itemsize)
        a.query, a.width, a.values = query, width, values
        a.projected = "weight_query" in params
        a.additive = "score" in params
        a.w_q = a.v = a.dw_q = a.dv = NULL
        if a.projected:
            a.w_q = <const char *>cnp.PyArray_DATA(params["weight_query"])
            a.dw_q = <char *>cnp.PyArray_DATA(grads["weight_query"])
        if a.additive:
            a.v = <const char *>cnp.PyArray_DATA(params["score"])
            a.dv = <char *>cnp.PyArray_DATA(grads["score"])

    cdef Packing forward_pack(self):
        if self.changed() or self.packed is None:
            self.packed = self._pack(True)
            self.settle()
        return self.packed

    cdef Packing backward_pack(self):
        blas_context()      # first, because the import of BLAS may fail
        self.pinned.check(False)
        self.grads.check(True)
        return self._pack(False)

    cdef Packing _pack(self, bint for_forward):
        cdef Packing packed = Packing()
        cdef Attention *a = &packed.attention
        cdef Arena arena
        cdef int turn
        cdef fr_int nbytes = self.attention.width * self.attention.k.itemsize
        cdef char *v
        memcpy(a, &self.attention, sizeof(Attention))
        for turn in range(2):
            arena.base = packed.memory.data if turn else NULL
            arena.used = 0
            if a.projected and for_forward:
                a.p_q = pack_rows(&arena, a.k, a.w_q, a.width, a.query)
            elif a.projected:
                a.q_q = pack_columns(&arena, a.k, a.w_q, a.query, a.width)
            if a.additive:
                v = <char *>take(&arena, nbytes)    # a copy, because the parameters may change during a call
                if turn:
                    memcpy(v, self.attention.v, nbytes)
                    a.v = v
            packed.memory.reserve(arena.used)
        return packed
