"""The tasks of a call's workers: the forward pass, BPTT, and the weight gradients.

A thread takes the sequences of one part through all layers and waits for no other thread; in a team it computes its
columns of all sequences. Then the threads share the rows of the weight gradients.
"""

from libc.string cimport memcpy, memset

from fastrnn.engine.loops._call cimport BLOCK_ROWS, BUFFERS, Call, backwards, layer_of, layer_seed, runs_of
from fastrnn.engine.cells._cell cimport Layer, step_work
from fastrnn.engine.loops._dropout cimport drop
from fastrnn.engine.runtime._kernels cimport fr_int, fr_team, team_barrier, team_ended
from fastrnn.engine.loops._noise cimport start_noise
from fastrnn.engine.runtime._rows cimport (
    Rows, View, add_from_reverse, add_scattered, from_reverse, gather, load_state, scatter, store_last, store_state,
    to_reverse)
from fastrnn.engine.loops._sequence cimport Run, backward, block_count, forward, weight_gradient
from fastrnn.engine.runtime._signals cimport PIECE, look
from fastrnn.engine.scan._window cimport last_inputs

cdef enum:
    # Least rows of dW in a piece, if a long call adds it up piece by piece.
    PIECE_GATES = 64


cdef inline void store_rows(char *dst, const Run *at, const Call *call, const Rows *rows, int index,
                            fr_int nbytes) noexcept nogil:
    """Final states, if h went straight into y."""
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
    """The place of a sequence's last inputs in the caller's array; sets the part to 0 that this layer does not use."""
    cdef fr_int nbytes = (cell.window - 1) * cell.features * cell.k.itemsize
    dst += (index * call.batch + rows.seq[j]) * call.w_bytes
    memset(dst + nbytes, 0, call.w_bytes - nbytes)
    return dst


cdef inline void store_window(char *dst, const Run *at, const Call *call, const Rows *rows, const Layer *cell,
                              int index) noexcept nogil:
    """Store the last inputs of each sequence."""
    cdef fr_int j
    for j in range(rows.batch if dst != NULL else 0):
        last_inputs(window_of(dst, call, rows, cell, index, j), cell, rows, &at.window, j)


cdef inline void store_before(char *dst, const Run *at, const Call *call, const Rows *rows, const Layer *cell,
                              int index) noexcept nogil:
    """Store the gradient of the inputs before the first step."""
    cdef fr_int j, nbytes = (cell.window - 1) * cell.features * cell.k.itemsize
    for j in range(rows.batch if dst != NULL else 0):
        memcpy(window_of(dst, call, rows, cell, index, j), at.window.dbefore + j * nbytes, nbytes)


cdef void layer_input(const Call *call, int part, int layer) noexcept nogil:
    """Fill in a layer's input, in forward order, if it is not just the h of the layer below."""
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
    """Fill in the input and initial state of one direction of one layer."""
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
    """Store the final state of one direction of one layer."""
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
    """Copy the last layer's h into the caller's y, directions side by side."""
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
    """Take one worker's sequences through every layer; in a team, compute one worker's columns of all sequences."""
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
    """Let BPTT write dL/dh_t of this direction into the caller's array, if there is one."""
    at.dh_steps = call.dh_steps
    at.reverse = backwards(call, direction)
    if at.dh_steps.data != NULL:
        at.dh_steps.data += index * call.dh_layer


cdef void reverse_output(char *dst, const char *dy, const Call *call, const Rows *rows, int layer) noexcept nogil:
    """The gradient of the reverse direction's output, in its own order; a span begins at the sequence's other end."""
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
    """Take one worker's sequences back through every layer: dz, the gradients of states and inputs. In a team, compute
    one worker's units and rows of all sequences."""
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
    """The number of pieces of a share of this cell's weight gradients; a signal can end the call between two."""
    if call.interrupt == NULL:
        return 1
    # Most rows of dz that one product sums.
    cdef fr_int rows = max(<fr_int>BLOCK_ROWS, call.batch) // call.parts + 1
    return <int>max(1, min(rows * step_work(cell) // call.shares // PIECE + 1,
                           cell.gate_size // call.shares // PIECE_GATES))


cdef void weights_task(void *arg, int part) noexcept nogil:
    """Compute one share of the rows of every weight gradient, over all sequences."""
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
    """Add the gradients that cells sum up themselves, block by block and part by part."""
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
