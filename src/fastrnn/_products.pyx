"""Products of the Linear layer, on the engine's kernels and threads.

w: [O, I], x: [N, I], y: [N, O], all C-contiguous and of one dtype; the callers have checked them.
"""

cimport numpy as cnp

from fastrnn._cell cimport pack_columns, pack_rows
from fastrnn._kernels cimport fr_int, fr_kernels, kernels, large_products
from fastrnn._pool cimport run, workers_for
from fastrnn._watch cimport Watched
from fastrnn._workspace cimport Arena, Workspace

cnp.import_array()

cdef struct Task:
    const fr_kernels *k
    int parts
    char *out
    const char *left
    const char *right           # packed, or as it is for the weight gradient
    const char *start
    fr_int rows, inner, columns
    char *work
    fr_int work_stride


cdef void rows_task(void *arg, int part) noexcept nogil:
    """out: [rows, columns] = left: [rows, inner] right + start, one worker's rows."""
    cdef Task *t = <Task *>arg
    cdef fr_int first = t.rows * part // t.parts, size = t.k.itemsize
    cdef fr_int n = t.rows * (part + 1) // t.parts - first
    t.k.gemm(t.out + first * t.columns * size, t.columns, t.left + first * t.inner * size, t.inner, t.right, t.start, 0,
             n, t.columns, t.inner)


cdef void weight_task(void *arg, int part) noexcept nogil:
    """out: [rows, columns] += left: [inner, rows]^T right: [inner, columns], one worker's rows."""
    cdef Task *t = <Task *>arg
    cdef fr_int first = t.rows * part // t.parts, size = t.k.itemsize
    cdef fr_int n = t.rows * (part + 1) // t.parts - first
    t.k.gemm_tn(t.out + first * t.columns * size, t.columns, t.left + first * size, t.rows, t.right, t.columns, n,
                t.columns, t.inner, t.work + part * t.work_stride)


cdef Workspace _pack(const fr_kernels *k, const char *w, fr_int columns, fr_int inner, bint transposed):
    """w as the panels of a product with `columns` columns."""
    cdef Workspace memory = Workspace()
    cdef Arena arena
    cdef int turn
    for turn in range(2):
        arena.base = memory.data if turn else NULL
        arena.used = 0
        if transposed:
            pack_rows(&arena, k, w, columns, inner)
        else:
            pack_columns(&arena, k, w, columns, inner)
        memory.reserve(arena.used)
    return memory


cdef int _multiply(const fr_kernels *k, cnp.ndarray out, cnp.ndarray left, Workspace packed, b) except -1:
    cdef Task task
    task.k = k
    task.rows = left.shape[0]
    task.inner = left.shape[1]
    task.columns = out.shape[1]
    task.out = <char *>cnp.PyArray_DATA(out)
    task.left = <const char *>cnp.PyArray_DATA(left)
    task.right = packed.data
    task.start = <const char *>cnp.PyArray_DATA(b) if b is not None else NULL
    task.parts = <int>max(1, min(workers_for(task.rows * task.inner * task.columns), task.rows))
    with nogil:
        run(&rows_task, &task, task.parts, task.parts, NULL)
    return 0


cdef class PackedLinear(Watched):
    """A Linear layer's live parameters, weight [O,I] and perhaps bias [O], and their packed copy."""
    cdef const fr_kernels *k
    cdef Workspace packed

    def __init__(self, params):
        super().__init__(params)
        self.k = kernels(self.arrays[0].itemsize)

    def forward(self, y, x):
        """y: [N,O] = x: [N,I] weight^T + bias."""
        if self.changed():
            self.packed = self._packing(True)
            self.settle()
        _multiply(self.k, y, x, self.packed, self.arrays[1] if len(self.arrays) > 1 else None)

    def backward_input(self, dx, dy):
        """dx: [N,I] = dy: [N,O] weight."""
        _multiply(self.k, dx, dy, self._packing(False), None)

    cdef Workspace _packing(self, bint transposed):
        cdef cnp.ndarray w = self.arrays[0]
        cdef const char *data = <const char *>cnp.PyArray_DATA(w)
        if transposed:
            return _pack(self.k, data, w.shape[0], w.shape[1], True)
        return _pack(self.k, data, w.shape[1], w.shape[0], False)


def linear_backward_weight(cnp.ndarray dw, cnp.ndarray dy, cnp.ndarray x):
    """dw: [O,I] += dy: [N,O]^T x: [N,I]."""
    cdef Task task
    cdef Workspace memory = Workspace()
    task.k = kernels(dw.itemsize)
    task.rows = dw.shape[0]
    task.columns = dw.shape[1]
    task.inner = dy.shape[0]
    task.out = <char *>cnp.PyArray_DATA(dw)
    task.left = <const char *>cnp.PyArray_DATA(dy)
    task.right = <const char *>cnp.PyArray_DATA(x)
    task.parts = <int>max(1, min(workers_for(task.rows * task.inner * task.columns), task.rows))
    task.work_stride = (task.k.gemm_tn_work + 63) & ~<fr_int>63
    memory.reserve(task.parts * task.work_stride)
    task.work = memory.data
    with large_products():
        with nogil:
            run(&weight_task, &task, task.parts, task.parts, NULL)


def sum_rows(cnp.ndarray db, cnp.ndarray dy):
    """db: [O] += the sum over rows of dy: [N,O]."""
    cdef const fr_kernels *k = kernels(db.itemsize)
    k.sum_rows(cnp.PyArray_DATA(db), cnp.PyArray_DATA(dy), dy.shape[1], dy.shape[0], dy.shape[1])
