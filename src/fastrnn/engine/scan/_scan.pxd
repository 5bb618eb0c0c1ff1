"""Shared code of the cells whose products do not depend on the state: minGRU, minLSTM, SRU and QRNN.

Their only product is the input's, one for a block of steps, so one pass over the weights serves the whole block. The
rest is elementwise, and one kernel call does many steps of it (`fr_scan`). In BPTT `sums` begins with the column sums
of dz, [GH].
"""

from fastrnn.engine.cells._cell cimport Arena, CellOps, Layer, Product, Step, no_cell, summed_bias
from fastrnn.engine.runtime._kernels cimport fr_int, fr_scan
from fastrnn.engine.runtime._panels cimport pack_columns, pack_rows, panel_share


cdef inline fr_scan scan_of(const Layer *layer, const Step *step, fr_int steps, fr_int step_h,
                            bint keep) noexcept nogil:
    """A scan over `steps` steps, of which `step` is the first; step_h: elements from one step's h to the next."""
    cdef fr_scan scan
    cdef fr_int H = layer.hidden
    scan.steps = steps
    scan.rows = step.rows
    scan.hidden = H
    scan.keep = keep
    scan.trace = False
    scan.z = step.z
    scan.ld_z = layer.ld_z
    scan.saved = step.saved if layer.saved > 0 else NULL
    scan.ld_saved = layer.saved
    scan.out = NULL
    scan.ld_out = scan.step_out = 0
    if layer.ops.has_c:
        scan.state = step.c
        scan.before = step.c_prev
        scan.ld_state = scan.ld_before = H
        scan.step_state = step.rows * H if keep else 0
        scan.out = step.h
        scan.ld_out = step.ld_h
        scan.step_out = step_h
    else:
        scan.state = step.h
        scan.before = step.h_prev
        scan.ld_state = step.ld_h
        scan.ld_before = step.ld_h_prev
        scan.step_state = step_h
    scan.skip = NULL
    scan.ld_skip = 0
    scan.skip_scale = layer.skip_scale
    scan.weight = layer.params.weight_c
    scan.dy = scan.carry = NULL
    scan.ld_dy = scan.ld_carry = 0
    scan.sums = NULL
    # A team shares the units in whole panels, so only the last member has an incomplete vector.
    scan.first = 0
    scan.end = H
    if step.team != NULL:
        scan.first = panel_share(H, layer.k.own.width, step.part, step.team.size)
        scan.end = panel_share(H, layer.k.own.width, step.part + 1, step.team.size)
    return scan


cdef inline void pack_input(Layer *layer, Arena *arena) noexcept nogil:
    layer.bias = summed_bias(arena, layer, layer.gate_size, layer.params.bias_ih, NULL)
    layer.p_ih = pack_rows(arena, layer.k, layer.params.weight_ih, layer.gate_size, layer.input_size)


cdef inline void pack_input_transposed(Layer *layer, Arena *arena) noexcept nogil:
    layer.q_ih = pack_columns(arena, layer.k, layer.params.weight_ih, layer.input_size, layer.gate_size)


cdef inline void add_bias_sums(const Layer *layer, const char *sums) noexcept nogil:
    if layer.grads.bias_ih != NULL:
        layer.k.add(layer.grads.bias_ih, layer.gate_size, sums, layer.gate_size, 1, layer.gate_size)


cdef inline int no_products(const Layer *layer, Product *products) noexcept nogil:
    return 0


cdef inline CellOps scan_cell(int gates) noexcept nogil:
    """The functions of a cell with one input product and a bias for each gate; it fills in its own."""
    cdef CellOps ops = no_cell()
    ops.gates = gates
    ops.sums = gates
    ops.direct = True
    ops.pack_forward = &pack_input
    ops.pack_backward = &pack_input_transposed
    ops.products = &no_products
    ops.add_sums = &add_bias_sums
    return ops
