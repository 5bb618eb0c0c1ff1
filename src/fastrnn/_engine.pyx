"""All layers and directions of a runner over a batch.

The batch is split in parts for the whole sequence: a thread takes the sequences of one through every layer without
meeting the others, then all share the rows of the weight gradients. All arrays of a call lie in one block
(`Activations`). A call may run a `Span` of the steps; the calls of all spans give the bits of one over all steps.
Arguments are checked by the callers in Python; here everything is taken as given.
"""

from libc.string cimport memcpy, memset
from typing import NamedTuple

import numpy as np

cimport numpy as cnp

from fastrnn._arrays cimport (
    COPIED, ROWS, WRITE, Pinned, check_array, check_probability, own_ints, plain, plain_parts, typenum_of)
from fastrnn._backend cimport blas_context, by_blas
from fastrnn._cell cimport step_work
from fastrnn._dropout cimport drop, drop_sequence
from fastrnn._kernels cimport (
    FR_NO_ROUND, has_barrier, fr_load, fr_product, fr_store, fr_swap, team_barrier, team_ended)
from fastrnn._noise cimport carve_noise, start_noise
from fastrnn._pool cimport reserve, run, run_reserved, workers_for
from fastrnn._rows cimport (
    add_from_reverse, add_scattered, carve_rows, from_reverse, gather, index_rows, load_state, scatter, store_last,
    store_state, to_reverse)
from fastrnn._sequence cimport (
    backward, block_count, carve_backward, carve_forward, forward, weight_gradient)
from fastrnn._signals cimport PIECE, STEP_COST, look, look_now, settle, watch
from fastrnn._window cimport last_inputs
from fastrnn._workspace cimport (
    Arena, Scratch, Workspace, keep_workspace, pop_or_none, free_workspace, take_array, take_scratch)

cnp.import_array()

cdef enum:
    # Multiply-adds of one step from which a lone sequence is worth a team. Two threads against one, by step: 0.13 M
    # (LSTM 128) 0.97 times as fast, 0.22 M (GRU 192) 1.17, 0.5 M (LSTM 256) 1.25, 1.2 M (LSTM 384) 1.9, 2.1 M 1.85.
    WORTH_A_TEAM = 200000
    # In inference more parts than threads, claimed one by one, even out a thread that runs late or shares its CPU: in
    # turn with NumPy, whose idle threads spin, an LSTM 256 of 32 sequences and a product took 1.44 times the sum of
    # each alone with one part a thread, 1.20 with four. Few rows cost nothing while the weights come from a nearby
    # cache (LSTM 256 and 512, one thread, 4 to 32 rows: 100 to 108 GFLOP/s; at H = 1024 8 rows ran at 45, 32 at 72).
    # In training two parts of 8 rows or more a thread cost nothing (8 sizes, 2 threads: 1.00); four cost a tenth where
    # H is 32, and ragged batches lose as much by any. Shares of a weight gradient lose 1 to 15 % below 256 rows. An
    # update of an LSTM 256 of 32 sequences in turn with a product takes 1.6 times the sum so, 1.7 times with one part
    # and share a thread; 1.33 is what a thread that spins leaves of two CPUs, and it is 1.00 where NumPy's threads
    # sleep (OPENBLAS_THREAD_TIMEOUT=4).
    PARTS_A_THREAD = 4
    PART_ROWS = 4
    KEPT_PART_ROWS = 8
    SHARE_ROWS = 256
    NEARBY_BYTES = 16777216
    # Rows, about, over which weight gradients are summed before those of the steps before. Forward and BPTT took as
    # long as with all rows at once, or less; one thread, ms: LSTM 256, B = 32, T = 100: 98 (100); LSTM 512, B = 64,
    # T = 100: 769 (770); GRU 128, B = 16, T = 200: 19.6 (21.7); LSTM 64, B = 1, T = 2000: 5.5 (5.7).
    BLOCK_ROWS = 1024
    BUFFERS = 5                     # of each part in BPTT, see carve_bptt
    # Rows of dW at least, where a long call adds it up piece by piece.
    PIECE_GATES = 64
    # Rows of a part at least, however long its step takes.
    LONG_STEP_ROWS = 32


class Span(NamedTuple):
    """The steps from `start` to `stop` of each sequence, in either direction's own order, through one layer or all.

    `start` is a multiple of `Engine.block`. Bidirectional layers can only be run one at a time.
    """

    start: int
    stop: int
    layer: int | None = None


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
    return call.runs + (<fr_int>part * call.layers + layer) * call.directions


cdef inline bint backwards(const Call *call, int direction) noexcept nogil:
    """Whether this direction reads a sequence from its last valid step to its first."""
    return direction == 1 or call.reverse


cdef inline const Layer *layer_of(const Call *call, int layer, int direction) noexcept nogil:
    return call.packed + layer * call.directions + direction


cdef void aim_output(const Call *call, const Rows *rows, Run *at, int layer, int direction) noexcept nogil:
    """Let the last layer write its h straight into the caller's y, where every sequence has every step."""
    cdef fr_int width = call.packed.out * call.packed.k.itemsize
    at.y = NULL
    if call.y_in_place and layer == call.layers - 1:
        at.y = call.y.data + rows.first * call.y.stride_b + direction * width + call.start * call.y.stride_t
        at.step_y = call.y.stride_t
        at.ld_y = call.y.stride_b // call.packed.k.itemsize
        if backwards(call, direction):
            at.y += (call.whole - 1 - 2 * call.start) * call.y.stride_t
            at.step_y = -call.y.stride_t


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
    measured.y = NULL
    call.runs = <Run *>take_array(arena, call.parts, <fr_int>call.layers * call.directions, sizeof(Run))
    call.inputs = <char **>take_array(arena, call.parts, call.layers, sizeof(char *))
    for part in range(call.parts):
        rows = &call.rows[part]
        carve_rows(rows, arena, rows.batch, rows.steps)
        for layer in range(call.layers):
            cell = layer_of(call, layer, 0)
            own = NULL
            if layer == 0 and call.x_in_place:
                own = call.x.data + call.start * call.x.stride_t
            elif layer == 0 or call.directions == 2 or call.dropout > 0:
                own = take_array(arena, rows.count, cell.features, size)
            for direction in range(call.directions):
                runs = runs_of(call, part, layer) + direction if real else &measured
                aim_output(call, rows, runs, layer, direction)
                carve_forward(layer_of(call, layer, direction), rows, runs, arena, call.keep)
                runs.noise = carve_noise(&call.probabilities, layer_of(call, layer, direction), rows.batch, rows.count,
                                         arena, call.keep)
                runs.window.source = own
                if direction == 1:
                    runs.window.source = take_array(arena, rows.count, cell.features, size)
                elif real and own == NULL:
                    # The layer below has one direction: its h is this layer's input.
                    runs.window.source = runs_of(call, part, layer - 1).h + rows.batch * cell.features * size
                if cell.window == 1:
                    runs.x = <char *>runs.window.source
            if real:
                call.inputs[<fr_int>part * call.layers + layer] = <char *>runs_of(call, part, layer).window.source


cdef void carve_bptt(Call *call, Arena *arena) noexcept nogil:
    """Place the arrays of the backward pass: state gradients, and per part two rows of x-gradients in turn, the
    reverse direction's output gradient and its input gradient, and the gradient of inputs beside each other."""
    cdef int part, layer, direction
    cdef fr_int size = call.packed.k.itemsize, width = 0, wide = 0
    cdef const Layer *cell
    cdef Run measured
    call.buffers = <char **>take_array(arena, call.parts, BUFFERS, sizeof(char *))
    call.work = <Scratch *>take_array(arena, call.shares, 1, sizeof(Scratch))
    for layer in range(call.layers):
        cell = layer_of(call, layer, 0)
        width = max(width, max(cell.features, cell.out * call.directions))
        if cell.window > 1:
            wide = max(wide, cell.input_size)
    cdef char *block
    cdef Scratch work
    cdef bint real = arena.base != NULL
    for part in range(call.parts):
        for layer in range(call.layers):
            for direction in range(call.directions):
                carve_backward(layer_of(call, layer, direction), &call.rows[part],
                               runs_of(call, part, layer) + direction if real else &measured, arena)
        for direction in range(2 + 2 * (call.directions - 1)):
            block = take_array(arena, call.rows[part].count, width, size)
            if real:
                call.buffers[part * BUFFERS + direction] = block
        block = take_array(arena, call.rows[part].count, wide, size)
        if real:
            call.buffers[part * BUFFERS + BUFFERS - 1] = block
    for part in range(call.shares):
        work = take_scratch(arena, call.packed.k.gemm_tn_work)
        if real:
            call.work[part] = work


cdef inline void store_rows(char *dst, const Run *at, const Call *call, const Rows *rows, int index,
                            fr_int nbytes) noexcept nogil:
    """Final states where h went straight into y."""
    cdef fr_int j, stride = at.ld_y * call.packed.k.itemsize
    for j in range(rows.batch):
        memcpy(dst + (index * call.batch + rows.first + j) * nbytes,
               at.y + (rows.steps - 1) * at.step_y + j * stride, nbytes)


cdef inline void load_window(char *dst, const char *src, const Call *call, const Rows *rows, const Layer *cell,
                             int index) noexcept nogil:
    """dst: [batch, (k-1)*W] from entry `index` of the caller's last inputs, or zeros."""
    cdef fr_int j, nbytes = (cell.window - 1) * cell.features * cell.k.itemsize
    for j in range(rows.batch if nbytes > 0 else 0):
        if src != NULL:
            memcpy(dst + j * nbytes, src + (index * call.batch + rows.seq[j]) * call.w_bytes, nbytes)
        else:
            memset(dst + j * nbytes, 0, nbytes)


cdef inline char *window_of(char *dst, const Call *call, const Rows *rows, const Layer *cell, int index,
                            fr_int j) noexcept nogil:
    """Where the caller's last inputs of a sequence are, the part that this layer does not use set to 0."""
    cdef fr_int nbytes = (cell.window - 1) * cell.features * cell.k.itemsize
    dst += (index * call.batch + rows.seq[j]) * call.w_bytes
    memset(dst + nbytes, 0, call.w_bytes - nbytes)
    return dst


cdef inline void store_window(char *dst, const Run *at, const Call *call, const Rows *rows, const Layer *cell,
                              int index) noexcept nogil:
    """The last inputs of each sequence."""
    cdef fr_int j
    for j in range(rows.batch if dst != NULL else 0):
        last_inputs(window_of(dst, call, rows, cell, index, j), cell, rows, &at.window, j)


cdef inline void store_before(char *dst, const Run *at, const Call *call, const Rows *rows, const Layer *cell,
                              int index) noexcept nogil:
    """The gradient of the inputs before the first step."""
    cdef fr_int j, nbytes = (cell.window - 1) * cell.features * cell.k.itemsize
    for j in range(rows.batch if dst != NULL else 0):
        memcpy(window_of(dst, call, rows, cell, index, j), at.window.dbefore + j * nbytes, nbytes)


cdef inline uint64_t layer_seed(const Call *call, int layer) noexcept nogil:
    return call.seed + <uint64_t>layer * <uint64_t>0xd1b54a32d192ed03


cdef void layer_input(const Call *call, int part, int layer) noexcept nogil:
    """Fill in the input of a layer, forward order, where it is not simply the h of the one below."""
    cdef const Rows *rows = &call.rows[part]
    cdef const Run *below = runs_of(call, part, layer - 1)
    cdef char *x = call.inputs[<fr_int>part * call.layers + layer]
    cdef fr_int size = call.packed.k.itemsize, width = call.packed.out * call.packed.k.itemsize, i
    if call.directions == 2:
        for i in range(rows.count):
            memcpy(x + 2 * i * width, below[0].h + (rows.batch + i) * width, width)
        from_reverse(x + width, 2 * width, below[1].h + rows.batch * width, rows, width)
    elif call.dropout > 0:
        memcpy(x, below[0].h + rows.batch * width, rows.count * width)
    if call.dropout > 0:
        drop(x, size, call.packed.out * call.directions, rows, call.first, call.dropout, layer_seed(call, layer))


cdef void prepare_direction(const Call *call, int part, int layer, int direction) noexcept nogil:
    """Input and initial state of one direction of one layer."""
    cdef const Rows *rows = &call.rows[part]
    cdef const Layer *cell = layer_of(call, layer, direction)
    cdef Run *at = runs_of(call, part, layer) + direction
    cdef int index = layer * call.directions + direction
    cdef fr_int size = cell.k.itemsize, width = cell.features * size
    if direction == 1 and layer == 0:
        gather(<char *>at.window.source, &call.x, rows, True, width)
    elif direction == 1:
        to_reverse(<char *>at.window.source, call.inputs[<fr_int>part * call.layers + layer], width, rows, width)
    load_window(at.window.before, call.w0, call, rows, cell, index)
    load_state(at.h, call.h0, call.batch, rows, index, cell.out * size)
    load_state(at.c, call.c0, call.batch, rows, index, cell.hidden * size)
    if at.noise != NULL:
        start_noise(at.noise, cell, rows, call.seed, call.cell + index, call.first)


cdef void store_final(const Call *call, int part, int layer, int direction) noexcept nogil:
    """The final state of one direction of one layer."""
    cdef const Rows *rows = &call.rows[part]
    cdef const Layer *cell = layer_of(call, layer, direction)
    cdef const Run *at = runs_of(call, part, layer) + direction
    cdef int index = layer * call.directions + direction
    cdef fr_int size = cell.k.itemsize
    store_window(call.wn, at, call, rows, cell, index)
    if call.hn == NULL:
        pass
    elif at.y != NULL:
        store_rows(call.hn, at, call, rows, index, cell.out * size)
    else:
        store_last(call.hn, at.h, call.batch, rows, index, cell.out * size)
    if call.keep:
        store_last(call.cn, at.c, call.batch, rows, index, cell.hidden * size)
    else:
        store_state(call.cn, at.c, call.batch, rows, index, cell.hidden * size)


cdef void store_output(const Call *call, int part) noexcept nogil:
    """The last layer's h into the caller's y, directions side by side."""
    cdef const Rows *rows = &call.rows[part]
    cdef const Run *runs = runs_of(call, part, call.layers - 1)
    cdef fr_int width = call.packed.out * call.packed.k.itemsize
    cdef View y = call.y
    cdef int direction
    for direction in range(call.directions):
        y.data = call.y.data + direction * width
        scatter(&y, runs[direction].h + rows.batch * width, width, rows, backwards(call, direction), width)


cdef inline bint ends(Call *call, const fr_team *team) noexcept nogil:
    """Whether an interrupt has ended the loop that has just returned."""
    if call.interrupt == NULL:
        return False
    return team_ended(team) if team != NULL else look(call.interrupt)


cdef void forward_task(void *arg, int worker) noexcept nogil:
    """One worker's sequences through every layer; or, in a team, one worker's columns of all of it."""
    cdef Call *call = <Call *>arg
    cdef fr_team *team = &call.team if call.team.size > 1 else NULL
    cdef int part = 0 if team != NULL else worker
    cdef bint leads = team == NULL or worker == 0
    cdef int layer, direction
    if call.rows[part].batch == 0 or (team == NULL and look(call.interrupt)):
        return
    if leads and not call.x_in_place:
        gather(call.inputs[<fr_int>part * call.layers], &call.x, &call.rows[part], call.reverse,
               call.packed.features * call.packed.k.itemsize)
    for layer in range(call.layers):
        if leads and layer > 0:
            layer_input(call, part, layer)
        for direction in range(call.directions):
            if leads:
                prepare_direction(call, part, layer, direction)
            if team != NULL:
                team_barrier(team)
            forward(layer_of(call, layer, direction), &call.rows[part], runs_of(call, part, layer) + direction,
                    call.keep, team, worker, call.interrupt)
            if ends(call, team):
                return
            if leads:
                store_final(call, part, layer, direction)
    if leads and not call.y_in_place and call.y.data != NULL:
        store_output(call, part)


cdef inline void aim_trace(const Call *call, Run *at, int index, int direction) noexcept nogil:
    """Let BPTT note dL/dh_t of this direction where the caller wants it."""
    at.dh_steps = call.dh_steps
    at.reverse = backwards(call, direction)
    if at.dh_steps.data != NULL:
        at.dh_steps.data += index * call.dh_layer


cdef void reverse_output(char *dst, const char *dy, const Call *call, const Rows *rows, int layer) noexcept nogil:
    """The gradient of the reverse direction's output, in its own order: of a span, from the caller's other end."""
    cdef fr_int nbytes = call.packed.out * call.packed.k.itemsize
    cdef View view = call.dy
    if layer < call.layers - 1:
        to_reverse(dst, dy + nbytes, 2 * nbytes, rows, nbytes)
    elif view.data != NULL:
        view.data += nbytes
        gather(dst, &view, rows, True, nbytes)
    else:
        memset(dst, 0, rows.count * nbytes)


cdef void backward_task(void *arg, int worker) noexcept nogil:
    """One worker's sequences back through every layer: dz, the states' and the inputs' gradients; or, in a team, one
    worker's units and rows of all of it."""
    cdef Call *call = <Call *>arg
    cdef fr_team *team = &call.team if call.team.size > 1 else NULL
    cdef int part = 0 if team != NULL else worker
    cdef bint leads = team == NULL or worker == 0
    cdef const Rows *rows = &call.rows[part]
    cdef fr_int size = call.packed.k.itemsize, P = call.packed.out, H = call.packed.hidden
    cdef int layer, direction, index
    cdef const Layer *cell
    cdef Run *runs
    cdef char *dx_own
    cdef char **buffers = call.buffers + part * BUFFERS
    cdef char *dy = buffers[0]
    cdef char *dx = buffers[1]
    if rows.batch == 0 or (team == NULL and look(call.interrupt)):
        return
    if not leads:
        pass
    elif call.dy.data != NULL:
        gather(dy, &call.dy, rows, call.reverse, P * call.directions * size)
    else:
        memset(dy, 0, rows.count * P * call.directions * size)
    for layer in range(call.layers - 1, -1, -1):
        runs = runs_of(call, part, layer)
        for direction in range(call.directions):
            cell = layer_of(call, layer, direction)
            index = layer * call.directions + direction
            if leads:
                aim_trace(call, &runs[direction], index, direction)
                load_state(runs[direction].dh, call.dhn, call.batch, rows, index, P * size)
                load_state(runs[direction].dc, call.dcn, call.batch, rows, index, H * size)
                load_window(runs[direction].window.dbefore, call.dwn, call, rows, cell, index)
                if direction == 1:
                    reverse_output(buffers[2], dy, call, rows, layer)
            if team != NULL:
                team_barrier(team)
            dx_own = NULL
            if layer > 0 or call.dx.data != NULL or cell.window > 1:
                dx_own = dx if direction == 0 else buffers[3]
            if direction == 0:
                backward(cell, rows, &runs[0], dy, P * call.directions, dx_own, buffers[BUFFERS - 1], team, worker,
                         call.interrupt)
            else:
                backward(cell, rows, &runs[1], buffers[2], P, dx_own, buffers[BUFFERS - 1], team, worker,
                         call.interrupt)
            if ends(call, team):
                return
            if not leads:
                continue
            store_state(call.dh0, runs[direction].dh, call.batch, rows, index, P * size)
            store_state(call.dc0, runs[direction].dc, call.batch, rows, index, H * size)
            store_before(call.dw0, &runs[direction], call, rows, cell, index)
            if direction == 0 or (layer == 0 and call.dx.data == NULL):
                continue
            if call.adds_dx:
                add_scattered(&call.dx, buffers[3], rows, cell.k, True, cell.features)
            else:
                add_from_reverse(dx, buffers[3], rows, cell.k, cell.features)
        if leads and layer > 0 and call.dropout > 0:
            drop(dx, size, P * call.directions, rows, call.first, call.dropout, layer_seed(call, layer))
        dy, dx = dx, dy
    if not leads or call.dx.data == NULL:
        return
    if call.adds_dx:
        add_scattered(&call.dx, dy, rows, call.packed.k, call.reverse, call.packed.features)
    else:
        scatter(&call.dx, dy, call.packed.features * size, rows, call.reverse, call.packed.features * size)


cdef fr_int blocks_of(const Call *call) noexcept nogil:
    cdef fr_int most = 0
    cdef int part
    for part in range(call.parts):
        most = max(most, block_count(&call.rows[part]))
    return most


cdef int pieces_of(const Call *call, const Layer *cell) noexcept nogil:
    """How many pieces a share of this cell's weight gradients is added up in, one after the other."""
    if call.interrupt == NULL:
        return 1
    # Rows of dz that are summed at a time, at most.
    cdef fr_int rows = max(<fr_int>BLOCK_ROWS, call.batch) // call.parts + 1
    return <int>max(1, min(rows * step_work(cell) // call.shares // PIECE + 1,
                           cell.gates // call.shares // PIECE_GATES))


cdef void weights_task(void *arg, int part) noexcept nogil:
    """One share of the rows of every weight gradient, over all sequences."""
    cdef Call *call = <Call *>arg
    cdef int layer, direction, other, piece, pieces
    cdef fr_int block
    for layer in range(call.layers):
        for direction in range(call.directions):
            pieces = pieces_of(call, layer_of(call, layer, direction))
            for block in range(blocks_of(call) - 1, -1, -1):
                for other in range(call.parts):
                    for piece in range(pieces if call.rows[other].batch > 0 else 0):
                        if look(call.interrupt):
                            return
                        weight_gradient(layer_of(call, layer, direction), &call.rows[other],
                                        runs_of(call, other, layer) + direction, block, part * pieces + piece,
                                        call.shares * pieces, &call.work[part])


cdef void add_sums(const Call *call) noexcept nogil:
    """Add the gradients that cells sum up themselves, block after block and worker after worker."""
    cdef int part, layer, direction
    cdef fr_int block, nbytes
    cdef const Layer *cell
    if call.packed.ops.sums == 0:
        return
    for block in range(blocks_of(call) - 1, -1, -1):
        for part in range(call.parts):
            if block >= block_count(&call.rows[part]):
                continue
            for layer in range(call.layers):
                for direction in range(call.directions):
                    cell = layer_of(call, layer, direction)
                    nbytes = cell.ops.sums * cell.hidden * cell.k.itemsize
                    cell.ops.add_sums(cell, runs_of(call, part, layer)[direction].sums + block * nbytes)


cdef inline fr_int block_of(fr_int batch) noexcept nogil:
    return (BLOCK_ROWS + batch - 1) // batch if batch > 0 else BLOCK_ROWS


cdef class Activations:
    @property
    def served(self):
        """Whether BPTT has used it, or somebody is using it."""
        return not fr_load(&self.ready)

    cdef int take(self, Engine engine) except -1:
        """From here on it is the caller's alone."""
        if self.owner is not engine or not fr_swap(&self.ready, 0):
            raise ValueError("tape: expected one from a new forward(), found one that backward() has used or is using")
        return 0

    cdef void put_back(self) noexcept:
        fr_store(&self.ready, 1)


cdef class Engine:
    """Runs sequences through the layers of `weights`; arrays are time-major views with a contiguous last axis."""

    def __cinit__(self, Weights weights not None):
        cdef int i
        self.weights = weights
        for i in range(weights.count):
            self.window_width = max(self.window_width, (weights.layers[i].window - 1) * weights.layers[i].features)
        self.directions = weights.directions
        self.layers = weights.count // weights.directions
        self.free_calls = []
        self.memories = []
        self.backward_memories = []
        self.gradient_memories = []

    cdef Activations _activations(self, bint keep):
        """With memory, for a call alone; with `keep` new, for a tape."""
        cdef Activations act = None if keep else pop_or_none(self.free_calls)
        if act is None:
            act = Activations()
        act.memory = free_workspace(self.memories)
        return act

    cdef int _deal(self, Call *call, fr_int B, fr_int T, fr_int total) except -1:
        """How many threads the call is worth, and what they share: the sequences, or the columns of a lone one."""
        cdef fr_int madds = 0, most = 1, rows
        cdef int i
        for i in range(-call.cell, self.weights.count - call.cell):      # a span's too: it must be shared as all steps
            madds += step_work(&call.packed[i])
            most = max(most, step_work(&call.packed[i]))
        call.madds = fr_product(madds, total) + fr_product(T, self.weights.count * <fr_int>STEP_COST)
        call.interrupt = NULL
        call.threads = workers_for(fr_product(madds, total))
        call.parts = <int>max(1, min(call.threads, B))
        call.shares = call.threads * (2 if call.packed.gates >= 2 * SHARE_ROWS * call.threads else 1)
        if call.parts > 1 and madds * call.packed.k.itemsize <= NEARBY_BYTES * self.weights.count:
            if not call.keep:
                call.parts = <int>max(call.parts, min(PARTS_A_THREAD * call.threads, B // PART_ROWS))
            elif total == B * T:
                call.parts = <int>max(call.parts, min(2 * call.threads, B // KEPT_PART_ROWS))
            call.parts = min(call.parts, MAX_PARTS)
        # A step of few rows ends soon, and only between steps can a call be interrupted.
        rows = max(<fr_int>LONG_STEP_ROWS, (2 if call.keep else 1) * PIECE // most)
        call.parts = <int>min(max(call.parts, (B + rows - 1) // rows), MAX_PARTS)
        call.team.size = 1
        call.team.arrived = call.team.round = 0
        call.team.last = FR_NO_ROUND
        if B == 1 and call.threads > 1 and has_barrier() and (
                call.packed.ops.scan_forward != NULL or madds >= WORTH_A_TEAM * self.weights.count):
            call.team.size = call.threads
        return 0

    def plan(self, fr_int batch, fr_int steps):
        """How inference on `steps` valid steps of `batch` sequences in all is shared: (parts of the batch, threads that
        share the columns of a lone sequence, threads in all)."""
        cdef Call call
        if min(batch, steps) < 0:
            raise ValueError(f"batch, steps: expected at least 0, found {batch} and {steps}")
        call.keep = False
        call.cell = 0
        cdef Packed packed = self.weights.forward_pack()
        call.packed = packed.layers
        self._deal(&call, batch, steps // max(1, batch), steps)
        return call.parts, call.team.size, call.threads

    cdef object _share(self, Activations act, object x, object y, object lengths, bint keep, double dropout,
                       uint64_t seed, fr_int first, object span):
        """Deal the sequences to the workers; returns them, longest first, where there are lengths."""
        cdef Call *call = &act.call
        cdef Rows *rows
        cdef fr_int b, total = 0, B, T, start = 0, stop
        cdef bint packed_rows = x.ndim == 2
        cdef fr_int[::1] order
        cdef fr_int[::1] length
        cdef int part
        if packed_rows:
            B = len(lengths)
            T = lengths.max() if B else 0
        else:
            T = x.shape[0]
            B = x.shape[1]
            total = B * T
        stop = T
        call.layers = self.layers
        call.cell = 0
        if span is not None:
            start, stop = span.start, min(T, span.stop)
            if span.layer is not None:
                call.layers = 1
                call.cell = span.layer * self.directions
        call.directions = self.directions
        call.reverse = self.weights.reverse
        call.keep = keep
        call.dropout = dropout
        call.probabilities = self.weights.probabilities
        call.seed = seed
        call.first = first + start
        call.start = start
        call.whole = T
        call.adds_dx = span is not None and self.directions == 2
        call.packed = act.packed.layers + call.cell
        call.batch = B
        act.starts = None
        if packed_rows:
            act.starts = np.zeros(max(B, 1), np.int64)
            np.cumsum(lengths[:B - 1], out=act.starts[1:])
        _view(&call.x, x, <const fr_int *>_data(act.starts))
        _view(&call.y, y, <const fr_int *>_data(act.starts))
        if lengths is not None:
            length = lengths
            order = np.argsort(-lengths, kind="stable")
            total = lengths.sum()
        self._deal(call, B, T, total)
        call.y_in_place = not keep and lengths is None and T > 0 and y is not None
        call.x_in_place = (not keep and not call.reverse and lengths is None and call.parts == 1
                           and cnp.PyArray_ISALIGNED(x)
                           and call.x.stride_t == B * call.packed.features * call.packed.k.itemsize
                           and (B == 1 or call.x.stride_b * B == call.x.stride_t))
        for part in range(call.parts):
            rows = &call.rows[part]
            rows.start = start
            rows.block = block_of(B)
            if lengths is None:
                rows.first = B * part // call.parts
                rows.batch = B * (part + 1) // call.parts - rows.first
                rows.steps = stop - start if rows.batch else 0
                rows.count = rows.batch * rows.steps
            else:
                # Dealt in turn, longest first: every worker gets about the same number of steps.
                # Those that have ended before the step before the first one have no part in a span.
                rows.batch = rows.steps = rows.count = 0
                for b in range(part, B, call.parts):
                    if length[order[b]] < start:
                        break
                    rows.batch += 1
                    rows.count += min(length[order[b]], stop) - start
                if rows.batch:
                    rows.steps = min(length[order[part]], stop) - start
        return None if lengths is None else np.asarray(order)

    cdef int _prepare(self, Activations act, object x, object y, object lengths, bint keep, double dropout,
                      uint64_t seed, fr_int first, object span) except -1:
        """Deal the sequences to the workers and place all arrays."""
        cdef Call *call = &act.call
        cdef Rows *rows
        cdef Arena arena
        cdef fr_int b, place, stop
        cdef fr_int[::1] order
        cdef fr_int[::1] length
        cdef int part
        found = self._share(act, x, y, lengths, keep, dropout, seed, first, span)
        if lengths is not None:
            order = found
            length = lengths
        stop = call.whole if span is None else min(call.whole, <fr_int>span.stop)
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
                    place = rows.first + b
                    rows.whole[b] = call.whole
                else:
                    place = order[part + b * call.parts]
                    rows.whole[b] = length[place]
                rows.length[b] = min(rows.whole[b], stop) - call.start
                rows.seq[b] = place
            index_rows(rows)
        return 0

    def infer(self, x, y, initial, final, lengths=None):
        """Inference: fills y: (T, B, D*P) and the final states.

        initial, final: a state's parts h, c and last inputs w, each (layers * directions, B, .), or None.
        lengths: int64 (B,) or None. With x: (N, I) and y: (N, D*P) the sequences' valid steps follow one another.
        """
        cdef Activations act = self._activations(False)
        x, y, initial, final = plain(x), plain(y), plain_parts(initial, "initial"), plain_parts(final, "final")
        act.packed = self.weights.forward_pack()
        lengths = self._check_forward(act, x, y, initial, final, lengths, None, False)
        self._prepare(act, x, y, lengths, False, 0.0, 0, 0, None)
        self._forward(act, initial, final)
        self._give_back(act)

    def forward(self, x, y, initial, final, lengths=None, double dropout=0.0, uint64_t seed=0, fr_int first=0,
                span=None, Packed packed=None, bint keep=True):
        """The training pass: as `infer`, and returns the tape for `backward`.

        `dropout` acts between layers; every mask comes from the seed, for steps numbered from `first` on.

        span: a `Span` of the steps, with the states h0, c0 before and hn, cn after it; these are not written where a
        sequence has ended before. y may then be None. packed: what `packs` gave. Without `keep` there is no tape.
        """
        cdef Activations act = self._activations(keep)
        check_probability("dropout", dropout)
        x, y, initial, final = plain(x), plain(y), plain_parts(initial, "initial"), plain_parts(final, "final")
        act.packed = self.packs(self.weights.probabilities.weight, seed, True) if packed is None else packed
        self.weights.check(act.packed, True)
        lengths = self._check_forward(act, x, y, initial, final, lengths, span, True)
        self._prepare(act, x, y, lengths, keep, dropout, seed, first, span)
        self._forward(act, initial, final)
        if keep:
            act.owner = self
            act.put_back()
            return act
        self._give_back(act)

    cdef object _check_forward(self, Activations act, x, y, initial, final, lengths, span, bint may_lack_y):
        """What `infer` and `forward` take, and the span; returns lengths as a copy that nobody else can write to."""
        cdef fr_int batch, steps = 0, rows = 0, layers = self.layers, features = self.weights.layers.features
        cdef int typenum = typenum_of(self.weights.itemsize)
        cdef fr_int width = self.weights.layers.out * self.directions
        if not isinstance(x, np.ndarray) or cnp.PyArray_NDIM(x) not in (2, 3):
            raise ValueError("x: expected shape (T, B, I) or (N, I)")
        if cnp.PyArray_NDIM(x) == 2:
            rows = cnp.PyArray_DIM(x, 0)
            if lengths is None:
                raise ValueError("lengths: expected those of the sequences whose steps follow one another, found None")
            lengths = own_ints(lengths, "lengths", -1, 0, rows)
            batch = len(lengths)
            steps = lengths.max() if batch else 0
            if lengths.sum() != rows:
                raise ValueError(f"lengths: expected {rows} steps in all, as x has rows; found {lengths.sum()}")
        else:
            steps, batch = cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1)
            if lengths is not None:
                lengths = own_ints(lengths, "lengths", batch, 0, steps)
        if span is not None:
            layers = self._check_span(span, steps, batch)
            features = self.weights.layers[(span.layer or 0) * self.directions].features
        if cnp.PyArray_NDIM(x) == 2:
            check_array(x, "x", typenum, ROWS | COPIED, rows, features)
            if y is not None:
                check_array(y, "y", typenum, WRITE | ROWS, rows, width)
        else:
            check_array(x, "x", typenum, ROWS | COPIED, steps, batch, features)
            if y is not None:
                check_array(y, "y", typenum, WRITE | ROWS, steps, batch, width)
        if y is None and not may_lack_y:
            raise ValueError("y: expected an array, found None")
        self._check_states(initial, "initial", COPIED, layers, batch)
        self._check_states(final, "final", WRITE, layers, batch)
        act.layers, act.rows, act.packed_rows = layers, rows, cnp.PyArray_NDIM(x) == 2
        return lengths

    cdef fr_int _check_span(self, span, fr_int steps, fr_int batch) except -1:
        """Its steps are some of these, and its layer is one of ours; the number of layers that it runs through."""
        if (type(span) is not Span or type(span.start) is not int or type(span.stop) is not int
                or not 0 <= span.start <= min(span.stop, steps) or span.start % block_of(batch)):
            raise ValueError(f"span: expected steps 0 <= start <= stop of {steps}, the first one a multiple of "
                             f"{block_of(batch)}; found {span!r}")
        if span.layer is None and self.directions == 1:
            return self.layers
        if type(span.layer) is not int or not 0 <= span.layer < self.layers:
            raise ValueError(f"span: expected a layer of 0 to {self.layers - 1}, found {span.layer!r}")
        return 1

    cdef int _check_states(self, tuple parts, str name, int kind, fr_int layers, fr_int batch) except -1:
        """h, c and the last inputs, each (layers * directions, B, .) or None."""
        cdef const Layer *cell = self.weights.layers
        cdef fr_int widths[3]
        cdef fr_int i, count = layers * self.directions
        cdef int typenum = typenum_of(self.weights.itemsize)
        widths[0], widths[1], widths[2] = cell.out, cell.hidden, self.window_width
        for i in range(3):
            if parts[i] is None:
                continue
            if batch == 1 and isinstance(parts[i], cnp.ndarray) and cnp.PyArray_NDIM(parts[i]) == 2:
                check_array(parts[i], f"{name}[{i}]", typenum, kind, count, widths[i])
            else:
                check_array(parts[i], f"{name}[{i}]", typenum, kind, count, batch, widths[i])
        return 0

    cdef int _check_backward(self, Activations act, dy, tuple dfinal, dx, tuple dinitial, dh) except -1:
        """What `backward` takes, beside the tape."""
        cdef const Call *call = &act.call
        cdef int typenum = typenum_of(self.weights.itemsize)
        cdef fr_int width = self.weights.layers.out * self.directions
        cdef fr_int features = self.weights.layers[call.cell].features
        for array, name, kind, size in ((dy, "dy", ROWS | COPIED, width), (dx, "dx", WRITE | ROWS, features)):
            if array is None:
                continue
            if act.packed_rows:
                check_array(array, name, typenum, kind, act.rows, size)
            else:
                check_array(array, name, typenum, kind, call.whole, call.batch, size)
        if dh is not None:
            check_array(dh, "dh", typenum, WRITE | ROWS, act.layers * self.directions, call.whole, call.batch,
                        self.weights.layers.out)
        self._check_states(dfinal, "dfinal", COPIED, act.layers, call.batch)
        self._check_states(dinitial, "dinitial", WRITE, act.layers, call.batch)
        self.weights.grads.check(True)
        return 0

    def packs(self, double p, uint64_t seed, bint for_forward):
        """The packed weights, of which some are dropped with probability p, of one pass."""
        self.weights.check_dropped(p)
        if p > 0:
            return self.weights.dropped_pack(p, seed, for_forward)
        return self.weights.forward_pack() if for_forward else self.weights.backward_pack()

    def collect(self, Packed packed not None, double p, uint64_t seed):
        """Add what a pack for BPTT has collected, once all spans have used it."""
        self.weights.check(packed, False)
        self.weights.grads.check(True)
        self.weights.check_dropped(p)
        if p > 0:
            self.weights.add_dropped(packed, p, seed)

    def block(self, fr_int batch):
        """Steps over which weight gradients of a batch are summed before those of the steps before."""
        return block_of(batch)

    def drop(self, x, lengths, double dropout, uint64_t seed, fr_int first, int layer):
        """Drop values of x: (T, B, width) or (N, width), the input of `layer`, as `forward` does between layers."""
        cdef View view
        cdef Call call
        cdef int typenum = typenum_of(self.weights.itemsize)
        cdef fr_int b, count
        x = plain(x)
        check_probability("dropout", dropout)
        if not isinstance(x, np.ndarray) or cnp.PyArray_NDIM(x) not in (2, 3) or layer < 0:
            raise ValueError("x, layer: expected shape (T, B, width) or (N, width) and a layer of 0 or more")
        if cnp.PyArray_NDIM(x) == 3:
            check_array(x, "x", typenum, WRITE | ROWS, x.shape[0], x.shape[1], x.shape[2])
            count = x.shape[1]
        else:
            check_array(x, "x", typenum, WRITE | ROWS, x.shape[0], x.shape[1])
            count = -1
        if lengths is not None or count < 0:
            lengths = own_ints(lengths, "lengths", count, 0, x.shape[0])
            count = len(lengths)
            if x.ndim == 2 and lengths.sum() != x.shape[0]:
                raise ValueError(f"lengths: expected {x.shape[0]} steps in all, found {lengths.sum()}")
        starts = np.cumsum(lengths) - lengths if x.ndim == 2 else None
        _view(&view, x, <const fr_int *>_data(starts))
        call.seed = seed
        for b in range(count):
            drop_sequence(&view, x.itemsize, x.shape[x.ndim - 1], b, len(x) if lengths is None else lengths[b], first,
                          dropout, layer_seed(&call, layer))

    def measure(self, fr_int batch, fr_int steps, lengths=None, double dropout=0.0, span=None):
        """Bytes that the training pass takes: (forward, and BPTT beside it)."""
        cdef Activations act = Activations()
        cdef Arena arena, bptt
        if min(batch, steps) < 0:
            raise ValueError(f"batch, steps: expected at least 0, found {batch} and {steps}")
        if lengths is not None:
            lengths = own_ints(lengths, "lengths", batch, 0, 2**40)     # a span may hold a part of them only
        if span is not None:
            self._check_span(span, steps, batch)
        act.packed = self.weights.forward_pack()
        x = np.broadcast_to(np.float32(0), (steps, batch, 1))
        self._share(act, x, None, lengths, True, dropout, 0, 0, span)
        arena.base = bptt.base = NULL
        arena.used = bptt.used = 0
        carve(&act.call, &arena)
        carve_bptt(&act.call, &bptt)
        return arena.used, bptt.used

    cdef int _forward(self, Activations act, tuple initial, tuple final) except -1:
        cdef Call *call = &act.call
        call.h0, call.c0, call.w0 = _data(initial[0]), _data(initial[1]), _data(initial[2])
        call.hn, call.cn, call.wn = _data(final[0]), _data(final[1]), _data(final[2])
        call.w_bytes = self.window_width * self.weights.itemsize
        call.interrupt = watch(&call.signals, call.madds)
        if not by_blas(call.packed.k, &call.packed.p_ih):
            return self._run_forward(call)
        with blas_context():
            return self._run_forward(call)

    cdef int _run_forward(self, Call *call) except -1:
        cdef int workers
        with nogil:
            if call.team.size > 1:
                # Whoever meets must run at the same time: as many as there are threads free now.
                workers = call.team.size = reserve(call.team.size)
                run_reserved(&forward_task, call, workers, call.interrupt)
            else:
                run(&forward_task, call, call.parts, call.threads, call.interrupt)
        return settle(call.interrupt)

    cdef int _add_weight_gradients(self, Activations act, Workspace memory) except -1:
        """Add up what BPTT has left in `act` and `memory`, and give both back. Where this takes long a signal may end
        it: the gradients are then what they were before."""
        cdef Call *call = &act.call
        cdef Pinned grads = self.weights.grads
        cdef Workspace before = None
        call.interrupt = watch(&call.signals, call.madds) if call.madds > PIECE else NULL
        if call.interrupt != NULL:
            # Kept between calls: new pages for LSTM 512, B = 16, T = 30, one thread, took 8 of 51 ms.
            before = free_workspace(self.gradient_memories)
            grads.copy_to(before)
        try:
            with nogil:
                run(&weights_task, call, call.shares, call.threads, call.interrupt)
            settle(call.interrupt)
            with nogil:
                add_sums(call)
            keep_workspace(self.backward_memories, memory, 1)   # hundreds of MB take milliseconds to free
            self._give_back(act)
            with nogil:
                look_now(call.interrupt)    # a signal of the last moment still finds the gradients as they were
            settle(call.interrupt)
        except BaseException:
            if before is not None:
                grads.copy_back(before)
            raise
        finally:
            if before is not None:
                keep_workspace(self.gradient_memories, before, 1)
        return 0

    def backward(self, Activations act not None, dy, dfinal, dx, dinitial, dh=None, Packed packed=None):
        """BPTT from `act`, which it uses up: fills dx and dinitial (None: not wanted) and adds to the gradients.

        dh: (layers * directions, T, B, P) or None, takes the whole gradient of h_t, or where h is no state of c_t,
        where a sequence has a step t. Of a span's tape dinitial is not written where a sequence has ended before, and
        bidirectional layers add to dx. packed: what `packs` gave; `collect` is then the caller's to call.
        """
        cdef Call *call = &act.call
        cdef Workspace memory
        cdef const fr_int *starts
        cdef bint collects = packed is None
        dy, dx, dh = plain(dy), plain(dx), plain(dh)
        dfinal, dinitial = plain_parts(dfinal, "dfinal"), plain_parts(dinitial, "dinitial")
        act.take(self)
        try:
            if packed is None:
                packed = self.packs(call.probabilities.weight, call.seed, False)
            self.weights.check(packed, False)
            self._check_backward(act, dy, dfinal, dx, dinitial, dh)
            memory = self._place_bptt(act, packed)
            starts = <const fr_int *>_data(act.starts)
            _view(&call.dy, dy, starts)
            _view(&call.dx, dx, starts)
            call.dhn, call.dcn, call.dwn = _data(dfinal[0]), _data(dfinal[1]), _data(dfinal[2])
            call.dh0, call.dc0, call.dw0 = _data(dinitial[0]), _data(dinitial[1]), _data(dinitial[2])
            _view(&call.dh_steps, dh[0] if dh is not None else None, NULL)
            call.dh_layer = dh.strides[0] if dh is not None else 0
        except BaseException:
            act.put_back()      # nothing has changed
            raise
        call.team.last = FR_NO_ROUND
        with blas_context():
            self._run_backward(call)
            self._add_weight_gradients(act, memory)
        if collects:
            self.collect(packed, call.probabilities.weight, call.seed)

    cdef int _run_backward(self, Call *call) except -1:
        cdef int workers
        call.interrupt = watch(&call.signals, call.madds)
        with nogil:
            if call.packed.ops.scan_backward == NULL:
                call.team.size = 1
            if call.team.size > 1:
                workers = call.team.size = reserve(call.team.size)
                run_reserved(&backward_task, call, workers, call.interrupt)
            else:
                run(&backward_task, call, call.parts, call.threads, call.interrupt)
        return settle(call.interrupt)

    cdef Workspace _place_bptt(self, Activations act, Packed packed):
        """Memory in which the arrays of the backward pass are placed."""
        cdef Workspace memory = free_workspace(self.backward_memories)
        cdef Arena arena
        cdef int turn
        act.call.packed = packed.layers + act.call.cell
        for turn in range(2):
            arena.base = memory.data if turn else NULL
            arena.used = 0
            carve_bptt(&act.call, &arena)
            memory.reserve(arena.used)
        return memory

    def activations(self, Activations act not None, gates, h, c):
        """Fills gates: (layers * directions, T, B, G*H), h: (..., P) and c: (..., H), each perhaps None, from a tape
        that BPTT has not used, where a sequence has a step t."""
        gates, h, c = plain(gates), plain(h), plain(c)
        act.take(self)
        try:
            self._activations_of(&act.call, gates, h, c)
        finally:
            act.put_back()

    cdef int _activations_of(self, Call *call, gates, h, c) except -1:
        cdef Rows *rows
        cdef Run *at
        cdef const Layer *cell
        cdef View view
        cdef int part, layer, direction, index
        cdef fr_int size = call.packed.k.itemsize, count = call.layers * call.directions, width
        cdef bint reverse
        cdef int typenum = typenum_of(<int>size)
        if gates is not None:
            if not isinstance(gates, np.ndarray) or cnp.PyArray_NDIM(gates) != 4:
                raise ValueError("gates: expected shape (layers * directions, T, B, G*H)")
            check_array(gates, "gates", typenum, WRITE | ROWS, count, call.whole, call.batch, gates.shape[3])
        if h is not None:
            check_array(h, "h", typenum, WRITE | ROWS, count, call.whole, call.batch, call.packed.out)
        if c is not None:
            if not call.packed.ops.has_c:
                raise ValueError("c: expected None of a cell without c")
            check_array(c, "c", typenum, WRITE | ROWS, count, call.whole, call.batch, call.packed.hidden)
        for part in range(call.parts):
            rows = &call.rows[part]
            for index in range(count):
                layer = index // call.directions
                direction = index % call.directions
                at = runs_of(call, part, layer) + direction
                cell = layer_of(call, layer, direction)
                reverse = backwards(call, direction)
                if gates is not None:
                    _view(&view, gates[index], NULL)
                    width = min(cell.gates, gates.shape[3]) * size
                    if cell.ops.values_saved:
                        scatter(&view, at.saved + cell.ops.values * cell.hidden * size, cell.saved * size, rows,
                                reverse, width)
                    else:
                        scatter(&view, at.z, cell.ld_z * size, rows, reverse, width)
                if h is not None:
                    _view(&view, h[index], NULL)
                    scatter(&view, at.h + rows.batch * cell.out * size, cell.out * size, rows, reverse,
                            cell.out * size)
                if c is not None:
                    _view(&view, c[index], NULL)
                    scatter(&view, at.c + rows.batch * cell.hidden * size, cell.hidden * size, rows, reverse,
                            cell.hidden * size)
        return 0

    cdef int _give_back(self, Activations act) except -1:
        """The call is over: its memory may serve another, and of inference it itself."""
        cdef Workspace memory = act.memory
        act.packed = act.memory = act.starts = act.owner = None
        keep_workspace(self.memories, memory, 2)
        if not act.call.keep and len(self.free_calls) < 2:
            self.free_calls.append(act)
        return 0
