"""Products of Linear and convolutional layers, on the engine's kernels and threads.

w: [O, I], x: [N, I], y: [N, O], all C-contiguous and of one dtype. A convolution's w: [G*O, C, K] is that of G
products, for groups of channels; a row of x is [K][C], the C channels of each place of its window, so I = K C.
"""

from libc.string cimport memcpy

import numpy as np

cimport numpy as cnp

from fastrnn.engine.runtime._arrays cimport READ, WRITE, check_array, typenum_of
from fastrnn.engine.runtime._backend cimport blas_context, by_blas, products
from fastrnn.engine.runtime._kernels cimport FULL, INT8, Precision, fr_int, fr_kernels, fr_panels, fr_product
from fastrnn.engine.runtime._panels cimport matrix, multiply, pack_columns, pack_rows
from fastrnn.engine.runtime._pool cimport run, workers_for
from fastrnn.engine.runtime._signals cimport PIECE, Interrupt, look, settle, watch
from fastrnn.engine.runtime._stored cimport check_stored, precision_of, restore
from fastrnn.engine.runtime._watch cimport Watched
from fastrnn.engine.runtime._workspace cimport Arena, Scratch, Workspace, room_in, take_array, take_scratch

from fastrnn.engine.runtime._stored import SCALE as _SCALE

cnp.import_array()

cdef enum:
    PIECE_ROWS = 64     # least rows of a long product between two looks for signals

cdef struct Task:
    const fr_kernels *k
    int parts
    char *out
    const char *left
    const fr_panels *weight     # packed
    const char *right           # right factor of the weight gradient
    const char *start
    fr_int rows, inner, columns
    Scratch *work               # [parts] of gemm_tn_work bytes
    Interrupt signals
    Interrupt *interrupt        # &signals if the call looks for signals, else NULL


cdef void rows_task(void *arg, int part) noexcept nogil:
    """One worker's rows of out: [rows, columns] = left: [rows, inner] weight + start."""
    cdef Task *t = <Task *>arg
    cdef fr_int first = t.rows * part // t.parts, size = t.k.itemsize, end = t.rows * (part + 1) // t.parts, n
    while first < end and not look(t.interrupt):
        n = end - first
        if t.interrupt != NULL:
            n = min(n, max(<fr_int>PIECE_ROWS, PIECE // (t.columns * t.inner + 1)))
        multiply(matrix(t.out + first * t.columns * size, t.columns), matrix(t.left + first * t.inner * size, t.inner),
                 t.weight, matrix(t.start, 0), n)
        first += n


cdef void weight_task(void *arg, int part) noexcept nogil:
    """One worker's rows of out: [rows, columns] += left: [inner, rows]^T right: [inner, columns]."""
    cdef Task *t = <Task *>arg
    cdef fr_int first = t.rows * part // t.parts, size = t.k.itemsize, end = t.rows * (part + 1) // t.parts, n
    cdef char *work = room_in(&t.work[part], t.k.gemm_tn_work)
    while first < end and not look(t.interrupt):
        n = end - first
        if t.interrupt != NULL:
            n = min(n, max(<fr_int>PIECE_ROWS, PIECE // (t.columns * t.inner + 1)))
        t.k.gemm_tn(matrix(t.out + first * t.columns * size, t.columns), matrix(t.left + first * size, t.rows),
                    matrix(t.right, t.columns), n, t.columns, t.inner, work)
        first += n


cdef class Packing:
    """One packing of a layer's parameters; calls in flight keep the one they started with."""
    cdef Workspace memory
    cdef fr_panels weight
    cdef char *bias         # or NULL


cdef object _restored(object weight, object scale):
    """A stored matrix as floats."""
    w = np.empty((weight.shape[0], weight.shape[1]), np.float32)
    restore(<float *>cnp.PyArray_DATA(w), weight, scale)
    return w


cdef Packing _pack(const fr_kernels *k, const char *w, const char *bias, fr_int columns, fr_int inner, bint transposed):
    """w packed for a product with `columns` columns, and a copy of the bias."""
    cdef Packing packed = Packing()
    cdef Arena arena
    cdef int turn
    packed.memory = Workspace()
    for turn in range(2):
        arena.base = packed.memory.data if turn else NULL
        arena.used = 0
        if transposed:
            packed.weight = pack_rows(&arena, k, w, columns, inner)
        else:
            packed.weight = pack_columns(&arena, k, w, columns, inner)
        if bias != NULL:
            packed.bias = take_array(&arena, columns, 1, k.itemsize)
        if packed.bias != NULL:
            memcpy(packed.bias, bias, columns * k.itemsize)
        packed.memory.reserve(arena.used)
    return packed


cdef int _multiply(const fr_kernels *k, cnp.ndarray out, cnp.ndarray left, Packing packed) except -1:
    cdef Task task
    task.k = k
    task.rows = left.shape[0]
    task.inner = left.shape[1]
    task.columns = out.shape[1]
    task.out = <char *>cnp.PyArray_DATA(out)
    task.left = <const char *>cnp.PyArray_DATA(left)
    task.weight = &packed.weight
    task.start = packed.bias
    task.parts = <int>max(1, min(workers_for(fr_product(task.rows * task.columns, task.inner)), task.rows))
    task.interrupt = watch(&task.signals, fr_product(task.rows * task.columns, task.inner))
    if not by_blas(k, task.weight):
        return _run_rows(&task)
    with blas_context():
        return _run_rows(&task)


cdef int _run_rows(Task *task) except -1:
    with nogil:
        run(&rows_task, task, task.parts, task.parts, task.interrupt)
    return settle(task.interrupt)


cdef class PackedLinear(Watched):
    """A layer's live parameters, weight [O,I] or [G*O,C,K] and possibly bias [G*O], and their packed copies, one for
    each of G groups. A weight [O,I] may be stored with few bits, see `_stored`."""
    cdef const fr_kernels *k
    cdef tuple packed       # of Packing
    cdef fr_int groups, outputs, inputs
    cdef bint stored
    cdef int bias, scale            # their places among the pinned arrays, or -1; that of the weight is 0

    def __cinit__(self, params, int groups=1, str weight_format="float"):
        cdef fr_int c = -1
        cdef Precision precision = precision_of(weight_format)
        self.pin(params)
        names = self.pinned.names
        self.stored = precision != FULL
        self.bias = names.index("bias") if "bias" in names else -1
        scale = "weight" + _SCALE
        self.scale = names.index(scale) if scale in names and precision == INT8 else -1
        if names[:1] != ("weight",) or len(names) != 1 + (self.bias > 0) + (self.scale > 0):
            raise ValueError(f"params: expected weight and perhaps bias, found {', '.join(map(str, names))}")
        w = self.pinned.arrays[0]
        if self.bias > 0:
            check_array(self.pinned.arrays[self.bias], "params['bias']",
                        cnp.NPY_FLOAT if self.stored else cnp.PyArray_TYPE(w), WRITE, w.shape[0])
        if self.stored:
            if w.ndim != 2 or groups != 1:
                raise ValueError("params['weight']: expected two axes of one that is stored with few bits")
            check_stored(w, self._scale(), "params['weight']", precision, w.shape[0], w.shape[1])
            self.k = products(sizeof(float), precision)
            self.groups, self.outputs, self.inputs = 1, w.shape[0], w.shape[1]
            return
        if w.ndim == 3:
            c = w.shape[2]
        check_array(w, "params['weight']", cnp.PyArray_TYPE(w), WRITE, w.shape[0],
                    w.size // max(w.shape[0] * abs(c), 1), c)
        if groups < 1 or w.shape[0] % groups:
            raise ValueError(f"groups: expected a divisor of {w.shape[0]}, found {groups}")
        self.k = products(w.itemsize)
        self.groups = groups
        self.outputs = w.shape[0] // groups
        self.inputs = w.size // max(w.shape[0], 1)

    cdef object _scale(self):
        return self.pinned.arrays[self.scale] if self.scale > 0 else None

    def forward(self, y, x, int group=0):
        """y: [N,O] = x: [N,I] weight^T + bias."""
        cdef tuple packed
        if self.changed():
            self.packed = self._packings(True)
            self.settle()
        packed = self.packed
        self._check(y, "y", x, "x", self.outputs, self.inputs)
        _multiply(self.k, y, x, packed[self._group(group)])

    def backward_packings(self):
        """The weights as they are now, packed for `backward_input` of several blocks of rows."""
        blas_context()      # first, because the import of BLAS may fail
        self.pinned.check(False)
        return self._packings(False)

    def backward_input(self, dx, dy, int group=0, tuple packings=None):
        """dx: [N,I] = dy: [N,O] weight."""
        blas_context()      # first, because the import of BLAS may fail
        self.pinned.check(False)
        self._check(dx, "dx", dy, "dy", self.inputs, self.outputs)
        if packings is None:
            packings = self._packings(False)
        packed = packings[self._group(group)] if len(packings) == self.groups else None
        if not isinstance(packed, Packing):
            raise ValueError("packings: expected those of backward_packings(), found others")
        if (<Packing>packed).weight.columns != self.inputs or (<Packing>packed).weight.inner != self.outputs or (
                (<Packing>packed).weight.format.itemsize != self.k.itemsize):
            raise ValueError("packings: expected those of this layer, found another's")
        _multiply(self.k, dx, dy, packed)

    cdef int _check(self, out, str out_name, left, str left_name, fr_int columns, fr_int inner) except -1:
        cdef int typenum = typenum_of(self.k.itemsize)
        cdef fr_int rows = len(left) if isinstance(left, cnp.ndarray) and cnp.PyArray_NDIM(left) else 0
        check_array(left, left_name, typenum, READ, rows, inner)
        return check_array(out, out_name, typenum, WRITE, rows, columns)

    cdef int _group(self, int group) except -1:
        if not 0 <= group < self.groups:
            raise ValueError(f"group: expected an int in 0 .. {self.groups - 1}, found {group}")
        return group

    cdef tuple _packings(self, bint transposed):
        cdef cnp.ndarray w = self.pinned.arrays[0]
        cdef const char *bias = NULL
        cdef const char *data
        cdef fr_int group
        if cnp.PyArray_NDIM(w) == 3:
            w = np.ascontiguousarray(w.transpose(0, 2, 1))
        if self.stored and not transposed:
            raise ValueError("weight_format: expected float for the gradient, found weights for inference only")
        if self.stored:
            w = _restored(w, self._scale())
        if transposed and self.bias > 0:
            bias = <const char *>cnp.PyArray_DATA(self.pinned.arrays[self.bias])
        packings = []
        for group in range(self.groups):
            data = <const char *>cnp.PyArray_DATA(w) + group * self.outputs * self.inputs * self.k.itemsize
            if transposed:
                packings.append(_pack(self.k, data, bias, self.outputs, self.inputs, True))
                bias = bias + self.outputs * self.k.itemsize if bias != NULL else NULL
            else:
                packings.append(_pack(self.k, data, NULL, self.inputs, self.outputs, False))
        return tuple(packings)


cdef int _check_gradient(object grad, str name, object dy, bint axes) except -1:
    if not axes or cnp.PyArray_TYPE(grad) not in (cnp.NPY_FLOAT, cnp.NPY_DOUBLE) or cnp.PyArray_NDIM(dy) != 2:
        raise ValueError(f"{name}: expected the gradient of a weight or bias, float32 or float64, and dy: [N,O]")
    return check_array(dy, "dy", cnp.PyArray_TYPE(grad), READ, cnp.PyArray_DIM(dy, 0), cnp.PyArray_DIM(dy, 1))


def linear_backward_weight(cnp.ndarray dw not None, cnp.ndarray dy not None, cnp.ndarray x not None):
    """dw: [O,I] += dy: [N,O]^T x: [N,I]."""
    _check_gradient(dw, "dw", dy, cnp.PyArray_NDIM(dw) == 2 and cnp.PyArray_NDIM(x) == 2)
    check_array(x, "x", cnp.PyArray_TYPE(dw), READ, cnp.PyArray_DIM(dy, 0), cnp.PyArray_DIM(dw, 1))
    check_array(dw, "dw", cnp.PyArray_TYPE(dw), WRITE, cnp.PyArray_DIM(dy, 1), cnp.PyArray_DIM(x, 1))
    cdef Task task
    cdef Workspace memory = Workspace()
    cdef Arena arena
    cdef Scratch own
    cdef int turn, part
    task.k = products(dw.itemsize)
    task.rows = dw.shape[0]
    task.columns = dw.shape[1]
    task.inner = dy.shape[0]
    task.out = <char *>cnp.PyArray_DATA(dw)
    task.left = <const char *>cnp.PyArray_DATA(dy)
    task.right = <const char *>cnp.PyArray_DATA(x)
    task.parts = <int>max(1, min(workers_for(fr_product(task.rows * task.columns, task.inner)), task.rows))
    context = blas_context()
    for turn in range(2):
        arena.base = memory.data if turn else NULL
        arena.used = 0
        task.work = <Scratch *>take_array(&arena, task.parts, 1, sizeof(Scratch))
        for part in range(task.parts):
            own = take_scratch(&arena, task.k.gemm_tn_work)
            if turn:
                task.work[part] = own
        memory.reserve(arena.used)
    task.interrupt = NULL
    if fr_product(task.rows * task.columns, task.inner) > PIECE:
        task.interrupt = watch(&task.signals, PIECE)
    kept = dw.copy() if task.interrupt != NULL else None
    try:
        with context:
            with nogil:
                run(&weight_task, &task, task.parts, task.parts, task.interrupt)
            settle(task.interrupt)
    except BaseException:
        if kept is not None:
            dw[...] = kept
        raise


def sum_rows(cnp.ndarray db not None, cnp.ndarray dy not None):
    """db: [O] += the sum over rows of dy: [N,O]."""
    _check_gradient(db, "db", dy, cnp.PyArray_NDIM(db) == 1)
    check_array(db, "db", cnp.PyArray_TYPE(db), WRITE, cnp.PyArray_DIM(dy, 1))
    cdef const fr_kernels *k = products(db.itemsize)
    k.sum_rows(cnp.PyArray_DATA(db), cnp.PyArray_DATA(dy), dy.shape[1], dy.shape[0], dy.shape[1])
