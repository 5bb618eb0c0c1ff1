"""All layers and directions of a runner over a batch.

The batch is split over the workers for the whole sequence: each takes its sequences through every layer without meeting
the others, then all share the rows of the weight gradients. All arrays of a call lie in one block (`Activations`).
Arguments are checked by the callers in Python; here everything is taken as given.
"""

from libc.string cimport memcpy, memset
import numpy as np

cimport numpy as cnp

from fastrnn._dropout cimport drop
from fastrnn._kernels cimport large_products
from fastrnn._pool cimport num_threads, run
from fastrnn._rows cimport (
    add_from_reverse, carve_rows, from_reverse, gather, index_rows, scatter, to_reverse)
from fastrnn._sequence cimport (
    backward, carve_backward, carve_forward, forward, input_gradient, weight_gradient)
from fastrnn._workspace cimport Arena, take

cnp.import_array()

cdef enum:
    # Multiply-adds a worker must have to be woken: a wake-up costs about 10 us, the time of 0.5 million at 50 GMAC/s.
    WORTH_A_WORKER = 500000


cdef void _view(View *view, object array, const fr_int *starts) noexcept:
    """array: (T, B, width), or (N, width) with starts; None gives no data."""
    view.data = NULL
    view.starts = starts
    if array is not None:
        view.data = <char *>cnp.PyArray_DATA(array)
        view.stride_t = cnp.PyArray_STRIDE(array, 0)
        view.stride_b = cnp.PyArray_STRIDE(array, 1)


cdef char *_data(object array) noexcept:
    return <char *>cnp.PyArray_DATA(array) if array is not None else NULL


cdef inline Run *runs_of(const Call *call, int part, int layer) noexcept nogil:
    return call.runs + (part * call.layers + layer) * call.directions


cdef inline const Layer *layer_of(const Call *call, int layer, int direction) noexcept nogil:
    return call.packed + layer * call.directions + direction


cdef void carve(Call *call, Arena *arena) noexcept nogil:
    """Place every array of the forward pass; with arena.base NULL only measure."""
    cdef int part, layer, direction
    cdef Rows *rows
    cdef Run *runs
    cdef Run measured
    cdef const Layer *cell
    cdef char *own
    cdef fr_int size = call.packed.k.itemsize
    cdef bint real = arena.base != NULL
    call.runs = <Run *>take(arena, call.parts * call.layers * call.directions * sizeof(Run))
    call.inputs = <char **>take(arena, call.parts * call.layers * sizeof(char *))
    for part in range(call.parts):
        rows = &call.rows[part]
        carve_rows(rows, arena, rows.batch, rows.steps)
        for layer in range(call.layers):
            cell = layer_of(call, layer, 0)
            own = NULL
            if layer == 0 or call.directions == 2 or call.dropout > 0:
                own = <char *>take(arena, rows.count * cell.input_size * size)
            for direction in range(call.directions):
                runs = runs_of(call, part, layer) + direction if real else &measured
                carve_forward(layer_of(call, layer, direction), rows, runs, arena, call.keep)
                runs.x = own
                if direction == 1:
                    runs.x = <char *>take(arena, rows.count * cell.input_size * size)
                elif real and own == NULL:
                    # The layer below has one direction: its h is this layer's input.
                    runs.x = runs_of(call, part, layer - 1).h + rows.batch * cell.input_size * size
            if real:
                call.inputs[part * call.layers + layer] = runs_of(call, part, layer).x


cdef void carve_bptt(Call *call, Arena *arena) noexcept nogil:
    """Place the arrays of the backward pass: state gradients, and per worker two rows of x-gradients in turn, the
    reverse direction's output gradient and its input gradient."""
    cdef int part, layer, direction
    cdef fr_int size = call.packed.k.itemsize, width = 0
    cdef const Layer *cell
    cdef Run measured
    call.buffers = <char **>take(arena, call.parts * 4 * sizeof(char *))
    call.work = <char **>take(arena, call.parts * sizeof(char *))
    for layer in range(call.layers):
        cell = layer_of(call, layer, 0)
        width = max(width, max(cell.input_size, cell.out * call.directions))
    cdef char *block
    cdef bint real = arena.base != NULL
    for part in range(call.parts):
        for layer in range(call.layers):
            for direction in range(call.directions):
                carve_backward(layer_of(call, layer, direction), &call.rows[part],
                               runs_of(call, part, layer) + direction if real else &measured, arena)
        for direction in range(2 + 2 * (call.directions - 1)):
            block = <char *>take(arena, call.rows[part].count * width * size)
            if real:
                call.buffers[part * 4 + direction] = block
        block = <char *>take(arena, call.packed.k.gemm_tn_work)
        if real:
            call.work[part] = block


cdef inline void load_state(char *dst, const char *src, const Call *call, const Rows *rows, int index,
                            fr_int nbytes) noexcept nogil:
    """dst: [batch, width] from entry `index` of the caller's states, or zeros."""
    cdef fr_int j
    if dst == NULL:
        return
    if src == NULL:
        memset(dst, 0, rows.batch * nbytes)
        return
    for j in range(rows.batch):
        memcpy(dst + j * nbytes, src + (index * call.batch + rows.seq[j]) * nbytes, nbytes)


cdef inline void store_state(char *dst, const char *src, const Call *call, const Rows *rows, int index,
                             fr_int nbytes) noexcept nogil:
    """The reverse of load_state."""
    cdef fr_int j
    if dst == NULL or src == NULL:
        return
    for j in range(rows.batch):
        memcpy(dst + (index * call.batch + rows.seq[j]) * nbytes, src + j * nbytes, nbytes)


cdef inline void store_last(char *dst, const char *src, const Call *call, const Rows *rows, int index,
                            fr_int nbytes) noexcept nogil:
    """Final states from src: [batch + N, width]: each sequence's at its last valid step."""
    cdef fr_int j, last
    if dst == NULL or src == NULL:
        return
    for j in range(rows.batch):
        last = rows.batch + rows.offset[rows.length[j] - 1] + j if rows.length[j] > 0 else j
        memcpy(dst + (index * call.batch + rows.seq[j]) * nbytes, src + last * nbytes, nbytes)


cdef inline uint64_t layer_seed(const Call *call, int layer) noexcept nogil:
    return call.seed + <uint64_t>layer * <uint64_t>0xd1b54a32d192ed03


cdef void forward_task(void *arg, int part) noexcept nogil:
    """One worker's sequences through every layer."""
    cdef Call *call = <Call *>arg
    cdef const Rows *rows = &call.rows[part]
    cdef fr_int size = call.packed.k.itemsize, P = call.packed.out, H = call.packed.hidden, i
    cdef int layer, direction, index
    cdef const Layer *cell
    cdef Run *runs
    cdef View y
    cdef char *below
    if rows.batch == 0:
        return
    gather(call.inputs[part * call.layers], &call.x, rows, call.packed.input_size * size)
    for layer in range(call.layers):
        runs = runs_of(call, part, layer)
        below = call.inputs[part * call.layers + layer]
        if layer > 0:
            if call.directions == 2:
                for i in range(rows.count):
                    memcpy(below + 2 * i * P * size,
                           runs_of(call, part, layer - 1).h + (rows.batch + i) * P * size, P * size)
                from_reverse(below + P * size, 2 * P * size,
                             (runs_of(call, part, layer - 1) + 1).h + rows.batch * P * size, rows, P * size)
            elif call.dropout > 0:
                memcpy(below, runs_of(call, part, layer - 1).h + rows.batch * P * size, rows.count * P * size)
            if call.dropout > 0:
                drop(below, size, P * call.directions, rows, call.dropout, layer_seed(call, layer))
        for direction in range(call.directions):
            cell = layer_of(call, layer, direction)
            index = layer * call.directions + direction
            if direction == 1:
                to_reverse(runs[1].x, below, cell.input_size * size, rows, cell.input_size * size)
            load_state(runs[direction].h, call.h0, call, rows, index, P * size)
            load_state(runs[direction].c, call.c0, call, rows, index, H * size)
            forward(cell, rows, &runs[direction], call.keep)
            store_last(call.hn, runs[direction].h, call, rows, index, P * size)
            if call.keep:
                store_last(call.cn, runs[direction].c, call, rows, index, H * size)
            else:
                store_state(call.cn, runs[direction].c, call, rows, index, H * size)
    runs = runs_of(call, part, call.layers - 1)
    y = call.y
    for direction in range(call.directions):
        y.data = call.y.data + direction * P * size
        scatter(&y, runs[direction].h + rows.batch * P * size, P * size, rows, direction == 1, P * size)


cdef void backward_task(void *arg, int part) noexcept nogil:
    """One worker's sequences back through every layer: dz, the states' and the inputs' gradients."""
    cdef Call *call = <Call *>arg
    cdef const Rows *rows = &call.rows[part]
    cdef fr_int size = call.packed.k.itemsize, P = call.packed.out, H = call.packed.hidden
    cdef int layer, direction, index
    cdef const Layer *cell
    cdef Run *runs
    cdef char **buffers = call.buffers + part * 4
    cdef char *dy = buffers[0]
    cdef char *dx = buffers[1]
    if rows.batch == 0:
        return
    if call.dy.data != NULL:
        gather(dy, &call.dy, rows, P * call.directions * size)
    else:
        memset(dy, 0, rows.count * P * call.directions * size)
    for layer in range(call.layers - 1, -1, -1):
        runs = runs_of(call, part, layer)
        for direction in range(call.directions):
            cell = layer_of(call, layer, direction)
            index = layer * call.directions + direction
            load_state(runs[direction].dh, call.dhn, call, rows, index, P * size)
            load_state(runs[direction].dc, call.dcn, call, rows, index, H * size)
            if direction == 0:
                backward(cell, rows, &runs[0], dy, P * call.directions)
            else:
                to_reverse(buffers[2], dy + P * size, 2 * P * size, rows, P * size)
                backward(cell, rows, &runs[1], buffers[2], P)
            store_state(call.dh0, runs[direction].dh, call, rows, index, P * size)
            store_state(call.dc0, runs[direction].dc, call, rows, index, H * size)
            if layer == 0 and call.dx.data == NULL:
                continue
            if direction == 0:
                input_gradient(dx, cell, rows, &runs[0])
            else:
                input_gradient(buffers[3], cell, rows, &runs[1])
                add_from_reverse(dx, buffers[3], rows, cell.k, cell.input_size)
        if layer > 0 and call.dropout > 0:
            drop(dx, size, P * call.directions, rows, call.dropout, layer_seed(call, layer))
        dy, dx = dx, dy
    if call.dx.data != NULL:
        scatter(&call.dx, dy, call.packed.input_size * size, rows, False, call.packed.input_size * size)


cdef void weights_task(void *arg, int part) noexcept nogil:
    """One worker's rows of every weight gradient, over all sequences."""
    cdef Call *call = <Call *>arg
    cdef int layer, direction, other
    for layer in range(call.layers):
        for direction in range(call.directions):
            for other in range(call.parts):
                if call.rows[other].batch > 0:
                    weight_gradient(layer_of(call, layer, direction), &call.rows[other],
                                    runs_of(call, other, layer) + direction, part, call.parts, call.work[part])


cdef class Activations:
    def __cinit__(self):
        self.memory = Workspace()


cdef class Engine:
    """Runs sequences through the layers of `weights`; arrays are time-major views with a contiguous last axis."""

    def __init__(self, Weights weights):
        self.weights = weights
        self.directions = weights.directions
        self.layers = weights.count // weights.directions
        self.spare = []
        self.backward_memory = Workspace()

    cdef Activations _activations(self):
        cdef Activations act = self.spare.pop() if self.spare else Activations()
        act.served = False
        return act

    cdef int _prepare(self, Activations act, object x, object lengths, bint keep, double dropout,
                      uint64_t seed) except -1:
        """Deal the sequences to the workers and place all arrays."""
        cdef Call *call = &act.call
        cdef Rows *rows
        cdef Arena arena
        cdef fr_int b, place, total = 0, madds, B, T
        cdef bint packed_rows = x.ndim == 2
        cdef fr_int[::1] order
        cdef fr_int[::1] length
        cdef int i, part
        cdef const Layer *layer
        if packed_rows:
            B = len(lengths)
            T = lengths.max() if B else 0
        else:
            T = x.shape[0]
            B = x.shape[1]
            total = B * T
        call.layers = self.layers
        call.directions = self.directions
        call.keep = keep
        call.dropout = dropout
        call.seed = seed
        call.packed = act.packed.layers
        call.batch = B
        call.steps = T
        act.starts = None
        if packed_rows:
            act.starts = np.zeros(max(B, 1), np.int64)
            np.cumsum(lengths[:B - 1], out=act.starts[1:])
        if lengths is not None:
            length = lengths
            order = np.argsort(-lengths, kind="stable")
            total = lengths.sum()
        madds = 0
        for i in range(act.packed.count):
            layer = &act.packed.layers[i]
            madds += layer.gates * (layer.input_size + layer.out)
        call.parts = <int>max(1, min(num_threads(), min(B, madds * total // WORTH_A_WORKER)))
        for part in range(call.parts):
            rows = &call.rows[part]
            if lengths is None:
                rows.batch = B * (part + 1) // call.parts - B * part // call.parts
                rows.steps = T if rows.batch else 0
                rows.count = rows.batch * T
            else:
                # Dealt in turn, longest first: every worker gets about the same number of steps.
                rows.batch = (B - part + call.parts - 1) // call.parts
                rows.steps = length[order[part]] if rows.batch else 0
                rows.count = 0
                for b in range(part, B, call.parts):
                    rows.count += length[order[b]]
        arena.base = NULL
        arena.used = 0
        carve(call, &arena)
        act.memory.reserve(arena.used)
        arena.base = act.memory.data
        arena.used = 0
        carve(call, &arena)
        for part in range(call.parts):
            rows = &call.rows[part]
            for b in range(rows.batch):
                if lengths is None:
                    place = B * part // call.parts + b
                    rows.length[b] = T
                else:
                    place = order[part + b * call.parts]
                    rows.length[b] = length[place]
                rows.seq[b] = place
            index_rows(rows)
        return 0

    def infer(self, x, y, h0, c0, hn, cn, lengths=None):
        """Inference: fills y: (T, B, D*P) and the final states hn, cn.

        lengths: int64 (B,) or None. With x: (N, I) and y: (N, D*P) the sequences' valid steps follow one another.
        """
        cdef Activations act = self._activations()
        act.packed = self.weights.forward_pack()
        self._prepare(act, x, lengths, False, 0.0, 0)
        self._forward(act, x, y, h0, c0, hn, cn)
        self._give_back(act)

    def forward(self, x, y, h0, c0, hn, cn, lengths=None, double dropout=0.0, uint64_t seed=0):
        """The training pass: as `infer`, and returns the tape for `backward`."""
        cdef Activations act = self._activations()
        act.packed = self.weights.forward_pack()
        self._prepare(act, x, lengths, True, dropout, seed)
        self._forward(act, x, y, h0, c0, hn, cn)
        return act

    cdef int _forward(self, Activations act, x, y, h0, c0, hn, cn) except -1:
        cdef Call *call = &act.call
        cdef const fr_int *starts = <const fr_int *>_data(act.starts)
        _view(&call.x, x, starts)
        _view(&call.y, y, starts)
        call.h0, call.c0, call.hn, call.cn = _data(h0), _data(c0), _data(hn), _data(cn)
        with nogil:
            run(&forward_task, call, call.parts)
        return 0

    def backward(self, Activations act, dy, dhn, dcn, dx, dh0, dc0):
        """BPTT from `act`, which it uses up: fills dx, dh0, dc0 (None: not wanted) and adds to the gradients."""
        cdef Call *call = &act.call
        cdef Arena arena
        cdef Workspace memory = self.backward_memory
        cdef Packed packed = self.weights.backward_pack()
        self.backward_memory = Workspace()      # a second caller meanwhile gets its own
        call.packed = packed.layers
        arena.base = NULL
        arena.used = 0
        carve_bptt(call, &arena)
        memory.reserve(arena.used)
        arena.base = memory.data
        arena.used = 0
        carve_bptt(call, &arena)
        cdef const fr_int *starts = <const fr_int *>_data(act.starts)
        _view(&call.dy, dy, starts)
        _view(&call.dx, dx, starts)
        call.dhn, call.dcn, call.dh0, call.dc0 = _data(dhn), _data(dcn), _data(dh0), _data(dc0)
        act.served = True
        with nogil:
            run(&backward_task, call, call.parts)
        with large_products():
            with nogil:
                run(&weights_task, call, call.parts)
        self.backward_memory = memory
        self._give_back(act)

    cdef int _give_back(self, Activations act) except -1:
        act.packed = None
        if len(self.spare) < 2:
            self.spare.append(act)
        return 0
