"""The last check of arrays before compiled code reads or writes their memory.

Callers in Python check the arguments of users and word the errors for them. This module trusts nobody: right before it
takes an array's address, it reads NumPy's own structure, not attributes that a subclass can override.
"""

cimport cython
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.object cimport PyObject
from libc.stdint cimport uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

import numpy as np

cimport numpy as cnp

cnp.import_array()

cdef enum:
    MOST_LEVELS = 100   # of nested values in a tape: users' modules may put anything there

cdef extern from "Python.h":
    PyObject *PyDict_GetItem(object mapping, object name)       # ignores what a subclass overrides
    PyObject *PyTuple_GET_ITEM(object p, Py_ssize_t i)
    Py_ssize_t references "Py_REFCNT"(PyObject *o)


cdef int typenum_of(int itemsize) noexcept:
    return cnp.NPY_FLOAT if itemsize == 4 else cnp.NPY_DOUBLE


cdef object plain(object array):
    """A view of an array in NumPy's own type, so that no subclass overrides its attributes; what is not an array comes
    back as it is."""
    if not isinstance(array, cnp.ndarray) or cnp.PyArray_CheckExact(array):
        return array
    return np.ndarray.view(array, np.ndarray)


cdef tuple plain_parts(object parts, str name):
    """The three parts of a state, each an array or None."""
    if not isinstance(parts, (tuple, list)) or len(parts) != 3:
        raise TypeError(f"{name}: expected three arrays or None, found {type(parts).__name__}")
    h, c, w = parts
    return plain(h), plain(c), plain(w)


@cython.final
@cython.no_gc       # the garbage collector cannot reach the array from here
cdef class ArrayMemory:
    """The owner of the memory of arrays that `room` makes. NumPy does not resize an array that does not own its memory,
    and a read-only array can be made writeable again if its memory is writeable."""

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        if self.array is None:
            raise BufferError("memory: expected one that an array lies in, found one made by itself")
        PyBuffer_FillInfo(buffer, self, cnp.PyArray_DATA(self.array), cnp.PyArray_NBYTES(self.array), 0, flags)


cpdef object room(shape, dtype):
    """Zeros, as from `numpy.zeros`, but aligned to 64 bytes, and nobody can resize the array."""
    cdef ArrayMemory memory = ArrayMemory()
    cdef cnp.ndarray like = np.broadcast_to(np.zeros((), dtype), shape)
    cdef cnp.ndarray own, array
    cdef uintptr_t start
    if cnp.PyArray_TYPE(like) not in (cnp.NPY_FLOAT, cnp.NPY_DOUBLE, cnp.NPY_BYTE, cnp.NPY_USHORT):
        raise ValueError(f"dtype: expected float32, float64, int8 or uint16, found {dtype}")
    own = memory.array = np.zeros(cnp.PyArray_SIZE(like) * cnp.PyArray_ITEMSIZE(like) + 63, np.uint8)
    start = (<uintptr_t>cnp.PyArray_DATA(own) + 63) & ~<uintptr_t>63
    array = cnp.PyArray_SimpleNewFromData(cnp.PyArray_NDIM(like), cnp.PyArray_DIMS(like), cnp.PyArray_TYPE(like),
                                          <void *>start)
    cnp.set_array_base(array, memory)
    return array


cdef bint _in_place(cnp.ndarray array) noexcept:
    """Whether a view still lies inside its base array: `resize(refcheck=False)` may have moved that one."""
    cdef const char *first = <const char *>cnp.PyArray_DATA(array)
    cdef const char *end = first + cnp.PyArray_ITEMSIZE(array)
    cdef const char *start
    cdef fr_int reach
    cdef int axis
    cdef PyObject *base = <PyObject *>cnp.PyArray_BASE(array)
    if base == NULL or cnp.PyArray_SIZE(array) == 0 or cnp.PyArray_CHKFLAGS(array, cnp.NPY_ARRAY_WRITEBACKIFCOPY):
        return True
    for axis in range(cnp.PyArray_NDIM(array)):
        reach = (cnp.PyArray_DIM(array, axis) - 1) * cnp.PyArray_STRIDE(array, axis)
        if reach < 0:
            first += reach
        else:
            end += reach
    while base != NULL and isinstance(<object>base, cnp.ndarray):
        start = <const char *>cnp.PyArray_DATA(<cnp.ndarray>base)
        # Only an array with memory of its own can be resized; one that is a view may have gaps.
        if cnp.PyArray_CHKFLAGS(<cnp.ndarray>base, cnp.NPY_ARRAY_OWNDATA):
            return start <= first and end <= start + cnp.PyArray_NBYTES(<cnp.ndarray>base)
        base = <PyObject *>cnp.PyArray_BASE(<cnp.ndarray>base)
    return True


cdef str _found(object array):
    if not isinstance(array, cnp.ndarray):
        return type(array).__name__
    shape = tuple([cnp.PyArray_DIM(array, axis) for axis in range(cnp.PyArray_NDIM(array))])
    return f"{cnp.PyArray_DescrFromType(cnp.PyArray_TYPE(array))} of shape {shape}"


cdef int check_array(object array, str name, int typenum, int kind, fr_int a, fr_int b=-1, fr_int c=-1,
                     fr_int d=-1) except -1:
    """Raise unless this is an array of this type and of shape (a,), (a, b), (a, b, c) or (a, b, c, d)."""
    cdef fr_int shape[4]
    cdef int ndim = 1 if b < 0 else 2 if c < 0 else 3 if d < 0 else 4, axis
    cdef bint fits = isinstance(array, cnp.ndarray)
    cdef fr_int size
    shape[0], shape[1], shape[2], shape[3] = a, b, c, d
    if fits:
        size = cnp.PyArray_ITEMSIZE(array)
        fits = (cnp.PyArray_TYPE(array) == typenum and cnp.PyArray_NDIM(array) == ndim
                and cnp.PyArray_ISNOTSWAPPED(array) and (kind & COPIED or cnp.PyArray_ISALIGNED(array))
                and (cnp.PyArray_ISWRITEABLE(array) or not kind & WRITE)
                and (cnp.PyArray_IS_C_CONTIGUOUS(array)
                     or (kind & ROWS and (cnp.PyArray_STRIDE(array, ndim - 1) == size or shape[ndim - 1] <= 1))))
    for axis in range(ndim if fits else 0):
        fits = fits and cnp.PyArray_DIM(array, axis) == shape[axis]
    if not fits:
        raise ValueError(f"{name}: expected a {'row-' if kind & ROWS else 'C-'}contiguous"
                         f"{', writeable' if kind & WRITE else ''} array of {cnp.PyArray_DescrFromType(typenum)} and "
                         f"shape {(a, b, c, d)[:ndim]}, found {_found(array)}")
    if not _in_place(array):
        raise ValueError(f"{name}: expected an array that is in place, found a view of one that was resized since")
    return 0


cdef int _check_kept(object kept, type tape, int depth) except -1:
    if isinstance(kept, cnp.ndarray):
        if not _in_place(kept):
            raise ValueError("tape: expected what forward() was given in place, found an array that was resized since")
    elif type(kept) is tape:
        _check_kept(kept._saved, tape, depth + 1)
    elif isinstance(kept, dict):
        _check_kept(list(kept.values()), tape, depth + 1)
    elif isinstance(kept, (tuple, list)) and depth < MOST_LEVELS:
        for one in kept:
            _check_kept(one, tape, depth + 1)
    return 0


def check_kept(kept, type tape not None):
    """Raise if an array that a tape keeps, in other tapes too, is a view of an array that was resized since."""
    _check_kept(kept, tape, 0)


cdef int check_aligned(str name, const void *data, size_t size) except -1:
    """Raise unless the elements lie at multiples of their size, as compiled code needs."""
    if <uintptr_t>data % size != 0:
        raise ValueError(f"{name}: expected an aligned array, found one at an odd address")
    return 0


cdef int check_sizes(str name, fr_int expected, fr_int found) except -1:
    """Raise unless an axis has the expected length."""
    if found != expected:
        raise ValueError(f"{name}: expected {expected} elements, found {found}")
    return 0


cdef int check_probability(str name, double p) except -1:
    """Raise unless p is a probability."""
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: expected a probability of 0 to 1, found {p}")
    return 0


cdef object own_ints(object values, str name, fr_int size, fr_int low, fr_int high):
    """A checked copy of int64 values in low .. high, which nobody else can write to: (size,), or any number if size is
    -1."""
    own = np.asarray(values)
    if own.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected an array of ints, found {own.dtype}")
    own = own.astype(np.int64, order="C")
    if own.ndim != 1 or (size >= 0 and len(own) != size):
        raise ValueError(f"{name}: expected shape ({size if size >= 0 else 'n'},), found {own.shape}")
    if len(own) and (own.min() < low or own.max() > high):
        raise ValueError(f"{name}: expected ints in {low} .. {high}, found {own.min()} to {own.max()}")
    return own


cdef class Pinned:
    """A module's live arrays, whose addresses compiled code keeps.

    The owner may write into an array but must not change its shape, type or memory: `check` finds that before the old
    address is used. `what` is the name of the owner's dict in errors.
    """

    def __cinit__(self, mapping, str what):
        cdef int i
        if not isinstance(mapping, dict):
            raise TypeError(f"{what}: expected a dict, found {type(mapping).__name__}")
        self.mapping = mapping
        self.names = tuple(mapping)
        self.arrays = tuple(mapping.values())
        self.what = what
        self.pins = <Pin *>malloc(max(len(self.arrays), 1) * sizeof(Pin))
        if self.pins == NULL:
            raise MemoryError
        for i in range(len(self.arrays)):
            array = self.arrays[i]
            if (not cnp.PyArray_CheckExact(array) or not cnp.PyArray_ISCARRAY(array)
                    or cnp.PyArray_TYPE(array) not in (cnp.NPY_FLOAT, cnp.NPY_DOUBLE, cnp.NPY_BYTE, cnp.NPY_USHORT)
                    or not 1 <= cnp.PyArray_NDIM(array) <= 3):
                raise ValueError(f"{what}[{self.names[i]!r}]: expected a C-contiguous, writeable array of float32, "
                                 f"float64, int8 or uint16 with one to three axes, found {_found(array)}")
            self.pins[i] = _pin_of(array)
        self.memories = tuple([array.base for array in self.arrays])
        for i in range(len(self.arrays)):
            self.pins[i].in_room = isinstance(self.memories[i], ArrayMemory)

    def __dealloc__(self):
        free(self.pins)

    def intact(self, bint writes=False):
        """Raise if the shape, type or memory of an array has changed or, with `writes`, if it is read-only."""
        self.check(writes)

    cdef bint held(self):
        """Whether anybody but the owner and this object holds the mapping, one of its arrays or their memory."""
        cdef Py_ssize_t i
        # Two references each are ours: the owner and this object hold the mapping, the mapping and a tuple hold an
        # array, the array and a tuple hold its memory. Here only borrowed references, which do not count.
        if references(<PyObject *>self.mapping) > 2:
            return True
        for i in range(len(self.arrays)):
            if references(PyTuple_GET_ITEM(self.arrays, i)) > 2:
                return True
            if self.pins[i].in_room and references(PyTuple_GET_ITEM(self.memories, i)) > 2:
                return True
        return False

    cdef int check(self, bint writes) except -1:
        cdef Pin now
        cdef Pin *was
        cdef int i
        for i in range(len(self.arrays)):
            array = self.arrays[i]
            was = &self.pins[i]
            now = _pin_of(array)
            if (now.data != was.data or now.typenum != was.typenum or now.ndim != was.ndim
                    or now.shape[0] != was.shape[0] or now.shape[1] != was.shape[1] or now.shape[2] != was.shape[2]
                    or not cnp.PyArray_ISCARRAY_RO(array)):
                raise ValueError(f"{self.what}[{self.names[i]!r}]: expected the array as it was made, found one whose "
                                 "memory, shape or dtype has been changed; write into it instead")
            if writes and not cnp.PyArray_ISWRITEABLE(array):
                raise ValueError(f"{self.what}[{self.names[i]!r}]: expected a writeable array, found a read-only one")
            if PyDict_GetItem(self.mapping, self.names[i]) != <PyObject *>array:
                raise ValueError(f"{self.what}[{self.names[i]!r}]: expected the array as it was made, found another "
                                 "one in its place; write into it instead")
        return 0

    cdef int copy_to(self, Workspace memory) except -1:
        """Copy the arrays' values, one after another; call right after `check`."""
        cdef size_t at = 0
        cdef int i
        for i in range(len(self.arrays)):
            at += bytes_of(&self.pins[i])
        memory.reserve(at)
        at = 0
        for i in range(len(self.arrays)):
            memcpy(memory.data + at, self.pins[i].data, bytes_of(&self.pins[i]))
            at += bytes_of(&self.pins[i])
        return 0

    cdef void copy_back(self, Workspace memory) noexcept:
        """Set the arrays to the values that `copy_to` has copied."""
        cdef size_t at = 0
        cdef int i
        for i in range(len(self.arrays)):
            memcpy(<char *>self.pins[i].data, memory.data + at, bytes_of(&self.pins[i]))
            at += bytes_of(&self.pins[i])


cdef size_t _size_of(int typenum) noexcept:
    """Bytes an element of the types that parameters have."""
    return 4 if typenum == cnp.NPY_FLOAT else 8 if typenum == cnp.NPY_DOUBLE else 2 if typenum == cnp.NPY_USHORT else 1


cdef size_t bytes_of(const Pin *pin) noexcept:
    return pin.shape[0] * pin.shape[1] * pin.shape[2] * _size_of(pin.typenum)


cdef Pin _pin_of(object array) noexcept:
    cdef Pin pin
    cdef int axis
    pin.data = <const char *>cnp.PyArray_DATA(array)
    pin.typenum = cnp.PyArray_TYPE(array)
    pin.ndim = cnp.PyArray_NDIM(array)
    pin.shape[0] = pin.shape[1] = pin.shape[2] = 1
    for axis in range(min(pin.ndim, 3)):
        pin.shape[axis] = cnp.PyArray_DIM(array, axis)
    return pin
