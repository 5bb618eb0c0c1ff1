"""A session over a runner: one preallocated step at a time.

The core holds the state and allocates every buffer once; a step with `out` given allocates nothing. A step runs the
same kernels in the same order as a sequence, so its bits are the same.
"""

from libc.string cimport memcpy

cimport cython
cimport numpy as cnp

from fastrnn.engine.runtime._arrays cimport plain, room, typenum_of
from fastrnn.engine.cells._cell cimport Layer, Step, lone_step, step_work
from fastrnn.engine.runtime._kernels cimport flush_begin, flush_end, fr_enter, fr_int, fr_leave, fr_scan
from fastrnn.engine.loops._noise cimport Probabilities, Noise, expected_noise, noisy_forward
from fastrnn.engine.runtime._panels cimport matrix, multiply
from fastrnn.engine.scan._scan cimport scan_of
from fastrnn.engine.loops._weights cimport Packed, Weights
from fastrnn.engine.runtime._workspace cimport Arena, Workspace, take_array

cnp.import_array()

cdef enum:
    # Least multiply-adds of a step that releases the GIL, which costs about 0.1 us (bench/NOTES.md, GIL of a step).
    WORTH_THE_GIL = 100000
    MOST_SEQUENCES = 2147483647


@cython.final       # makes calls of its methods direct
cdef class StreamCore:
    """State and buffers of `batch` sequences that advance together. `h`, `c` and the last inputs `w` are the live state
    arrays; a cell may lack c and w. If h is no state of the cell, it holds the last output.

    `coerce(x, out)` turns arguments that are not ready to use into ones that are, or raises. Read or write the state in
    a `with` block of the core, as `step` does by itself: it admits one caller at a time.
    """
    cdef Weights weights
    cdef Workspace memory
    cdef char *z
    cdef char *saved
    cdef char *h_new                # room for zoneout
    cdef char *c_new
    cdef char *h_data
    cdef char *c_data
    cdef char *w_data
    cdef char *unfolded             # the last inputs and x side by side
    cdef fr_int batch, features, width, madds, w_width
    cdef int typenum
    cdef int inside                 # 1 while somebody reads or writes the state
    cdef readonly cnp.ndarray h
    cdef readonly object c, w
    cdef list memories              # of h, c and w
    cdef object coerce

    def __cinit__(self, Weights weights not None, fr_int batch, coerce):
        cdef Arena arena
        cdef int turn, i
        cdef const Layer *cell = weights.layers
        cdef fr_int ld_z = 0, saved = 0, wide = 0
        if weights.directions != 1 or weights.reverse or not 1 <= batch <= MOST_SEQUENCES:
            raise ValueError(f"weights, batch: expected one direction and 1 to {MOST_SEQUENCES} sequences, found "
                             f"{weights.directions} and {batch}")
        self.weights = weights
        self.coerce = coerce
        self.batch = batch
        self.features = cell.features
        self.width = cell.out
        for i in range(weights.count):
            self.w_width = max(self.w_width, (cell[i].window - 1) * cell[i].features)
        self.typenum = typenum_of(weights.itemsize)
        self.memories = []
        self.h = self._state(cell.out, &self.h_data)
        self.c = self._state(cell.hidden, &self.c_data) if cell.ops.has_c else None
        self.w = self._state(self.w_width, &self.w_data) if self.w_width else None
        self.madds = 0
        for i in range(weights.count):
            self.madds += self.batch * step_work(&weights.layers[i])
            ld_z = max(ld_z, weights.layers[i].ld_z)
            saved = max(saved, weights.layers[i].saved)
            if weights.layers[i].window > 1:
                wide = max(wide, weights.layers[i].input_size)
        self.memory = Workspace()
        for turn in range(2):
            arena.base = self.memory.data if turn else NULL
            arena.used = 0
            self.z = take_array(&arena, self.batch, ld_z, weights.itemsize)
            self.saved = take_array(&arena, self.batch, saved, weights.itemsize)
            self.unfolded = take_array(&arena, self.batch, wide, weights.itemsize)
            self.h_new = take_array(&arena, self.batch, cell.out, weights.itemsize)
            self.c_new = take_array(&arena, self.batch, cell.hidden, weights.itemsize)
            self.memory.reserve(arena.used)

    cdef object _state(self, fr_int width, char **data):
        """One of the state's arrays, zeros, in memory that the core owns: it stays, whatever users do to the array."""
        array = room((self.weights.count, self.batch, width), cnp.PyArray_DescrFromType(self.typenum))
        self.memories.append(array.base)
        data[0] = <char *>cnp.PyArray_DATA(array)
        return array

    cdef bint _ready(self, object array, fr_int width) noexcept:
        """Whether the kernels can use the array as it is: (width,) for one sequence, or (batch, width)."""
        if not cnp.PyArray_CheckExact(array):
            return False        # a subclass may have another meaning, such as a mask or a matrix
        cdef cnp.ndarray a = array
        cdef int ndim = cnp.PyArray_NDIM(a)
        if cnp.PyArray_TYPE(a) != self.typenum or not cnp.PyArray_ISCARRAY_RO(a):
            return False
        if ndim == 1:
            return self.batch == 1 and cnp.PyArray_DIM(a, 0) == width
        return ndim == 2 and cnp.PyArray_DIM(a, 0) == self.batch and cnp.PyArray_DIM(a, 1) == width

    def __enter__(self):
        if not fr_enter(&self.inside):
            raise ValueError("stream: expected one caller at a time, found two")

    def __exit__(self, *_):
        fr_leave(&self.inside)

    def step(self, x, out=None):
        """One time step: x (I,) or (B, I) gives y (H,) or (B, H), written into `out` if given."""
        if not fr_enter(&self.inside):
            raise ValueError("stream: expected one caller at a time, found two")
        try:
            return self._step(x, out)
        finally:
            fr_leave(&self.inside)

    cdef object _step(self, x, out):
        cdef cnp.npy_intp dims[2]
        cdef Packed packed = self.weights.forward_pack()    # before all checks, because it may wait for a load
        if out is None:
            if not self._ready(x, self.features):
                x = self._coerced(x, None)[0]
            dims[0] = self.batch
            dims[1] = self.width
            if cnp.PyArray_NDIM(x) == 1:
                dims[0] = self.width
            out = cnp.PyArray_SimpleNew(cnp.PyArray_NDIM(x), dims, self.typenum)
        elif not (self._ready(x, self.features) and self._ready(out, self.width)
                  and cnp.PyArray_ISWRITEABLE(out) and cnp.PyArray_NDIM(x) == cnp.PyArray_NDIM(out)):
            x, out = self._coerced(x, out)
        cdef const char *source = <const char *>cnp.PyArray_DATA(x)
        cdef char *target = <char *>cnp.PyArray_DATA(out)
        if self.madds < WORTH_THE_GIL:
            self._advance(packed.layers, source, target)
        else:
            with nogil:
                self._advance(packed.layers, source, target)
        return out

    cdef tuple _coerced(self, x, out):
        """Arguments that are ready to use, or an error of `coerce`."""
        x, out = self.coerce(x, out)
        if not self._ready(x, self.features):
            raise ValueError(f"x: expected {self.batch} rows of {self.features} values")
        if out is None:
            return x, out
        target = plain(out)
        if not (self._ready(target, self.width) and cnp.PyArray_ISWRITEABLE(target)
                and cnp.PyArray_NDIM(target) == cnp.PyArray_NDIM(x)):
            raise ValueError(f"out: expected a writeable array of {self.batch} rows of {self.width} values")
        return x, out

    cdef const char *_take_in(self, const Layer *cell, int i, const char *x) noexcept nogil:
        """Layer i's last inputs and x side by side; the newest of these become its last inputs."""
        cdef fr_int size = cell.k.itemsize, W = cell.features * size, before = (cell.window - 1) * W, b
        cdef char *row = self.unfolded
        cdef char *last = self.w_data + i * self.batch * self.w_width * size
        for b in range(self.batch):
            memcpy(row, last, before)
            memcpy(row + before, x + b * W, W)
            memcpy(last, row + W, before)
            row += before + W
            last += self.w_width * size
        return self.unfolded

    cdef void _advance(self, const Layer *layers, const char *x, char *y) noexcept nogil:
        cdef Step step = lone_step()
        cdef fr_scan scan
        cdef const Layer *cell
        cdef const Probabilities *p = &self.weights.probabilities
        cdef bint zones = p.zone_h > 0 or p.zone_c > 0
        cdef Noise noise
        cdef fr_int size = layers.k.itemsize, B = self.batch, i
        cdef unsigned long long word = flush_begin()
        cdef char *h = self.h_data
        cdef char *c = self.c_data
        step.rows = B
        step.z = self.z
        step.saved = self.saved
        if zones:
            noise = expected_noise(p, layers, self.h_new, self.c_new)
        for i in range(self.weights.count):
            cell = layers + i
            if cell.window > 1:
                x = self._take_in(cell, i, x)
            multiply(matrix(self.z, cell.ld_z), matrix(x, cell.input_size), &cell.p_ih, matrix(cell.bias, 0), B)
            step.ld_h_prev = step.ld_h_in = step.ld_h = cell.out
            step.h_prev = step.h_in = step.h = h + i * B * cell.out * size
            step.c_prev = step.c = c + i * B * cell.hidden * size if c != NULL else NULL
            if cell.ops.scan_forward != NULL:
                scan = scan_of(cell, &step, 1, 0, False)
                if cell.skips:
                    scan.skip = x
                    scan.ld_skip = cell.input_size
                cell.ops.scan_forward(cell, &scan)
            elif zones:
                noisy_forward(&noise, cell, NULL, &step, 0, False)
            else:
                cell.ops.step_forward(cell, &step, False)
            x = step.h
        memcpy(y, x, B * self.width * size)
        flush_end(word)
