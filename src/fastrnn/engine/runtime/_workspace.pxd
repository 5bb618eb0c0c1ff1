"""One aligned block of memory and the arena that carves it; nothing is allocated after that."""

from fastrnn.engine.runtime._kernels cimport FR_GAP, FR_TOO_MUCH, fr_bytes, fr_fence, fr_int, fr_must

# Carve twice with the same code: first with base NULL, which only measures, then with the block.
cdef struct Arena:
    char *base
    size_t used

# Memory for one worker's intermediate values. Ask for it by `room_in`, with the number of bytes.
cdef struct Scratch:
    char *data
    size_t size

cdef inline void *take(Arena *arena, size_t nbytes) noexcept nogil:
    """The next `nbytes`, aligned to 64 bytes (a cache line, the widest vector). A size that is too large is kept as
    FR_TOO_MUCH."""
    cdef size_t start = arena.used
    if nbytes > FR_TOO_MUCH - 64 - FR_GAP or start > FR_TOO_MUCH - 64 - FR_GAP - nbytes:
        arena.used = FR_TOO_MUCH
        return NULL
    arena.used = start + ((nbytes + 63) & ~<size_t>63) + FR_GAP
    if arena.base == NULL:
        return NULL
    fr_fence(arena.base + start, nbytes, arena.used - start)
    return arena.base + start


cdef inline char *take_array(Arena *arena, fr_int rows, fr_int columns, fr_int size) noexcept nogil:
    """Room for [rows, columns] elements of `size` bytes."""
    return <char *>take(arena, fr_bytes(rows, columns, size))


cdef inline Scratch take_scratch(Arena *arena, size_t nbytes) noexcept nogil:
    cdef Scratch scratch
    scratch.data = <char *>take(arena, nbytes)
    scratch.size = nbytes
    return scratch


cdef inline char *room_in(const Scratch *scratch, size_t nbytes) noexcept nogil:
    """The scratch's memory, for a caller that writes to the first `nbytes`."""
    fr_must(nbytes <= scratch.size, "a scratch is smaller than what is written to it")
    return scratch.data


cdef class Workspace:
    cdef char *block        # as allocated
    cdef char *data         # aligned to 64
    cdef size_t size

    cdef int reserve(self, size_t nbytes) except -1
    cdef void release(self) noexcept

# Lists of objects that may be used again; each entry goes to one caller, even if several threads ask.
cdef object pop_or_none(list free_list)
cdef Workspace free_workspace(list free_list)
cdef int keep_workspace(list free_list, Workspace memory, Py_ssize_t most) except -1
