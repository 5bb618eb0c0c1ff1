"""The time loops: one direction of one layer, forward and backpropagation through time (BPTT).

Forward: one input product for a block of steps, then step by step the recurrent product and the gates.
BPTT: step by step dz_t and dh_{t-1}, then one large product for dx. The products for dW_ih and dW_hh go block by block
from the last one on, so the sums are the same when BPTT runs in segments of whole blocks.
A scan replaces the steps if no product depends on a state (`_scan`).
`h` starts with the initial state, so the first step is no special case.
"""

from libc.string cimport memset

from fastrnn.engine.cells._cell cimport Product, Step, leads, lone_step, barrier, product, step_work
from fastrnn.engine.runtime._kernels cimport end_team, fr_bytes, fr_scan, keep_apart, team_ended
from fastrnn.engine.loops._noise cimport noisy_backward, noisy_forward
from fastrnn.engine.runtime._panels cimport matrix, multiply
from fastrnn.engine.runtime._rows cimport scatter_step
from fastrnn.engine.scan._scan cimport scan_of
from fastrnn.engine.runtime._signals cimport LOOK_EVERY, PIECE, STEP_COST, Interrupt, ended, look
from fastrnn.engine.scan._window cimport fold, unfold
from fastrnn.engine.runtime._workspace cimport room_in, take_array, take_scratch

cdef enum:
    # Bytes of z per input product, which the steps read while it is still in L2 (1 to 2 MB).
    BLOCK_BYTES = 262144
    # With large weights z has at least one part in so many of W_ih's bytes, so that W_ih is read less often: 16.8 ms
    # instead of 21.2 (bench/NOTES.md, Size of an input product).
    WEIGHTS_A_BLOCK = 8
    PIECE_ROWS = 64     # least rows of dx between two looks for signals


cdef inline fr_int block_rows(const Layer *layer) noexcept nogil:
    """Rows of z that one input product computes."""
    cdef fr_int size = layer.k.itemsize
    return max(<fr_int>BLOCK_BYTES, layer.gate_size * layer.input_size * size // WEIGHTS_A_BLOCK) // (layer.ld_z * size)


cdef inline fr_int block_end(const Layer *layer, const Rows *rows, fr_int t) noexcept nogil:
    """The end of the block of steps that starts at t."""
    cdef fr_int limit = block_rows(layer)
    cdef fr_int end = t + 1
    while end < rows.steps and rows.offset[end + 1] - rows.offset[t] <= limit:
        end += 1
    return end


cdef fr_int block_count(const Rows *rows) noexcept nogil:
    return (rows.steps + rows.block - 1) // rows.block


cdef void carve_forward(const Layer *layer, const Rows *rows, Run *run, Arena *arena, bint keep) noexcept nogil:
    cdef fr_int size = layer.k.itemsize
    cdef fr_int block = max(rows.batch, min(rows.count, block_rows(layer)))
    run.z = take_array(arena, rows.count if keep else block, layer.ld_z, size)
    run.saved = take_array(arena, rows.count if keep else rows.batch, layer.saved, size)
    run.h = take_array(arena, rows.batch + (0 if run.y != NULL else rows.count), layer.out, size)
    run.c = NULL
    if layer.ops.has_c:
        run.c = take_array(arena, rows.batch + (rows.count if keep else 0), layer.hidden, size)
    if layer.window > 1:
        run.x = take_array(arena, rows.count if keep else block, layer.input_size, size)
        run.window.before = take_array(arena, rows.batch, (layer.window - 1) * layer.features, size)


cdef void carve_backward(const Layer *layer, const Rows *rows, Run *run, Arena *arena) noexcept nogil:
    cdef fr_int size = layer.k.itemsize
    run.dh = take_array(arena, rows.batch, layer.out, size)
    run.dc = take_array(arena, rows.batch, layer.hidden, size) if layer.ops.has_c else NULL
    run.scratch = take_scratch(arena, fr_bytes(rows.batch, layer.hidden, size))
    run.dp = take_array(arena, rows.count, layer.out, size) if layer.params.weight_hr != NULL else NULL
    run.sums = NULL
    if layer.ops.sums > 0:
        run.sums = take_array(arena, block_count(rows), layer.ops.sums * layer.hidden, size)
    if layer.window > 1:
        run.window.dbefore = take_array(arena, rows.batch, (layer.window - 1) * layer.features, size)


cdef inline fr_int row_before(const Rows *rows, fr_int t) noexcept nogil:
    """Row of h_{t-1} and c_{t-1} for the first sequence."""
    return rows.batch + rows.offset[t - 1] if t > 0 else 0


cdef inline char *sums_at(const Layer *layer, const Rows *rows, const Run *run, fr_int t) noexcept nogil:
    """The sums of the block that step t belongs to."""
    return run.sums + t // rows.block * layer.ops.sums * layer.hidden * layer.k.itemsize


cdef void set_step(Step *step, const Layer *layer, const Rows *rows, const Run *run, fr_int t,
                   bint keep) noexcept nogil:
    """Point `step` at the states of step t."""
    cdef fr_int size = layer.k.itemsize, before = row_before(rows, t), now = rows.batch + rows.offset[t]
    step.rows = rows.active[t]
    step.ld_h_prev = step.ld_h = layer.out
    if run.y == NULL:
        step.h_prev = run.h + before * layer.out * size
        step.h = run.h + now * layer.out * size
    else:
        step.h = run.y + t * run.step_y
        step.h_prev = step.h - run.step_y if t > 0 else run.h
        step.ld_h = run.ld_y
        if t > 0:
            step.ld_h_prev = run.ld_y
    step.h_in = step.h_prev
    step.ld_h_in = step.ld_h_prev
    if run.c != NULL:
        step.c_prev = run.c + (before * layer.hidden * size if keep else 0)
        step.c = run.c + (now * layer.hidden * size if keep else 0)
    step.saved = run.saved + (rows.offset[t] * layer.saved * size if keep else 0)


cdef inline fr_scan place_scan(Step *step, const Layer *layer, const Rows *rows, const Run *run, fr_int t, fr_int end,
                               bint keep) noexcept nogil:
    """A scan over the steps t .. end - 1, all of the same sequences; `step.z` is the z of t."""
    cdef fr_int size = layer.k.itemsize
    cdef fr_scan scan
    set_step(step, layer, rows, run, t, keep)
    scan = scan_of(layer, step, end - t, run.step_y // size if run.y != NULL else step.rows * layer.out, keep)
    if layer.skips:
        scan.skip = run.x + rows.offset[t] * layer.input_size * size
        scan.ld_skip = layer.input_size
    return scan


cdef void scan_block(const Layer *layer, const Rows *rows, const Run *run, Step *step, char *z, fr_int t, fr_int end,
                     bint keep) noexcept nogil:
    """Scan the steps t .. end - 1, whose input product is z: one scan for each stretch in which no sequence ends."""
    cdef fr_int after
    cdef fr_scan scan
    while t < end:
        after = t + 1
        while after < end and rows.active[after] == rows.active[t]:
            after += 1
        step.z = z
        scan = place_scan(step, layer, rows, run, t, after, keep)
        layer.ops.scan_forward(layer, &scan)
        z += (rows.offset[after] - rows.offset[t]) * layer.ld_z * layer.k.itemsize
        t = after


cdef inline bint ends_here(Interrupt *interrupt, const Step *step, fr_int *since, fr_int rows,
                           const Layer *layer) noexcept nogil:
    """Call between two steps: whether the call must end. `since` counts the multiply-adds after the last look. The
    members of a team wait for one another, so they all end at the same step."""
    if interrupt == NULL:
        return False
    since[0] += rows * step_work(layer) + STEP_COST
    if since[0] >= LOOK_EVERY and leads(step):
        since[0] = 0
        if look(interrupt) and step.team != NULL:
            end_team(step.team)
    return ended(interrupt) if step.team == NULL else team_ended(step.team)


cdef void forward(const Layer *layer, const Rows *rows, const Run *run, bint keep, fr_team *team, int part,
                  Interrupt *interrupt) noexcept nogil:
    """h_1 .. h_T from x and the initial state; with keep also the values that BPTT needs. A team shares the columns:
    every member calls this with its own `part`. An interrupt ends it early."""
    cdef Step step = lone_step()
    cdef fr_int since = 0
    cdef fr_int ld_z = layer.ld_z, I = layer.input_size, size = layer.k.itemsize
    cdef fr_int t = 0, end, first
    cdef char *block
    cdef char *x
    step.team = team
    step.part = part
    while t < rows.steps:
        keep_apart()
        end = block_end(layer, rows, t)
        first = rows.offset[t]
        block = run.z + (first * ld_z * size if keep else 0)
        x = run.x + (first * I * size if keep or layer.window == 1 else 0)
        if layer.window > 1:
            if leads(&step):
                unfold(x, layer, rows, &run.window, t, end)
            barrier(&step)
        # z: [block, GH] = x: [block, I] W_ih^T + start
        step.rows = rows.offset[end] - first
        product(&step, matrix(block, ld_z), matrix(x, I), &layer.p_ih, matrix(layer.bias, 0))
        barrier(&step)     # a step may divide its columns in another way
        if layer.ops.scan_forward != NULL:
            scan_block(layer, rows, run, &step, block, t, end, keep)
            t = end
            barrier(&step)
            if ends_here(interrupt, &step, &since, rows.offset[end] - first, layer):
                return
            continue
        while t < end:
            set_step(&step, layer, rows, run, t, keep)
            step.z = block + (rows.offset[t] - first) * ld_z * size
            if run.noise == NULL:
                layer.ops.step_forward(layer, &step, keep)
            else:
                noisy_forward(run.noise, layer, rows, &step, t, keep)
            t += 1
            if ends_here(interrupt, &step, &since, step.rows, layer):
                return


cdef fr_int share(fr_int n, int part, int parts) noexcept nogil:
    """Start of a worker's part of n rows."""
    return n * part // parts


cdef void input_gradient(char *dx, const Layer *layer, const Run *run, const Step *step, fr_int first,
                         fr_int end) noexcept nogil:
    """Rows first .. end of dx: [N,I] = dz: [N,GH] W_ih + the skip connection's gradient; a team shares the rows."""
    cdef fr_int size = layer.k.itemsize, I = layer.input_size, count = end - first
    cdef const char *start = NULL
    if step.team != NULL:
        end = first + share(count, step.part + 1, step.team.size)
        first += share(count, step.part, step.team.size)
    if layer.skips:
        start = run.saved + first * layer.saved * size
    multiply(matrix(dx + first * I * size, I), matrix(run.z + first * layer.ld_z * size, layer.ld_z), &layer.q_ih,
             matrix(start, layer.saved), end - first)


cdef void sum_columns(const Layer *layer, const Run *run, const Step *step, fr_int first, fr_int end) noexcept nogil:
    """Add the column sums of rows first .. end of dz to the step's `sums`; a team shares the columns."""
    cdef fr_int size = layer.k.itemsize, column = 0, after = layer.gate_size
    if step.team != NULL:
        column = share(layer.gate_size, step.part, step.team.size)
        after = share(layer.gate_size, step.part + 1, step.team.size)
    layer.k.sum_rows(step.sums + column * size, run.z + (first * layer.ld_z + column) * size, layer.ld_z, end - first,
                     after - column)


cdef void whole_input_gradient(char *dx, const Layer *layer, const Rows *rows, const Run *run, const Step *step,
                               Interrupt *interrupt) noexcept nogil:
    """All rows of dx, in pieces if an interrupt may end the call."""
    cdef fr_int first = 0, piece = rows.count
    if interrupt != NULL:
        piece = max(<fr_int>PIECE_ROWS, PIECE // (layer.input_size * layer.gate_size + 1))
    while first < rows.count and not look(interrupt):
        input_gradient(dx, layer, run, step, first, min(first + piece, rows.count))
        first += piece


cdef void scan_backward(const Layer *layer, const Rows *rows, const Run *run, Step *step, char *dy, fr_int stride,
                        char *dx, Interrupt *interrupt) noexcept nogil:
    """BPTT by scans. Each covers steps of the same sequences in one block of weight gradients, and their z stays in L2
    until it is used."""
    cdef fr_int size = layer.k.itemsize, t = rows.steps, first, s, limit = block_rows(layer), since = 0
    cdef fr_scan scan
    while t > 0:
        keep_apart()
        first = t - 1
        while (first % rows.block > 0 and rows.active[first - 1] == rows.active[t - 1]
               and rows.offset[t] - rows.offset[first - 1] <= limit):
            first -= 1
        step.z = run.z + rows.offset[first] * layer.ld_z * size
        scan = place_scan(step, layer, rows, run, first, t, True)
        scan.dy = dy + rows.offset[first] * stride * size
        scan.ld_dy = stride
        step.sums = sums_at(layer, rows, run, first)
        scan.sums = step.sums + layer.gate_size * size
        scan.carry = run.dc if layer.ops.has_c else run.dh
        scan.ld_carry = layer.hidden
        scan.trace = run.dh_steps.data != NULL
        layer.ops.scan_backward(layer, &scan)
        barrier(step)
        if layer.grads.bias_ih != NULL:
            sum_columns(layer, run, step, rows.offset[first], rows.offset[t])
        if dx != NULL:
            input_gradient(dx, layer, run, step, rows.offset[first], rows.offset[t])
        if run.dh_steps.data != NULL:
            for s in range(first, t if leads(step) else first):
                scatter_step(&run.dh_steps, dy + rows.offset[s] * stride * size, stride * size, rows, s, run.reverse,
                             layer.out * size)
        if ends_here(interrupt, step, &since, rows.offset[t] - rows.offset[first], layer):
            return
        t = first


cdef void backward(const Layer *layer, const Rows *rows, const Run *run, char *dy, fr_int stride, char *dx,
                   char *dunfolded, fr_team *team, int part, Interrupt *interrupt) noexcept nogil:
    """BPTT: run.z becomes dz; run.dh and run.dc hold the gradients of the final state at first, of the initial state
    at the end.

    dy: [N, P], rows `stride` elements apart; a scan may write to it. A sequence joins at its last valid step, where
    run.dh still holds the gradient of its final state. dx: [N, W], or NULL; a layer with a window of inputs also needs
    `dunfolded`: [N, I]. A team shares the units of a scan. An interrupt ends it early.
    """
    cdef Step step = lone_step()
    cdef fr_int P = layer.out, size = layer.k.itemsize, t, since = 0
    step.dh = step.dh_in = run.dh
    step.dc = run.dc
    step.scratch = run.scratch
    step.team = team
    step.part = part
    if run.sums != NULL:
        if leads(&step):
            memset(run.sums, 0, block_count(rows) * layer.ops.sums * layer.hidden * size)
        barrier(&step)
    if layer.ops.scan_backward != NULL:
        scan_backward(layer, rows, run, &step, dy, stride, dx if layer.window == 1 else dunfolded, interrupt)
        barrier(&step)
        if layer.window > 1 and leads(&step):
            fold(dx, dunfolded, layer, rows, &run.window)
        return
    for t in range(rows.steps - 1, -1, -1):
        keep_apart()
        set_step(&step, layer, rows, run, t, True)
        step.z = run.z + rows.offset[t] * layer.ld_z * size
        layer.k.add(run.dh, P, dy + rows.offset[t] * stride * size, stride, step.rows, P)
        if run.dh_steps.data != NULL:
            scatter_step(&run.dh_steps, run.dh, P * size, rows, t, run.reverse, P * size)
        if run.sums != NULL:
            step.sums = sums_at(layer, rows, run, t)
        if run.dp != NULL:
            step.dp = run.dp + rows.offset[t] * P * size
        if run.noise == NULL:
            layer.ops.step_backward(layer, &step)
        else:
            noisy_backward(run.noise, layer, rows, &step, t)
        if ends_here(interrupt, &step, &since, step.rows, layer):
            return
    if dx != NULL:
        whole_input_gradient(dx, layer, rows, run, &step, interrupt)


cdef inline void add_product(char *dw, const Layer *layer, const char *left, fr_int ld_left, const char *right,
                             fr_int ld_right, fr_int width, fr_int m, fr_int n, const Scratch *work) noexcept nogil:
    """dw: [m, width] += left: [n, m]^T right: [n, width]."""
    if n > 0 and m > 0:
        layer.k.gemm_tn(matrix(dw, width), matrix(left, ld_left), matrix(right, ld_right), m, width, n,
                        room_in(work, layer.k.gemm_tn_work))


cdef struct Block:
    fr_int t, end       # steps
    fr_int row, count   # packed rows


cdef void bias_gradient(const Layer *layer, const Block *block, const Run *run, const Product *products, int count,
                        fr_int m, fr_int end, const Scratch *work) noexcept nogil:
    """Rows m .. end of db_ih and db_hh, at most as many as `work` has room for. Both are the column sums of dz, except
    that db_hh has the sums of `saved` for products whose left factor lies there."""
    cdef fr_int size = layer.k.itemsize, first, last
    cdef const char *z = run.z + block.row * layer.ld_z * size
    cdef const char *saved = run.saved + block.row * layer.saved * size
    cdef char *sums = room_in(work, (end - m) * size)
    cdef int i
    memset(sums, 0, (end - m) * size)
    layer.k.sum_rows(sums, z + m * size, layer.ld_z, block.count, end - m)
    layer.k.add(layer.grads.bias_ih + m * size, layer.gate_size, sums, layer.gate_size, 1, end - m)
    for i in range(count):
        first = max(m, products[i].row)
        last = min(end, products[i].row + products[i].width)
        if first >= last:
            continue
        if products[i].left_saved:
            layer.k.sum_rows(layer.grads.bias_hh + first * size, saved + (first - products[i].row) * size, layer.saved,
                             block.count, last - first)
        else:
            layer.k.add(layer.grads.bias_hh + first * size, layer.gate_size, sums + (first - m) * size,
                        layer.gate_size, 1, last - first)


cdef void recurrent_gradient(const Layer *layer, const Rows *rows, const Block *block, const Run *run,
                             const Product *p, fr_int skip, fr_int m, const Scratch *work) noexcept nogil:
    """Rows p.row + skip .. + m of dW_hh."""
    cdef fr_int size = layer.k.itemsize, P = layer.out
    cdef fr_int ld = layer.saved if p.left_saved else layer.ld_z
    cdef const char *left = (run.saved if p.left_saved else run.z) + (p.column + skip) * size
    cdef char *dw = layer.grads.weight_hh + (p.row + skip) * P * size
    cdef fr_int t = block.t, first = block.row, start
    if p.right_saved:
        add_product(dw, layer, left + first * ld * size, ld, run.saved + first * layer.saved * size, layer.saved, P, m,
                    block.count, work)
        return
    if run.noise != NULL and run.noise.h_in != NULL:
        add_product(dw, layer, left + first * ld * size, ld, run.noise.h_in + first * P * size, P, P, m, block.count,
                    work)
        return
    # As long as no sequence ends, h_{t-1} follows h_{t-2} without a gap: one product for each such stretch.
    while t < block.end:
        first = rows.offset[t]
        start = row_before(rows, t)
        t += 1
        while t < block.end and row_before(rows, t) - start == rows.offset[t] - first:
            t += 1
        add_product(dw, layer, left + first * ld * size, ld, run.h + start * P * size, P, P, m,
                    rows.offset[t] - first, work)


cdef void weight_gradient(const Layer *layer, const Rows *rows, const Run *run, fr_int block, int part, int parts,
                          const Scratch *work) noexcept nogil:
    """One worker's rows of every weight gradient of the layer, summed over the steps of one block of `rows`."""
    cdef fr_int size = layer.k.itemsize, G = layer.gate_size, H = layer.hidden
    cdef Product p[2]
    cdef fr_int m = share(G, part, parts), end = share(G, part + 1, parts), after
    cdef fr_int most = layer.k.gemm_tn_work // size     # columns that `work` has room for
    cdef int i, count = layer.ops.products(layer, p)
    cdef Block of
    of.t = block * rows.block
    of.end = min(of.t + rows.block, rows.steps)
    if of.t >= of.end:
        return
    of.row = rows.offset[of.t]
    of.count = rows.offset[of.end] - of.row
    keep_apart()
    add_product(layer.grads.weight_ih + m * layer.input_size * size, layer,
                run.z + (of.row * layer.ld_z + m) * size, layer.ld_z, run.x + of.row * layer.input_size * size,
                layer.input_size, layer.input_size, end - m, of.count, work)
    while layer.grads.bias_ih != NULL and layer.ops.sums == 0 and of.count > 0 and m < end:
        after = min(end, m + most)
        bias_gradient(layer, &of, run, p, count, m, after, work)
        m = after
    for i in range(count):
        m = share(p[i].width, part, parts)
        recurrent_gradient(layer, rows, &of, run, &p[i], m, share(p[i].width, part + 1, parts) - m, work)
    if layer.params.weight_hr != NULL:
        m = share(layer.out, part, parts)
        add_product(layer.grads.weight_hr + m * H * size, layer, run.dp + (of.row * layer.out + m) * size, layer.out,
                    run.saved + of.row * layer.saved * size, layer.saved, H, share(layer.out, part + 1, parts) - m,
                    of.count, work)
