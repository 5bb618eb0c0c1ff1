"""SciPy's BLAS in row-major form, for the large products of training where our own kernels are slower.

    c: [M,N] += a: [K,M]^T b: [K,N]

BLAS is column-major, where the same memory reads c^T: [N,M] += b^T: [N,K] (a^T)^T: [K,M].
The workers call it side by side, so it is held to one thread meanwhile: see `_kernels.large_products`.
"""

from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from libc.stdint cimport int64_t
from scipy.linalg.cython_blas cimport dgemm, sgemm

ctypedef fused real:
    float
    double


ctypedef void (*gemm_tn_fn)(void *c, int64_t ldc, const void *a, int64_t lda, const void *b, int64_t ldb, int64_t m,
                            int64_t n, int64_t k, void *work) noexcept nogil

cdef enum:
    MOST = 2147483647       # of a dimension: BLAS takes an int
    PIECE = 1073741824      # rows that are summed at a time where there are more

# Our own products, for arrays that BLAS cannot take.
cdef gemm_tn_fn _own_f32 = NULL
cdef gemm_tn_fn _own_f64 = NULL


cdef inline bint fits(int64_t ldc, int64_t lda, int64_t ldb, int64_t m, int64_t n) noexcept nogil:
    return max(max(ldc, lda), max(ldb, max(m, n))) <= MOST


cdef inline void add_product(real *c, int64_t ldc, real *a, int64_t lda, real *b, int64_t ldb, int64_t m, int64_t n,
                             int64_t k) noexcept nogil:
    cdef int rows = <int>n, columns = <int>m, inner
    cdef int left = <int>ldb, right = <int>lda, out = <int>ldc
    cdef real one = 1
    cdef char no = b'N', yes = b'T'
    while k > 0:
        inner = <int>(k if k <= MOST else PIECE)
        if real is float:
            sgemm(&no, &yes, &rows, &columns, &inner, &one, b, &left, a, &right, &one, c, &out)
        else:
            dgemm(&no, &yes, &rows, &columns, &inner, &one, b, &left, a, &right, &one, c, &out)
        a += inner * lda
        b += inner * ldb
        k -= inner


cdef void gemm_tn_f32(void *c, int64_t ldc, const void *a, int64_t lda, const void *b, int64_t ldb, int64_t m,
                      int64_t n, int64_t k, void *work) noexcept nogil:
    if not fits(ldc, lda, ldb, m, n):
        _own_f32(c, ldc, a, lda, b, ldb, m, n, k, work)
    elif m > 0:
        add_product(<float *>c, ldc, <float *>a, lda, <float *>b, ldb, m, n, k)


cdef void gemm_tn_f64(void *c, int64_t ldc, const void *a, int64_t lda, const void *b, int64_t ldb, int64_t m,
                      int64_t n, int64_t k, void *work) noexcept nogil:
    if not fits(ldc, lda, ldb, m, n):
        _own_f64(c, ldc, a, lda, b, ldb, m, n, k, work)
    elif m > 0:
        add_product(<double *>c, ldc, <double *>a, lda, <double *>b, ldb, m, n, k)


def functions(own_f32, own_f64):
    """The products for the kernel tables of float32 and float64, given our own: capsules of their addresses."""
    global _own_f32, _own_f64
    cdef void *f32 = PyCapsule_GetPointer(own_f32, "fastrnn.gemm_tn")
    cdef void *f64 = PyCapsule_GetPointer(own_f64, "fastrnn.gemm_tn")
    _own_f32, _own_f64 = <gemm_tn_fn>f32, <gemm_tn_fn>f64
    return (PyCapsule_New(<void *>&gemm_tn_f32, "fastrnn.gemm_tn", NULL),
            PyCapsule_New(<void *>&gemm_tn_f64, "fastrnn.gemm_tn", NULL))
