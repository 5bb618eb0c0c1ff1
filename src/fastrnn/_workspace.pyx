"""One aligned block of memory, kept between calls."""

from libc.stdint cimport uintptr_t
from libc.stdlib cimport free, malloc


cdef class Workspace:
    """A block aligned to 64 bytes that grows on demand and never shrinks; growing forgets its content."""

    cdef int reserve(self, size_t nbytes) except -1:
        if nbytes <= self.size:
            return 0
        free(self.block)
        self.block = self.data = NULL
        self.size = 0
        self.block = <char *>malloc(nbytes + 64)
        if self.block == NULL:
            raise MemoryError(f"expected {nbytes / 1e6:.0f} MB for the activations, found less; "
                              "use a smaller batch or shorter sequences")
        self.data = <char *>((<uintptr_t>self.block + 63) & ~<uintptr_t>63)
        self.size = nbytes
        return 0

    def __dealloc__(self):
        free(self.block)
