"""Arrays as compiled code takes them: see ``_arrays.pyx``."""

from fastrnn.engine.runtime._kernels cimport fr_int
from fastrnn.engine.runtime._workspace cimport Workspace

# What `check_array` asks of an array, besides its type and shape.
cdef enum:
    READ = 0            # C-contiguous
    WRITE = 1           # and writeable
    ROWS = 2            # only the last axis contiguous
    COPIED = 4          # at any address: the call copies it

cdef struct Pin:
    # An array's memory, type and shape.
    const char *data
    int typenum, ndim
    fr_int shape[3]
    bint in_room

cdef int check_array(object array, str name, int typenum, int kind, fr_int a, fr_int b=*, fr_int c=*,
                     fr_int d=*) except -1
cdef object own_ints(object values, str name, fr_int size, fr_int low, fr_int high)
cdef int check_aligned(str name, const void *data, size_t size) except -1
cdef int check_probability(str name, double p) except -1
cdef int check_sizes(str name, fr_int expected, fr_int found) except -1
cdef int typenum_of(int itemsize) noexcept
cdef object plain(object array)
cpdef object room(shape, dtype)
cdef tuple plain_parts(object parts, str name)


cdef class ArrayMemory:
    cdef object array


cdef class Pinned:
    cdef readonly object mapping    # name -> array, the owner's own dict
    cdef tuple names
    cdef readonly tuple arrays
    cdef tuple memories             # of the arrays
    cdef Pin *pins
    cdef str what

    cdef bint held(self)
    cdef int check(self, bint writes) except -1
    cdef int copy_to(self, Workspace memory) except -1
    cdef void copy_back(self, Workspace memory) noexcept
