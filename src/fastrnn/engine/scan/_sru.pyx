"""Simple recurrent unit (Lei et al. 2018, arXiv 1709.02755).

    f_t = sigmoid(W_f x_t + v_f * c_{t-1} + b_f)
    r_t = sigmoid(W_r x_t + v_r * c_{t-1} + b_r)
    c_t = f_t * c_{t-1} + (1 - f_t) * W x_t
    h_t = r_t * c_t + (1 - r_t) * s_t                    s_t = scale * x_t, or scale * W_s x_t if I is not H

    dc_t += dh_t * r_t                                   ds_t = dh_t * (1 - r_t)
    da_r = dh_t * (c_t - s_t) * r_t (1 - r_t)            da_f = dc_t * (c_{t-1} - W x_t) * f_t (1 - f_t)
    d(W x_t) = dc_t * (1 - f_t)
    dc_{t-1} = dc_t * f_t + da_f * v_f + da_r * v_r      dv_f += da_f * c_{t-1}        dv_r += da_r * c_{t-1}

Order in memory: W x, f, r, and W_s x if there is one; of v and of the biases: f, r. If s_t is scale * x_t, `saved`
holds the gradient of x_t through s_t after BPTT: [R,H]. `sums` ends with the gradient of v: [2H].
"""

from libc.string cimport memcpy, memset

from fastrnn.engine.cells._cell cimport CellOps, Arena, Layer, no_cell
from fastrnn.engine.cells._kind cimport Kind
from fastrnn.engine.runtime._kernels cimport fr_int, fr_scan
from fastrnn.engine.runtime._panels cimport pack_rows
from fastrnn.engine.scan._scan cimport no_products, pack_input_transposed
from fastrnn.engine.runtime._workspace cimport take_array

cdef inline char *block(const Layer *layer, const void *values, fr_int number) noexcept nogil:
    return <char *>values + number * layer.hidden * layer.k.itemsize


cdef void pack_state_weights(Layer *layer, Arena *arena) noexcept nogil:
    """Copy v for the scans, because the parameters may change while they run."""
    cdef fr_int nbytes = 2 * layer.hidden * layer.k.itemsize
    cdef char *copied = take_array(arena, 2, layer.hidden, layer.k.itemsize)
    if copied != NULL:
        memcpy(copied, layer.params.weight_c, nbytes)
        layer.params.weight_c = copied


cdef void pack_backward(Layer *layer, Arena *arena) noexcept nogil:
    pack_state_weights(layer, arena)
    pack_input_transposed(layer, arena)


cdef void pack_forward(Layer *layer, Arena *arena) noexcept nogil:
    cdef fr_int size = layer.k.itemsize
    layer.bias = take_array(arena, layer.gate_size, 1, size)
    if layer.bias != NULL:
        memset(layer.bias, 0, layer.gate_size * size)
        if layer.params.bias_ih != NULL:
            memcpy(block(layer, layer.bias, 1), layer.params.bias_ih, 2 * layer.hidden * size)
    layer.p_ih = pack_rows(arena, layer.k, layer.params.weight_ih, layer.gate_size, layer.input_size)
    pack_state_weights(layer, arena)


cdef void scan_forward(const Layer *layer, fr_scan *scan) noexcept nogil:
    layer.k.sru_forward(scan)


cdef void scan_backward(const Layer *layer, fr_scan *scan) noexcept nogil:
    layer.k.sru_backward(scan)


cdef inline void aim_at_projection(const Layer *layer, fr_scan *scan) noexcept nogil:
    scan.skip = scan.saved = block(layer, scan.z, 3)
    scan.ld_skip = scan.ld_saved = layer.ld_z


cdef void projected_forward(const Layer *layer, fr_scan *scan) noexcept nogil:
    aim_at_projection(layer, scan)
    layer.k.sru_forward(scan)


cdef void projected_backward(const Layer *layer, fr_scan *scan) noexcept nogil:
    aim_at_projection(layer, scan)
    layer.k.sru_backward(scan)


cdef void add_sums(const Layer *layer, const char *sums) noexcept nogil:
    cdef fr_int n = 2 * layer.hidden
    layer.k.add(layer.grads.weight_c, n, block(layer, sums, layer.ops.gates), n, 1, n)
    if layer.grads.bias_ih != NULL:
        layer.k.add(layer.grads.bias_ih, n, block(layer, sums, 1), n, 1, n)


cdef CellOps sru_ops, sru_projected_ops
sru_ops = no_cell()
sru_ops.gates = 3
sru_ops.saved = 1
sru_ops.sums = 5
sru_ops.has_c = True
sru_ops.direct = True
sru_ops.pack_forward = &pack_forward
sru_ops.pack_backward = &pack_backward
sru_ops.products = &no_products
sru_ops.add_sums = &add_sums
sru_ops.scan_forward = &scan_forward
sru_ops.scan_backward = &scan_backward

sru_projected_ops = sru_ops
sru_projected_ops.gates = 4
sru_projected_ops.saved = 0
sru_projected_ops.sums = 6
sru_projected_ops.scan_forward = &projected_forward
sru_projected_ops.scan_backward = &projected_backward

cdef Kind kind = Kind(
    "SRU", states="c", gates=[("x", "candidate", None), ("f", "forget", "sigmoid", True), ("r", "reset")],
    parameters=[
        ("weight_ih", ("gates", "input"), "input"),
        ("weight_c", ("f r",), "vector"),
        ("bias_ih", ("f r",), "bias", "bias"),
    ],
)
kind.serve(&sru_ops, "square")
kind.serve(&sru_projected_ops)
SRU = kind
