"""Gated recurrent unit, in its two published forms.

    r, z = sigmoid(W_i* x_t + b_i* + W_h* h_{t-1} + b_h*)
    n = tanh(W_in x_t + b_in + r * (W_hn h_{t-1} + b_hn))        reset after (cuDNN, PyTorch)
    n = tanh(W_in x_t + b_in + W_hn (r * h_{t-1}) + b_hn)        reset before (Cho et al. 2014)
    h_t = (1 - z) * n + z * h_{t-1}

    dn = dh_t * (1 - z) * (1 - n^2)          dz_z = dh_t * (h_{t-1} - n) * z (1 - z)
    after:   dz_r = dn * (W_hn h_{t-1} + b_hn) * r (1 - r)     the recurrent part of n receives dn * r
             dh_{t-1} = dh_t * z + [dz_r dz_z] W_h[rz] + (dn * r) W_hn
    before:  drh = dn W_hn        dz_r = drh * h_{t-1} * r (1 - r)
             dh_{t-1} = dh_t * z + drh * r + [dz_r dz_z] W_h[rz]

Gate order in memory: r, z, n. `saved` keeps W_hn h_{t-1} + b_hn: [R,H] (after), or r * h_{t-1}: [R,H] (before).
The two biases of n stay apart in the reset-after form.
"""

from fastrnn.engine.cells._cell cimport (
    Arena, Layer, Product, Step, leads, barrier, no_cell, product, summed_bias, unit_room
)
from fastrnn.engine.cells._kind cimport Kind
from fastrnn.engine.runtime._kernels cimport fr_int, fr_matrix
from fastrnn.engine.runtime._panels cimport matrix, multiply, pack_columns, pack_rows, zero


cdef inline const char *rows_of_n(const Layer *layer, const char *w, fr_int width) noexcept nogil:
    """The part of w: [3H, width] that belongs to n; NULL stays NULL."""
    return w + 2 * layer.hidden * width * layer.k.itemsize if w != NULL else NULL


cdef inline char *block_n(const Layer *layer, char *z) noexcept nogil:
    return z + 2 * layer.hidden * layer.k.itemsize


cdef void pack_recurrent(Layer *layer, Arena *arena) noexcept nogil:
    cdef fr_int H = layer.hidden
    layer.p_ih = pack_rows(arena, layer.k, layer.params.weight_ih, 3 * H, layer.input_size)
    layer.p_hh = pack_rows(arena, layer.k, layer.params.weight_hh, 2 * H, H)
    layer.p_hn = pack_rows(arena, layer.k, rows_of_n(layer, layer.params.weight_hh, H), H, H)


cdef void pack_forward_after(Layer *layer, Arena *arena) noexcept nogil:
    cdef fr_int H = layer.hidden
    layer.bias = summed_bias(arena, layer, 3 * H, layer.params.bias_ih, NULL)
    if layer.bias != NULL and layer.params.bias_hh != NULL:
        layer.k.add(layer.bias, 2 * H, layer.params.bias_hh, 2 * H, 1, 2 * H)
    layer.bias_n = summed_bias(arena, layer, H, rows_of_n(layer, layer.params.bias_hh, 1), NULL)
    pack_recurrent(layer, arena)


cdef void pack_forward_before(Layer *layer, Arena *arena) noexcept nogil:
    layer.bias = summed_bias(arena, layer, layer.gate_size, layer.params.bias_ih, layer.params.bias_hh)
    pack_recurrent(layer, arena)


cdef void pack_backward(Layer *layer, Arena *arena) noexcept nogil:
    cdef fr_int H = layer.hidden
    layer.q_ih = pack_columns(arena, layer.k, layer.params.weight_ih, layer.input_size, 3 * H)
    layer.q_hh = pack_columns(arena, layer.k, layer.params.weight_hh, H, 2 * H)
    layer.q_hn = pack_columns(arena, layer.k, rows_of_n(layer, layer.params.weight_hh, H), H, H)


cdef void step_forward_after(const Layer *layer, const Step *s, bint keep) noexcept nogil:
    cdef fr_int H = layer.hidden
    cdef fr_matrix z = matrix(s.z, layer.ld_z), h_in = matrix(s.h_in, s.ld_h_in)
    # z[:, :2H] += h_in: [R,H] W_h[rz]^T;   hn: [R,H] = h_in W_hn^T + b_hn
    product(s, z, h_in, &layer.p_hh, z)
    product(s, matrix(s.saved, H), h_in, &layer.p_hn, matrix(layer.bias_n, 0))
    barrier(s)
    if leads(s):
        layer.k.gru_forward(s.h, s.ld_h, s.z, layer.ld_z, s.saved, H, s.h_prev, s.ld_h_prev, s.rows, H)
    barrier(s)


cdef void step_backward_after(const Layer *layer, const Step *s) noexcept nogil:
    cdef fr_int H = layer.hidden
    cdef fr_matrix dh_in = matrix(s.dh_in, H)
    layer.k.gru_backward(s.z, layer.ld_z, s.saved, H, s.dh, H, s.h_prev, s.ld_h_prev, s.rows, H)
    # dh_in: [R,H] += dz[:, :2H] W_h[rz] + dhn: [R,H] W_hn
    multiply(dh_in, matrix(s.z, layer.ld_z), &layer.q_hh, dh_in, s.rows)
    multiply(dh_in, matrix(s.saved, H), &layer.q_hn, dh_in, s.rows)


cdef void step_forward_before(const Layer *layer, const Step *s, bint keep) noexcept nogil:
    cdef fr_int H = layer.hidden
    cdef fr_matrix z = matrix(s.z, layer.ld_z), z_n = matrix(block_n(layer, s.z), layer.ld_z)
    cdef fr_matrix h_in = matrix(s.h_in, s.ld_h_in)
    # z[:, :2H] += h_in: [R,H] W_h[rz]^T;   z[:, 2H:] += (r * h_in): [R,H] W_hn^T
    product(s, z, h_in, &layer.p_hh, z)
    barrier(s)
    if leads(s):
        layer.k.gru_reset(s.saved, H, s.z, layer.ld_z, s.h_in, s.ld_h_in, s.rows, H)
    barrier(s)
    product(s, z_n, matrix(s.saved, H), &layer.p_hn, z_n)
    barrier(s)
    if leads(s):
        layer.k.gru_update(s.h, s.ld_h, s.z, layer.ld_z, s.h_prev, s.ld_h_prev, s.rows, H)
    barrier(s)


cdef void step_backward_before(const Layer *layer, const Step *s) noexcept nogil:
    cdef fr_int H = layer.hidden
    cdef char *drh = unit_room(layer, s)
    cdef fr_matrix dh_in = matrix(s.dh_in, H)
    layer.k.gru_update_backward(s.z, layer.ld_z, s.dh, H, s.h_prev, s.ld_h_prev, s.rows, H)
    # drh: [R,H] = dn: [R,H] W_hn
    multiply(matrix(drh, H), matrix(block_n(layer, s.z), layer.ld_z), &layer.q_hn, zero(), s.rows)
    layer.k.gru_reset_backward(s.z, layer.ld_z, s.dh_in, H, drh, H, s.h_in, s.ld_h_in, s.rows, H)
    # dh_in: [R,H] += dz[:, :2H] W_h[rz]
    multiply(dh_in, matrix(s.z, layer.ld_z), &layer.q_hh, dh_in, s.rows)


cdef int products_after(const Layer *layer, Product *p) noexcept nogil:
    cdef fr_int H = layer.hidden
    p[0] = Product(False, 0, 0, 2 * H, False)
    p[1] = Product(True, 0, 2 * H, H, False)
    return 2


cdef int products_before(const Layer *layer, Product *p) noexcept nogil:
    cdef fr_int H = layer.hidden
    p[0] = Product(False, 0, 0, 2 * H, False)
    p[1] = Product(False, 2 * H, 2 * H, H, True)
    return 2


gru_after_ops = no_cell()
gru_after_ops.gates = 3
gru_after_ops.saved = 1
gru_after_ops.direct = True
gru_after_ops.pack_forward = &pack_forward_after
gru_after_ops.pack_backward = &pack_backward
gru_after_ops.step_forward = &step_forward_after
gru_after_ops.step_backward = &step_backward_after
gru_after_ops.products = &products_after

gru_before_ops = gru_after_ops
gru_before_ops.pack_forward = &pack_forward_before
gru_before_ops.step_forward = &step_forward_before
gru_before_ops.step_backward = &step_backward_before
gru_before_ops.products = &products_before

cdef Kind kind = Kind(
    "GRU", states="h", activations="sigmoid tanh", keras="z r n", onnx="z r n",
    gates=[("r", "reset"), ("z", "update", "sigmoid", True), ("n", "new", "tanh")],
    parameters=[
        ("weight_ih", ("gates", "input"), "input"),
        ("weight_hh", ("gates", "out"), "recurrent"),
        ("bias_ih", ("gates",), "bias", "bias"),
        ("bias_hh", ("gates",), "bias", "bias"),
        ("gain_ih", ("gates",), "ones", "layer_norm"),
        ("gain_hh", ("gates",), "ones", "layer_norm"),
    ],
)
kind.serve(&gru_after_ops)
kind.serve(&gru_before_ops, "reset_before")
GRU = kind
