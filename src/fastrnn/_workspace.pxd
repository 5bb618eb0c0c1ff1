"""One aligned block of memory and the arena that carves it: nothing is allocated after the carving."""

# Carve twice with the same code: with base NULL to measure, then with the block.
cdef struct Arena:
    char *base
    size_t used

cdef inline void *take(Arena *arena, size_t nbytes) noexcept nogil:
    """The next `nbytes`, aligned to 64 bytes (a cache line, the widest vector)."""
    cdef size_t start = arena.used
    arena.used = start + ((nbytes + 63) & ~<size_t>63)
    return arena.base + start if arena.base != NULL else NULL


cdef class Workspace:
    cdef char *block        # as allocated
    cdef char *data         # aligned to 64
    cdef size_t size

    cdef int reserve(self, size_t nbytes) except -1
