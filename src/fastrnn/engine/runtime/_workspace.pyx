"""One aligned block of memory, kept between calls."""

from libc.stdint cimport uintptr_t
from libc.stdlib cimport free, malloc

cdef enum:
    # A larger block goes back to the system after its call: new pages cost little beside so much work.
    KEPT_BYTES = 268435456


cdef class Workspace:
    """A block aligned to 64 bytes that grows on demand; growing discards its content."""

    cdef int reserve(self, size_t nbytes) except -1:
        if nbytes <= self.size:
            return 0
        self.release()
        if nbytes < FR_TOO_MUCH:
            self.block = <char *>malloc(nbytes + 64)
        if self.block == NULL:
            raise MemoryError(f"expected {nbytes / 1e6:.0f} MB for the activations, found less; "
                              "use a smaller batch or shorter sequences")
        self.data = <char *>((<uintptr_t>self.block + 63) & ~<uintptr_t>63)
        self.size = nbytes
        fr_fence(self.block, 0, nbytes + 64)
        fr_fence(self.data, nbytes, nbytes)
        return 0

    cdef void release(self) noexcept:
        if self.block != NULL:
            fr_fence(self.block, self.size + 64, self.size + 64)
            free(self.block)
        self.block = self.data = NULL
        self.size = 0

    def __dealloc__(self):
        self.release()


cdef object pop_or_none(list free_list):
    try:
        return free_list.pop() if free_list else None
    except IndexError:      # another thread was faster
        return None


cdef Workspace free_workspace(list free_list):
    """A workspace from the list, or a new one."""
    cdef Workspace memory = pop_or_none(free_list)
    return Workspace() if memory is None else memory


cdef int keep_workspace(list free_list, Workspace memory, Py_ssize_t most) except -1:
    """Add a workspace to the list, if it is not large and the list has fewer than `most`; else free its memory."""
    if memory.size <= KEPT_BYTES and len(free_list) < most:
        free_list.append(memory)
    else:
        memory.release()
    return 0
