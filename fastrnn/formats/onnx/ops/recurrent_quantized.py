"""DynamicQuantizeLSTM of com.microsoft: weights of 8 bits, and inputs that are quantised anew in each product."""

import numpy as np

from .elementwise import sigmoid, tanh
from .quantized import dynamic_quantize
from .recurrent import Attributes
from .registry import operator


class Matrix:
    """A quantised weight (K, 4H) for one direction: the product with x, itself quantised first."""

    def __init__(self, weight, scale, zero):
        self.centred = weight.astype(np.float64) - zero.astype(np.float64)
        self.scale = scale

    def __call__(self, x):
        q, scale, zero = dynamic_quantize(x)
        whole = np.matmul(q.astype(np.float64) - float(zero), self.centred)     # whole numbers, exact in float64
        return whole.astype(np.float32) * (scale * self.scale)


@operator("DynamicQuantizeLSTM", 3, 12, domain="com.microsoft", outputs=3)
def build_dynamic_quantize_lstm(node, infos):
    """The LSTM operator's equations, with W (D, I, 4H) and R (D, H, 4H) in 8 bits."""
    node.op = "LSTM"
    try:
        attributes = Attributes(node)
    finally:
        node.op = "DynamicQuantizeLSTM"
    plain = ("sigmoid",), ("tanh",), ("tanh",)
    own = plain if attributes.directions == 1 else (plain, plain)
    if attributes.options["activations"] != own or attributes.options["coupled_gates"] or infos[7].present:
        raise ValueError(f"{node.where}: expected the activations Sigmoid, Tanh and Tanh, no peepholes and "
                         "input_forget=0, "
                         "found others")
    if not all(infos[k].present for k in range(8, 12)):
        raise ValueError(f"{node.where}: expected scales and zero points of W and R, found none")
    clip = attributes.options.get("clip")

    def call(x, w, r, b, lengths, h, c, p, w_scale, w_zero, r_scale, r_zero):
        steps = x.swapaxes(0, 1) if attributes.batch_first else x
        t, batch, _ = steps.shape
        hidden, directions = r.shape[1], attributes.directions
        lengths = np.full(batch, t) if lengths is None else lengths
        if lengths.shape != (batch,) or (batch and not 0 <= lengths.min() <= lengths.max() <= t):
            raise ValueError(f"{node.where}: sequence_lens: expected {batch} lengths of 0 to {t}")
        states = [np.zeros((directions, batch, hidden), np.float32) if one is None else
                  np.array(one.swapaxes(0, 1) if attributes.batch_first else one) for one in (h, c)]
        y = np.zeros((t, directions, batch, hidden), np.float32)
        for d in range(directions):
            backwards = attributes.direction == "reverse" or d == 1
            matrices = [Matrix(weight[d], scale[d], zero[d]) for weight, scale, zero in
                        ((w, w_scale, w_zero), (r, r_scale, r_zero))]
            bias = 0 if b is None else b[d, : 4 * hidden] + b[d, 4 * hidden :]
            source = in_order(steps, lengths) if backwards else steps
            found = one_direction(source, lengths, matrices, bias, states[0][d], states[1][d], clip)
            y[:, d] = in_order(found, lengths) if backwards else found
        if attributes.batch_first:
            return (y.transpose(2, 0, 1, 3), *(one.swapaxes(0, 1) for one in states))
        return (y, *states)
    return call


def in_order(x, lengths):
    """Each sequence of x (T, B, .) from its last valid step to its first."""
    y = x.copy()
    for b, n in enumerate(lengths.tolist()):
        y[:n, b] = x[:n, b][::-1]
    return y


def one_direction(x, lengths, matrices, bias, h, c, clip):
    """y (T, B, H); h and c (B, H) become the states after each sequence's last step."""
    t, batch, features = x.shape
    y = np.zeros((t, batch, h.shape[-1]), np.float32)
    if not t or not batch:
        return y
    inputs = matrices[0](x.reshape(-1, features)).reshape(t, batch, -1)
    for k in range(t):
        z = inputs[k] + matrices[1](h) + bias
        if clip is not None:
            z = np.clip(z, -clip, clip)
        i, o, f, g = np.split(z, 4, 1)
        new_c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        new_h = sigmoid(o) * tanh(new_c)
        valid = (k < lengths)[:, None]
        c[...], h[...] = np.where(valid, new_c, c), np.where(valid, new_h, h)
        y[k] = np.where(valid, new_h, 0)
    return y
