"""The decoder's time loop: attention, the layers, step by step; forward and BPTT.

Attention stands before the layers or behind them:

    before (Bahdanau et al. 2015):  c_t = attend(h_{t-1}),  h_t = layers([x_t; c_t], h_{t-1})
    behind (Luong et al. 2015):     h_t = layers(x_t, h_{t-1}),  c_t = attend(h_t)

where h is the last layer's. Both h_t and c_t are outputs. Attention before the layers needs the last layer's previous
step, so all layers do step t before any does t + 1. With packed weights, products of one step are as fast as one
product of all steps. The sequences are dealt to the workers, longest first. Each worker takes its own through all
steps; then all share the rows of the weight gradients.
"""

from libc.string cimport memcpy, memset
import numpy as np

cimport numpy as cnp

from fastrnn.engine.runtime._arrays cimport READ, WRITE, check_array, own_ints
from fastrnn.engine.loops._attention cimport (
    attend, attend_backward, carve_reading, carve_reading_backward, memory_gradient)
from fastrnn.engine.cells._cell cimport Step, lone_step
from fastrnn.engine.runtime._backend cimport blas_context, by_blas
from fastrnn.engine.runtime._kernels cimport fr_kernels, fr_load, fr_matrix, fr_product, fr_store, fr_swap, keep_apart
from fastrnn.engine.runtime._panels cimport matrix, multiply, zero
from fastrnn.engine.runtime._pool cimport run, workers_for
from fastrnn.engine.runtime._rows cimport carve_rows, index_rows, load_state, store_last, store_state
from fastrnn.engine.loops._sequence cimport carve_backward, carve_forward, set_step, share, weight_gradient
from fastrnn.engine.runtime._signals cimport STEP_COST, look, settle, watch
from fastrnn.engine.runtime._workspace cimport (
    keep_workspace, pop_or_none, room_in, free_workspace, take_array, take_scratch)

cnp.import_array()

cdef enum:
    # Time of a tanh in multiply-adds, with 16 lanes (bench/NOTES.md, A tanh in multiply-adds).
    TANH_MADDS = 8


cdef char *_data(object array) noexcept:
    return <char *>cnp.PyArray_DATA(array) if array is not None else NULL


cdef inline Run *runs_of(const Decoding *call, int part) noexcept nogil:
    return call.runs + <fr_int>part * call.layers


cdef inline fr_int row_of(const Decoding *call, const Rows *rows, fr_int j, fr_int t) noexcept nogil:
    """The caller's row of step t of the part's sequence j."""
    return call.starts[rows.seq[j]] + t


cdef void carve(Decoding *call, Arena *arena) noexcept nogil:
    """Place the arrays of the forward pass; with arena.base NULL only measure."""
    cdef bint real = arena.base != NULL
    cdef fr_int size = call.packed.k.itemsize
    cdef int part, layer
    cdef Rows *rows
    cdef Run measured
    cdef Track aside
    cdef Run *at
    cdef Track *track
    measured.y = NULL
    call.runs = <Run *>take_array(arena, call.parts, call.layers, sizeof(Run))
    call.tracks = <Track *>take_array(arena, call.parts, 1, sizeof(Track))
    for part in range(call.parts):
        rows = &call.rows[part]
        carve_rows(rows, arena, rows.batch, rows.steps)
        track = &call.tracks[part] if real else &aside
        track.x = take_array(arena, rows.count, call.packed.input_size, size)
        track.context = take_array(arena, rows.batch, call.attention.values if call.attends else 0, size)
        if call.attends:
            carve_reading(&call.attention, rows.batch, rows.count, call.memory.steps, call.before, &track.reading,
                          arena)
        for layer in range(call.layers):
            at = runs_of(call, part) + layer if real else &measured
            at.y = NULL
            at.noise = NULL
            at.dh_steps.data = NULL
            at.reverse = False
            carve_forward(call.packed + layer, rows, at, arena, call.keep)
            if real:
                at.x = track.x if layer == 0 else (at - 1).h + rows.batch * call.packed.out * size


cdef void carve_bptt(Decoding *call, Arena *arena) noexcept nogil:
    cdef bint real = arena.base != NULL
    cdef fr_int size = call.packed.k.itemsize
    cdef int part, layer
    cdef Rows *rows
    cdef Run measured
    cdef Track aside
    cdef Track *track
    cdef Scratch work
    call.work = <Scratch *>take_array(arena, call.threads, 1, sizeof(Scratch))
    for part in range(call.parts):
        rows = &call.rows[part]
        track = &call.tracks[part] if real else &aside
        track.dx = take_array(arena, rows.batch, call.packed.input_size, size)
        if call.attends:
            carve_reading_backward(&call.attention, rows.count, rows.steps, call.memory.steps, &track.reading, arena)
        for layer in range(call.layers):
            carve_backward(call.packed + layer, rows, runs_of(call, part) + layer if real else &measured, arena)
    for part in range(call.threads):
        work = take_scratch(arena, call.packed.k.gemm_tn_work)
        if real:
            call.work[part] = work


cdef void load_input(const Decoding *call, int part) noexcept nogil:
    """Copy the embeddings of all steps in packed order, each to the start of its row, and the initial states."""
    cdef const Rows *rows = &call.rows[part]
    cdef const Layer *cell = call.packed
    cdef fr_int size = cell.k.itemsize, wide = call.embedding * size, t, j
    cdef char *x = call.tracks[part].x
    cdef Run *at
    cdef int layer
    for t in range(rows.steps):
        for j in range(rows.active[t]):
            memcpy(x, call.x + row_of(call, rows, j, t) * wide, wide)
            x += cell.input_size * size
    for layer in range(call.layers):
        at = runs_of(call, part) + layer
        load_state(at.h, call.h0, call.batch, rows, layer, cell.out * size)
        load_state(at.c, call.c0, call.batch, rows, layer, cell.hidden * size)


cdef void store_step(const Decoding *call, int part, fr_int t, const char *h, const char *context,
                     fr_int ldc) noexcept nogil:
    """Copy h: [R,H], context: [R,W] and the attention's weights of step t to the caller's rows."""
    cdef const Rows *rows = &call.rows[part]
    cdef const Reading *reading = &call.tracks[part].reading
    cdef fr_int size = call.packed.k.itemsize, H = call.packed.out, W = call.attention.values, S = call.memory.steps
    cdef fr_int j, row
    for j in range(rows.active[t]):
        row = row_of(call, rows, j, t)
        memcpy(call.y + row * H * size, h + j * H * size, H * size)
        if context != NULL:
            memcpy(call.context + row * W * size, context + j * ldc * size, W * size)
        if call.attends and call.weights != NULL:
            memcpy(call.weights + row * S * size, reading.weights + (reading.start[j] + t) * S * size, S * size)


cdef void forward_task(void *arg, int part) noexcept nogil:
    """Take one worker's sequences through all steps."""
    cdef Decoding *call = <Decoding *>arg
    cdef const Rows *rows = &call.rows[part]
    cdef Track *track = &call.tracks[part]
    cdef Run *runs = runs_of(call, part)
    cdef Run *top = runs + call.layers - 1
    cdef const Layer *cell
    cdef const fr_kernels *k = call.packed.k
    cdef fr_int size = k.itemsize, H = call.packed.out, W = call.attention.values, I = call.packed.input_size
    cdef fr_int t, j, first, width
    cdef Step step = lone_step()
    cdef const char *x
    cdef char *context
    cdef int layer
    if rows.batch == 0 or look(call.interrupt):
        return
    load_input(call, part)
    if call.attends:
        first = 0
        for j in range(rows.batch):
            track.reading.start[j] = first
            first += rows.length[j]
    for t in range(rows.steps):
        keep_apart()
        first = rows.offset[t]
        x = track.x + first * I * size
        context = NULL
        if call.before:
            context = track.x + (first * I + call.embedding) * size
            set_step(&step, call.packed + call.layers - 1, rows, top, t, call.keep)
            if call.keep:
                memcpy(track.reading.queries + first * H * size, step.h_prev, step.rows * H * size)
            attend(&call.attention, &call.memory, &track.reading, rows.seq, step.rows, t, first, step.h_prev, H,
                   context, I)
        width = I
        for layer in range(call.layers):
            cell = call.packed + layer
            set_step(&step, cell, rows, runs + layer, t, call.keep)
            step.z = runs[layer].z + (first * cell.ld_z * size if call.keep else 0)
            # z: [R,GH] = x: [R,I] W_ih^T + start
            multiply(matrix(step.z, cell.ld_z), matrix(x, width), &cell.p_ih, matrix(cell.bias, 0), step.rows)
            cell.ops.step_forward(cell, &step, call.keep)
            x = step.h
            width = H
        if call.attends and not call.before:
            context = track.context
            attend(&call.attention, &call.memory, &track.reading, rows.seq, step.rows, t, first, step.h, H, context, W)
        store_step(call, part, t, step.h, context, I if call.before else W)
        if look(call.interrupt):
            return
    for layer in range(call.layers):
        store_last(call.hn, runs[layer].h, call.batch, rows, layer, H * size)
        if call.keep:
            store_last(call.cn, runs[layer].c, call.batch, rows, layer, H * size)
        else:
            store_state(call.cn, runs[layer].c, call.batch, rows, layer, H * size)


cdef void context_gradient(const Decoding *call, int part, fr_int t, const char *dx) noexcept nogil:
    """Step t of reading.dcontext: the caller's, plus dx: [R,W] of the layers' input, rows I apart, if not NULL."""
    cdef const Rows *rows = &call.rows[part]
    cdef const Reading *reading = &call.tracks[part].reading
    cdef const fr_kernels *k = call.packed.k
    cdef fr_int size = k.itemsize, W = call.attention.values, I = call.packed.input_size, j
    cdef char *dcontext
    for j in range(rows.active[t]):
        dcontext = reading.dcontext + (reading.start[j] + t) * W * size
        if call.dcontext != NULL:
            memcpy(dcontext, call.dcontext + row_of(call, rows, j, t) * W * size, W * size)
        else:
            memset(dcontext, 0, W * size)
        if dx != NULL:
            k.add(dcontext, W, dx + j * I * size, I, 1, W)


cdef void backward_task(void *arg, int part) noexcept nogil:
    """Take one worker's sequences back through all steps: dz, the gradients of states, inputs and queries."""
    cdef Decoding *call = <Decoding *>arg
    cdef const Rows *rows = &call.rows[part]
    cdef Track *track = &call.tracks[part]
    cdef Run *runs = runs_of(call, part)
    cdef Run *top = runs + call.layers - 1
    cdef const Layer *cell
    cdef const fr_kernels *k = call.packed.k
    cdef fr_int size = k.itemsize, H = call.packed.out, I = call.packed.input_size, E = call.embedding
    cdef fr_int t, j, first
    cdef fr_matrix dh
    cdef Step step = lone_step()
    cdef int layer
    if rows.batch == 0 or look(call.interrupt):
        return
    if call.attends:
        memset(track.reading.dv, 0, call.attention.width * size)
    for layer in range(call.layers):
        load_state(runs[layer].dh, NULL, call.batch, rows, layer, H * size)
        load_state(runs[layer].dc, NULL, call.batch, rows, layer, H * size)
    for t in range(rows.steps - 1, -1, -1):
        keep_apart()
        first = rows.offset[t]
        if call.dy != NULL:
            for j in range(rows.active[t]):
                k.add(top.dh + j * H * size, H, call.dy + row_of(call, rows, j, t) * H * size, H, 1, H)
        if call.attends and not call.before:
            context_gradient(call, part, t, NULL)
            attend_backward(&call.attention, &call.memory, &track.reading, rows.seq, rows.active[t], t, first,
                            top.h + (rows.batch + first) * H * size, H, top.dh, H)
        for layer in range(call.layers - 1, -1, -1):
            cell = call.packed + layer
            set_step(&step, cell, rows, runs + layer, t, True)
            step.z = runs[layer].z + first * cell.ld_z * size
            step.dh = step.dh_in = runs[layer].dh
            step.dc = runs[layer].dc
            step.scratch = runs[layer].scratch
            cell.ops.step_backward(cell, &step)
            if layer > 0:
                # dh of the layer below: [R,H] += dz: [R,GH] W_ih
                dh = matrix(runs[layer - 1].dh, H)
                multiply(dh, matrix(step.z, cell.ld_z), &cell.q_ih, dh, step.rows)
            else:
                # dx: [R,I] = dz: [R,GH] W_ih
                multiply(matrix(track.dx, I), matrix(step.z, cell.ld_z), &cell.q_ih, zero(), step.rows)
        for j in range(step.rows):
            memcpy(call.dx + row_of(call, rows, j, t) * E * size, track.dx + j * I * size, E * size)
        if call.before:
            context_gradient(call, part, t, track.dx + E * size)
            attend_backward(&call.attention, &call.memory, &track.reading, rows.seq, step.rows, t, first,
                            track.reading.queries + first * H * size, H, top.dh, H)
        if look(call.interrupt):
            return
    for layer in range(call.layers):
        store_state(call.dh0, runs[layer].dh, call.batch, rows, layer, H * size)
        store_state(call.dc0, runs[layer].dc, call.batch, rows, layer, H * size)


cdef inline const char *queries_of(const Decoding *call, int part) noexcept nogil:
    """The queries of all packed rows: [N,H]."""
    if call.before:
        return call.tracks[part].reading.queries
    return runs_of(call, part)[call.layers - 1].h + call.rows[part].batch * call.packed.out * call.packed.k.itemsize


cdef void memory_task(const Decoding *call, int part, const Scratch *work) noexcept nogil:
    """Add the steps of one part to the gradients of its sources."""
    cdef const Rows *rows = &call.rows[part]
    cdef const Attention *a = &call.attention
    cdef const Reading *reading = &call.tracks[part].reading
    cdef fr_int size = a.k.itemsize, A = a.width, t, j
    cdef const char *projected = reading.projected if a.projected else queries_of(call, part)
    for j in range(rows.batch):
        if not a.additive:
            for t in range(rows.length[j]):
                memcpy(reading.ordered + t * A * size, projected + (rows.offset[t] + j) * A * size, A * size)
        memory_gradient(a, &call.memory, reading, j, rows.seq[j], rows.length[j], reading.ordered, work)


cdef void weights_task(void *arg, int part) noexcept nogil:
    """Compute the gradients of one thread's sources, and its rows of every weight gradient over all sequences."""
    cdef Decoding *call = <Decoding *>arg
    cdef const Attention *a = &call.attention
    cdef fr_int size = call.packed.k.itemsize, m, end
    cdef int layer, other
    for other in range(call.parts):
        if call.rows[other].batch == 0:
            continue
        for layer in range(call.layers):
            weight_gradient(call.packed + layer, &call.rows[other], runs_of(call, other) + layer, 0, part,
                            call.threads, &call.work[part])
        if not call.attends:
            continue
        if other % call.threads == part:
            memory_task(call, other, &call.work[part])
        if a.projected:
            # dW_q: [A,H] += dq': [N,A]^T q: [N,H]
            m, end = share(a.width, part, call.threads), share(a.width, part + 1, call.threads)
            if end > m:
                a.k.gemm_tn(matrix(a.dw_q + m * a.query * size, a.query),
                            matrix(call.tracks[other].reading.dprojected + m * size, a.width),
                            matrix(queries_of(call, other), a.query), end - m, a.query, call.rows[other].count,
                            room_in(&call.work[part], a.k.gemm_tn_work))


cdef void add_scores(const Decoding *call) noexcept nogil:
    """Add dv of every part, one after another."""
    cdef int part
    for part in range(call.parts):
        if call.rows[part].batch > 0:
            call.packed.k.add(call.attention.dv, call.attention.width, call.tracks[part].reading.dv,
                              call.attention.width, 1, call.attention.width)


cdef class DecoderTape:
    @property
    def served(self):
        """Whether BPTT has used this tape, or somebody is using it."""
        return not fr_load(&self.ready)


cdef class Decoder:
    """Runs target sequences through the layers of `weights`, with `attention` or None.

    before : whether the context is part of the first layer's input, which is then E + W wide; else attention stands
    behind the layers.
    """

    def __cinit__(self, Weights weights not None, AttentionWeights attention, bint before):
        cdef const Layer *cell
        cdef const Attention *a = NULL
        cdef int i
        if weights.layers == NULL or weights.count < 1 or weights.directions != 1:
            raise ValueError("weights: expected layers that read in one direction, found "
                             f"{weights.count} in {weights.directions} directions")
        for i in range(weights.count):
            cell = weights.layers + i
            if cell.ops.step_forward == NULL:
                raise ValueError("weights: expected cells whose products depend on their state, found one without "
                                 "recurrent weights")
            if cell.ops.sums != 0 or cell.params.weight_hr != NULL or cell.window != 1 or cell.out != cell.hidden:
                raise ValueError("weights: expected plain cells, found one with layer normalisation, a projection or a "
                                 "window")
            if i > 0 and cell.input_size != weights.layers.out:
                raise ValueError(f"weights: expected {weights.layers.out} inputs of layer {i}, found {cell.input_size}")
        self.embedding = weights.layers.input_size
        if attention is not None:
            a = &attention.attention
            if a.k == NULL or a.k.itemsize != weights.itemsize or a.query != weights.layers.out:
                raise ValueError(f"attention: expected queries of {weights.layers.out} values of {weights.itemsize} "
                                 f"bytes, as the layers' states; found {a.query} of {a.k.itemsize if a.k else 0} bytes")
            if before:
                self.embedding -= a.values
            if self.embedding < 1:
                raise ValueError(f"weights: expected more inputs than the {a.values} of the context that is part of "
                                 f"them, found {weights.layers.input_size}")
        self.typenum = cnp.NPY_FLOAT if weights.itemsize == 4 else cnp.NPY_DOUBLE
        self.weights = weights
        self.attention = attention
        self.before = before and attention is not None
        self.free_calls = []
        self.memories = []
        self.backward_memories = []

    def infer(self, x, lengths, memory, h0, c0, y, context, weights, hn, cn):
        """Fills y: (N, H), context: (N, W), weights: (N, S) or None, and the final states hn, cn: (layers, B, H).

        x: (N, E), the sequences one after another; lengths: int64 (B,); h0, c0: (layers, B, H). memory: None, or a
        tuple of values (M, S, W), keys (M, S, A), int64 lengths (M,), and the number of each sequence's source, int64
        (B,); None if sequence b reads source b. All C-contiguous.
        """
        cdef DecoderTape tape = self._run(x, lengths, memory, h0, c0, y, context, weights, hn, cn, False)
        self._give_back(tape)

    def forward(self, x, lengths, memory, h0, c0, y, context, weights, hn, cn):
        """The training pass: as `infer`, each sequence with a source of its own; returns the tape for `backward`."""
        cdef DecoderTape tape = self._run(x, lengths, memory, h0, c0, y, context, weights, hn, cn, True)
        fr_store(&tape.ready, 1)
        return tape

    cdef int _check_states(self, tuple states, fr_int batch, bint writes) except -1:
        """Check the states, pairs (name, h or c or None)."""
        for name, state in states:
            if state is not None:
                check_array(state, name, self.typenum, WRITE if writes else READ, self.weights.count, batch,
                            self.weights.layers.out)
        return 0

    cdef tuple _own_memory(self, memory, fr_int batch, bint keep):
        """Checked (values, keys, lengths, source); the ints are copies."""
        cdef const Attention *a = &self.attention.attention
        cdef fr_int sources, steps
        if not isinstance(memory, tuple) or len(memory) != 4:
            raise TypeError("memory: expected a tuple (values, keys, lengths, source)")
        values, keys, valid, source = memory
        if not isinstance(values, np.ndarray) or cnp.PyArray_NDIM(values) != 3:
            raise ValueError("memory: expected values of shape (M, S, W)")
        sources, steps = cnp.PyArray_DIM(values, 0), cnp.PyArray_DIM(values, 1)
        valid = own_ints(valid, "memory: lengths", sources, 0, steps)
        if source is not None and not keep:
            source = own_ints(source, "memory: source", batch, 0, sources - 1)
        elif source is not None or sources != batch:
            raise ValueError(f"memory: expected one source for each of {batch} sequences, found {sources}")
        check_array(values, "memory: values", self.typenum, READ, sources, steps, a.values)
        check_array(keys, "memory: keys", self.typenum, READ, sources, steps, a.width)
        return values, keys, valid, source

    cdef DecoderTape _run(self, x, lengths, memory, h0, c0, y, context, weights, hn, cn, bint keep):
        cdef DecoderTape tape = None if keep else pop_or_none(self.free_calls)
        cdef Decoding *call
        cdef Packing packing
        cdef fr_int N, B
        if not isinstance(x, np.ndarray) or cnp.PyArray_NDIM(x) != 2:
            raise ValueError("x: expected shape (N, E)")
        if tape is None:
            tape = DecoderTape()
        call = &tape.call
        tape.memory = free_workspace(self.memories)
        tape.packed = self.weights.forward_pack()
        if self.attention is not None:
            packing = tape.attention = self.attention.forward_pack()
        N = tape.rows = cnp.PyArray_DIM(x, 0)
        B = len(lengths)
        lengths = own_ints(lengths, "lengths", B, 0, N)
        if lengths.sum() != N:
            raise ValueError(f"lengths: expected {N} steps in all as in x, found {lengths.sum()}")
        if self.attention is not None:
            memory = self._own_memory(memory, B, keep)
        starts = np.zeros(max(B, 1), np.int64)
        np.cumsum(lengths[:B - 1] if B else lengths, out=starts[1:])
        # From here on no Python code runs that could change the checked arrays.
        check_array(x, "x", self.typenum, READ, N, self.embedding)
        check_array(y, "y", self.typenum, WRITE, N, self.weights.layers.out)
        self._check_states((("h0", h0), ("c0", c0)), B, False)
        self._check_states((("hn", hn), ("cn", cn)), B, True)
        call.packed = tape.packed.layers
        call.layers = self.weights.count
        call.keep = keep
        call.before = self.before
        call.attends = self.attention is not None
        call.batch = B
        call.embedding = self.embedding
        call.attention.values = call.memory.steps = 0
        if call.attends:
            values, keys, valid, source = memory
            check_array(context, "context", self.typenum, WRITE, N, packing.attention.values)
            if weights is not None:
                check_array(weights, "weights", self.typenum, WRITE, N, cnp.PyArray_DIM(values, 1))
            call.attention = packing.attention
            call.memory.steps = cnp.PyArray_DIM(values, 1)
            call.memory.values, call.memory.keys = _data(values), _data(keys)
            call.memory.lengths = <const fr_int *>_data(valid)
            call.memory.source = <const fr_int *>_data(source)
        elif context is not None or weights is not None:
            raise ValueError("context, weights: expected None without attention")
        tape.arrays = (x, memory, starts, h0, c0, y, context, weights, hn, cn)
        call.starts = <const fr_int *>_data(starts)
        call.x, call.y, call.context, call.weights = _data(x), _data(y), _data(context), _data(weights)
        call.h0, call.c0, call.hn, call.cn = _data(h0), _data(c0), _data(hn), _data(cn)
        self._deal(call, lengths)
        self._place(&carve, call, tape.memory)
        self._index(call, lengths)
        if by_blas(call.packed.k, &call.packed.p_ih):
            with blas_context():
                self._run_steps(call)
        else:
            self._run_steps(call)
        tape.owner = self if keep else None
        return tape

    cdef int _run_steps(self, Decoding *call) except -1:
        with nogil:
            run(&forward_task, call, call.parts, call.threads, call.interrupt)
        return settle(call.interrupt)

    cdef int _deal(self, Decoding *call, lengths) except -1:
        """Deal the sequences to the workers in turn, longest first, so every worker gets about as many steps."""
        cdef fr_int madds = 0, b, B = call.batch, steps = call.memory.steps
        cdef const Attention *a = &call.attention
        cdef fr_int[::1] length = lengths
        cdef fr_int[::1] order = np.argsort(-lengths, kind="stable")
        cdef Rows *rows
        cdef int part
        for part in range(call.layers):
            madds += call.packed[part].gate_size * (call.packed[part].input_size + call.packed[part].out)
        if call.attends:
            madds += a.query * a.width + steps * (a.width * (TANH_MADDS if a.additive else 1) + a.values)
        call.madds = fr_product(madds + STEP_COST, <fr_int>lengths.sum())
        call.interrupt = watch(&call.signals, call.madds)
        call.threads = workers_for(fr_product(madds, <fr_int>lengths.sum()))
        call.parts = <int>max(1, min(call.threads, B))
        for part in range(call.parts):
            rows = &call.rows[part]
            rows.first = rows.start = 0
            rows.batch = (B - part + call.parts - 1) // call.parts
            rows.steps = length[order[part]] if rows.batch else 0
            rows.count = 0
            for b in range(part, B, call.parts):
                rows.count += length[order[b]]
            rows.block = max(rows.steps, 1)     # one block of weight gradients
        return 0

    cdef int _place(self, carve_fn carve, Decoding *call, Workspace memory) except -1:
        """Measure, reserve, and carve."""
        cdef Arena arena
        cdef int turn
        for turn in range(2):
            arena.base = memory.data if turn else NULL
            arena.used = 0
            carve(call, &arena)
            memory.reserve(arena.used)
        return 0

    cdef int _index(self, Decoding *call, lengths) except -1:
        cdef fr_int[::1] length = lengths
        cdef fr_int[::1] order = np.argsort(-lengths, kind="stable")
        cdef Rows *rows
        cdef fr_int b
        cdef int part
        for part in range(call.parts):
            rows = &call.rows[part]
            for b in range(rows.batch):
                rows.seq[b] = order[part + b * call.parts]
                rows.length[b] = rows.whole[b] = length[rows.seq[b]]
            index_rows(rows)
        return 0

    def backward(self, DecoderTape tape not None, dy, dcontext, dx, dh0, dc0, dvalues, dkeys):
        """BPTT from `tape`, which it uses up: fills dx: (N, E), dh0, dc0 (None: not wanted), adds to dvalues:
        (M, S, W), dkeys: (M, S, A) and the gradients. Without v dkeys may be dvalues.

        dy: (N, H), dcontext: (N, W), or None for zeros.
        """
        cdef Decoding *call = &tape.call
        cdef Workspace memory
        cdef Packed packed
        cdef Packing packing = None
        if tape.owner is not self or not fr_swap(&tape.ready, 0):
            raise ValueError("tape: expected one from a new forward(), found one that backward() has used or is using")
        try:
            memory = free_workspace(self.backward_memories)
            packed = self.weights.backward_pack()
            self.weights.grads.check(True)
            if self.attention is not None:
                packing = self.attention.backward_pack()
            self._check_gradients(tape, dy, dcontext, dx, dh0, dc0, dvalues, dkeys)
            self._begin_backward(tape, memory, packed, packing)
        except BaseException:
            fr_store(&tape.ready, 1)    # nothing has changed
            raise
        if call.attends:
            call.memory.dvalues, call.memory.dkeys = _data(dvalues), _data(dkeys)
        call.dy, call.dcontext, call.dx = _data(dy), _data(dcontext), _data(dx)
        call.dh0, call.dc0 = _data(dh0), _data(dc0)
        call.interrupt = watch(&call.signals, call.madds)
        with blas_context():
            with nogil:
                run(&backward_task, call, call.parts, call.threads, call.interrupt)
            settle(call.interrupt)
            with nogil:
                run(&weights_task, call, call.threads, call.threads, NULL)
                if call.attends and call.attention.additive:
                    add_scores(call)
        keep_workspace(self.backward_memories, memory, 1)
        self._give_back(tape)

    cdef int _check_gradients(self, DecoderTape tape, dy, dcontext, dx, dh0, dc0, dvalues, dkeys) except -1:
        cdef fr_int N = tape.rows, B = tape.call.batch, steps = tape.call.memory.steps
        cdef const Attention *a = &tape.call.attention
        if dy is not None:
            check_array(dy, "dy", self.typenum, READ, N, self.weights.layers.out)
        check_array(dx, "dx", self.typenum, WRITE, N, self.embedding)
        self._check_states((("dh0", dh0), ("dc0", dc0)), B, True)
        if self.attention is None:
            if dcontext is not None:
                raise ValueError("dcontext: expected None without attention")
            return 0
        if dcontext is not None:
            check_array(dcontext, "dcontext", self.typenum, READ, N, a.values)
        values, keys = tape.arrays[1][:2]       # the caller may have resized them since
        check_array(values, "memory: values", self.typenum, READ, B, steps, a.values)
        check_array(keys, "memory: keys", self.typenum, READ, B, steps, a.width)
        tape.call.memory.values, tape.call.memory.keys = _data(values), _data(keys)
        check_array(dvalues, "dvalues", self.typenum, WRITE, B, steps, a.values)
        check_array(dkeys, "dkeys", self.typenum, WRITE, B, steps, a.width)
        return 0

    cdef int _begin_backward(self, DecoderTape tape, Workspace memory, Packed packed, Packing packing) except -1:
        """Place the arrays of BPTT."""
        tape.call.packed = packed.layers
        if packing is not None:
            tape.call.attention.q_q = packing.attention.q_q
        self._place(&carve_bptt, &tape.call, memory)
        return 0

    cdef int _give_back(self, DecoderTape tape) except -1:
        cdef Workspace memory = tape.memory
        tape.packed = tape.attention = tape.arrays = tape.owner = tape.memory = None
        keep_workspace(self.memories, memory, 2)
        if not tape.call.keep and len(self.free_calls) < 2:
            self.free_calls.append(tape)
        return 0
