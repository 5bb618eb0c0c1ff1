"""SciPy's BLAS in row-major form, as a format of packed weights and as the product of weight gradients.

    multiply:  c: [R,N] = init: [R,N] + a: [R,K] w: [K,N], w packed as its transpose: [N,K]
    gemm_tn:   c: [M,N] += a: [K,M]^T b: [K,N]

BLAS is column-major, where the same memory reads c^T: [N,R] = init^T + w^T: [N,K] a^T: [K,R], and
c^T: [N,M] += b^T: [N,K] (a^T)^T: [K,M]. One row is a product of a matrix and a vector. Several workers call BLAS at the
same time, so `_backend` holds it to one thread.
"""

from libc.string cimport memcpy, memset
from scipy.linalg.cython_blas cimport dgemm, dgemv, sgemm, sgemv

from fastrnn.engine.runtime._kernels cimport fr_format, fr_int, fr_kernels, fr_matrix, fr_panels, own_gemm_tn, table

ctypedef fused real:
    float
    double

cdef enum:
    MOST = 2147483647       # the largest dimension: BLAS takes an int
    PIECE = 1073741824      # most rows that one call multiplies or sums

cdef fr_int _most = MOST


cdef inline bint fits(fr_int a, fr_int b, fr_int c, fr_int d) noexcept nogil:
    return max(max(a, b), max(c, d)) <= _most


cdef inline void add_product(real *c, fr_int ldc, const real *a, fr_int lda, const real *w, fr_int rows, fr_int n,
                             fr_int k) noexcept nogil:
    """c: [R,N] += a: [R,K] w^T, w: [N,K]."""
    cdef int columns = <int>n, inner = <int>k, width = <int>lda, out = <int>ldc, one = 1, count
    cdef real unit = 1
    cdef char no = b'N', yes = b'T'
    while rows > 0:
        count = <int>min(rows, <fr_int>PIECE)
        if real is float:
            if count == 1:
                sgemv(&yes, &inner, &columns, &unit, <float *>w, &inner, <float *>a, &one, &unit, c, &one)
            else:
                sgemm(&yes, &no, &columns, &count, &inner, &unit, <float *>w, &inner, <float *>a, &width, &unit, c,
                      &out)
        else:
            if count == 1:
                dgemv(&yes, &inner, &columns, &unit, <double *>w, &inner, <double *>a, &one, &unit, c, &one)
            else:
                dgemm(&yes, &no, &columns, &count, &inner, &unit, <double *>w, &inner, <double *>a, &width, &unit, c,
                      &out)
        a += count * lda
        c += count * ldc
        rows -= count


cdef inline void add_plainly(real *c, fr_int ldc, const real *a, fr_int lda, const real *w, fr_int rows, fr_int n,
                             fr_int k) noexcept nogil:
    """The same for dimensions that are too large for BLAS."""
    cdef fr_int i, j, at
    for i in range(rows):
        for j in range(n):
            for at in range(k):
                c[i * ldc + j] += a[i * lda + at] * w[j * k + at]


cdef inline void multiply(real *c, fr_matrix out, fr_matrix left, const fr_panels *w, fr_matrix init, fr_int rows,
                          fr_int first, fr_int n) noexcept nogil:
    cdef fr_int k = w.inner, i
    cdef const real *a = <const real *>left.data
    cdef const real *weights = <const real *>w.data + first * k
    cdef const real *start = <const real *>init.data + first if init.data != NULL else NULL
    c += first
    for i in range(rows if init.data != out.data else 0):
        if start != NULL:
            memcpy(c + i * out.ld, start + i * init.ld, n * sizeof(real))
        else:
            memset(c + i * out.ld, 0, n * sizeof(real))
    if fits(out.ld, left.ld, n, k):
        add_product(c, out.ld, a, left.ld, weights, rows, n, k)
    else:
        add_plainly(c, out.ld, a, left.ld, weights, rows, n, k)


cdef void multiply_f32(fr_matrix c, fr_matrix a, const fr_panels *w, fr_matrix init, fr_int rows, fr_int first,
                       fr_int n) noexcept nogil:
    multiply(<float *>c.data, c, a, w, init, rows, first, n)


cdef void multiply_f64(fr_matrix c, fr_matrix a, const fr_panels *w, fr_matrix init, fr_int rows, fr_int first,
                       fr_int n) noexcept nogil:
    multiply(<double *>c.data, c, a, w, init, rows, first, n)


cdef inline void transpose(real *to, const real *source, fr_int n, fr_int k, fr_int stride_n,
                           fr_int stride_k) noexcept nogil:
    """to: [N,K] <- source[n * stride_n + k * stride_k]."""
    cdef fr_int i, j, block
    if stride_k == 1:
        for i in range(n):
            memcpy(to + i * k, source + i * stride_n, k * sizeof(real))
        return
    for block in range(0, n, 16):       # so that both sides stay in cache
        for j in range(k):
            for i in range(block, min(n, block + 16)):
                to[i * k + j] = source[i * stride_n + j * stride_k]


cdef void pack_f32(void *to, const void *source, fr_int n, fr_int k, fr_int stride_n, fr_int stride_k) noexcept nogil:
    transpose(<float *>to, <const float *>source, n, k, stride_n, stride_k)


cdef void pack_f64(void *to, const void *source, fr_int n, fr_int k, fr_int stride_n, fr_int stride_k) noexcept nogil:
    transpose(<double *>to, <const double *>source, n, k, stride_n, stride_k)


cdef inline void add_gradient(real *c, fr_matrix out, fr_matrix left, fr_matrix right, fr_int m, fr_int n,
                              fr_int k) noexcept nogil:
    """c: [M,N] += a: [K,M]^T b: [K,N]."""
    cdef int rows = <int>n, columns = <int>m, inner, ldb = <int>right.ld, lda = <int>left.ld, ldc = <int>out.ld
    cdef real *a = <real *>left.data
    cdef real *b = <real *>right.data
    cdef real one = 1
    cdef char no = b'N', yes = b'T'
    while k > 0:
        inner = <int>min(k, <fr_int>PIECE)
        if real is float:
            sgemm(&no, &yes, &rows, &columns, &inner, &one, b, &ldb, a, &lda, &one, c, &ldc)
        else:
            dgemm(&no, &yes, &rows, &columns, &inner, &one, b, &ldb, a, &lda, &one, c, &ldc)
        a += inner * left.ld
        b += inner * right.ld
        k -= inner


cdef void gemm_tn_f32(fr_matrix c, fr_matrix a, fr_matrix b, fr_int m, fr_int n, fr_int k, void *work) noexcept nogil:
    if not fits(c.ld, a.ld, b.ld, max(m, n)):
        own_gemm_tn(4)(c, a, b, m, n, k, work)
    elif m > 0:
        add_gradient(<float *>c.data, c, a, b, m, n, k)


cdef void gemm_tn_f64(fr_matrix c, fr_matrix a, fr_matrix b, fr_int m, fr_int n, fr_int k, void *work) noexcept nogil:
    if not fits(c.ld, a.ld, b.ld, max(m, n)):
        own_gemm_tn(8)(c, a, b, m, n, k, work)
    elif m > 0:
        add_gradient(<double *>c.data, c, a, b, m, n, k)


cdef fr_int row_bytes_f32(fr_int k) noexcept nogil:
    return k * <fr_int>sizeof(float)


cdef fr_int row_bytes_f64(fr_int k) noexcept nogil:
    return k * <fr_int>sizeof(double)


cdef fr_format _f32 = fr_format(4, 1, &row_bytes_f32, &pack_f32, &multiply_f32)
cdef fr_format _f64 = fr_format(8, 1, &row_bytes_f64, &pack_f64, &multiply_f64)


def install(int itemsize, bint forward, bint backward):
    """Let BLAS do the products of this type: those of forward passes, and those of BPTT with the weight gradients."""
    cdef fr_kernels *k
    if itemsize not in (4, 8):
        raise ValueError(f"itemsize: expected 4 or 8, found {itemsize}")
    k = table(itemsize)
    cdef const fr_format *ours = &_f32 if itemsize == 4 else &_f64
    if forward:
        k.forward = ours
    if backward:
        k.backward = ours
        k.gemm_tn = &gemm_tn_f32 if itemsize == 4 else &gemm_tn_f64


def use_limit(fr_int most=MOST):
    """Set the largest dimension for BLAS; tests make it small."""
    global _most
    _most = max(1, min(most, <fr_int>MOST))
