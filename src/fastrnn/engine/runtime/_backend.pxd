"""The choice between our products and BLAS's: see ``_backend.pyx``."""

from fastrnn.engine.runtime._kernels cimport Precision, fr_kernels, fr_panels

# The kernels for elements of 4 or 8 bytes, with our products or BLAS's; or for floats and weights of fewer bits.
cdef const fr_kernels *products(int itemsize, Precision precision=*) except NULL
# The context of a call that may use BLAS.
cdef object blas_context()


cdef inline bint by_blas(const fr_kernels *k, const fr_panels *w) noexcept nogil:
    """Whether BLAS multiplies with these weights; the call then needs the context."""
    return w.format != &k.own and w.format.itemsize == k.itemsize
