"""Who does the products: see ``_backend.pyx``."""

from fastrnn.engine.runtime._kernels cimport fr_kernels, fr_panels

# The kernels for elements of 4 or 8 bytes, with the products of whoever does them.
cdef const fr_kernels *products(int itemsize) except NULL
# The context of a call whose products BLAS may do, ours or its.
cdef object blas_context()


cdef inline bint by_blas(const fr_kernels *k, const fr_panels *w) noexcept nogil:
    """Whether BLAS multiplies with these weights, which takes the context."""
    return w.format != &k.own
