"""Runners whose recurrence is elementwise: MinGRU, MinLSTM, SRU and QRNN, for long sequences.

No matrix acts on their state, so one product serves many steps, and the rest is a scan over time.
"""

import math
from typing import TYPE_CHECKING

from ..check.values import check_number, check_positive_int, shown
from .options import check_direction
from .runners import COMMON, Runner

if TYPE_CHECKING:
    from .._types import DType, Init, Seed


class Elementwise(Runner, base=True):
    """Base of the runners of this file; their use is that of `fastrnn.GRU`."""

    def _setup(self, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype, seed, init,
               recompute, **cell):
        self.direction = check_direction("forward", bidirectional)
        super()._setup(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype, seed,
                       init, (0.0, 0.0, 0.0), recompute, **cell)

    def _set_dropout(self, recurrent_dropout, zoneout, weight_dropout):
        probabilities = {"recurrent_dropout": recurrent_dropout, "zoneout": zoneout, "weight_dropout": weight_dropout}
        for name, value in probabilities.items():
            if value != 0:
                raise ValueError(f"{name}: expected 0 for {type(self).__name__}, which has no recurrent product; "
                                 f"found {shown(value)}")
        self._probabilities = (0.0, 0.0, 0.0)


_SHARED = COMMON + """    dtype : "float32" or "float64"
    seed : int, SeedSequence, Generator or None
        Source of the initial parameters and the masks.
    recompute : bool
        As for `fastrnn.LSTM`.
    init : str or dict
        As for `fastrnn.LSTM`; there are no recurrent matrices, and no forget bias is added.

    Notes
    -----
    A state is {state}.
    ``params`` of each layer and direction, the reverse direction with suffix _reverse: {params}.
    "gates" of ``activations``: {gates}.
"""
_MINIMAL = {"own": "", "state": "h (L*D, B, H)"}


class MinGRU(Elementwise):
    __doc__ = """Minimal gated recurrent unit (Feng et al. 2024, "Were RNNs all we needed?", arXiv 2410.01201).

    z_t = sigmoid(W_z x_t + b_z)
    n_t = g(W_n x_t + b_n),  g(a) = a + 1/2 where a >= 0, else sigmoid(a)
    h_t = (1 - z_t) * h_{t-1} + z_t * n_t

    This is the paper's log-space form: g keeps the candidate above 0 (the paper's first form has
    n_t = W_n x_t + b_n). h_0 is used as it is, as in the paper's sequential mode.
""" + _SHARED.format(**_MINIMAL, params="weight_ih_l0 (2*H, I), bias_ih_l0 (2*H,), in the order z, n", gates="z, n")

    kind = "MinGRU"

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, *, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
                 dtype: "DType" = "float32", seed: "Seed" = None, init: "Init" = "default",
                 recompute: bool = False) -> None:
        self._setup(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype, seed, init,
                    recompute)


class MinLSTM(Elementwise):
    __doc__ = """Minimal long short-term memory (Feng et al. 2024, "Were RNNs all we needed?", arXiv 2410.01201).

    f_t, i_t = sigmoid(W_f x_t + b_f), sigmoid(W_i x_t + b_i)
    n_t  = g(W_n x_t + b_n),  g(a) = a + 1/2 where a >= 0, else sigmoid(a)
    f'_t = f_t / (f_t + i_t),  i'_t = i_t / (f_t + i_t)
    h_t  = f'_t * h_{t-1} + i'_t * n_t

    This is the paper's log-space form, with normalised gates, and with g as for `MinGRU`. It has neither an output
    gate nor a second state. h_0 is used as it is, as in the paper's sequential mode.
""" + _SHARED.format(**_MINIMAL, params="weight_ih_l0 (3*H, I), bias_ih_l0 (3*H,), in the order f, i, n",
                     gates="f', i', n")

    kind = "MinLSTM"

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, *, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
                 dtype: "DType" = "float32", seed: "Seed" = None, init: "Init" = "default",
                 recompute: bool = False) -> None:
        self._setup(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype, seed, init,
                    recompute)


class SRU(Elementwise):
    __doc__ = """Simple recurrent unit (Lei et al. 2018, "Simple recurrent units for highly parallelizable recurrence",
    arXiv 1709.02755), with its scaling correction.

    f_t = sigmoid(W_f x_t + v_f * c_{t-1} + b_f)
    r_t = sigmoid(W_r x_t + v_r * c_{t-1} + b_r)
    c_t = f_t * c_{t-1} + (1 - f_t) * (W x_t)
    h_t = r_t * c_t + (1 - r_t) * s_t
    s_t = scale * x_t, or scale * W_s x_t if a layer's input is not as wide as its state
    scale = sqrt(1 + 2 exp(highway_bias))
""" + _SHARED.format(own="""    highway_bias : float
        Initial value of b_r: the lower, the more of a layer's input bypasses the layer. It also sets the scale.
""", state="c (L*D, B, H)", params="""weight_ih_l0 (3*H, I) in the order W, W_f,
    W_r, or (4*H, I) with W_s at the end; weight_c_l0 (2*H,), v_f and v_r; bias_ih_l0 (2*H,), b_f and b_r""",
                     gates='W x, f, r, and "c"')

    kind = "SRU"

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, *, highway_bias: float = 0.0,
                 bias: bool = True, batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
                 dtype: "DType" = "float32", seed: "Seed" = None, init: "Init" = "default",
                 recompute: bool = False) -> None:
        self.highway_bias = check_number(highway_bias, "highway_bias", low=-50, high=50)
        if self.highway_bias and not bias:
            raise ValueError(f"highway_bias: expected 0 with bias=False, found {highway_bias}")
        self._setup(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype, seed, init,
                    recompute, skip_scale=math.sqrt(1 + 2 * math.exp(self.highway_bias)))
        for name, values in self._params.items():
            if name.startswith("bias_ih"):
                values[self.hidden_size:] += self.highway_bias


class QRNN(Elementwise):
    __doc__ = """Quasi-recurrent network with fo-pooling (Bradbury et al. 2017, "Quasi-recurrent neural networks",
    arXiv 1611.01576).

    u_t = tanh(W_u^1 x_{t-k+1} + ... + W_u^k x_t + b_u)
    f_t = sigmoid(W_f^1 x_{t-k+1} + ... + W_f^k x_t + b_f),  o_t likewise
    c_t = f_t * c_{t-1} + (1 - f_t) * u_t
    h_t = o_t * c_t

    The convolution is causal; the state holds the inputs before a sequence. (The reverse direction of a bidirectional
    layer goes from the last valid step to the first, so its window covers the steps after t.)
""" + _SHARED.format(own="""    window : int
        k, the number of inputs that a step reads.
""", state="""a tuple (c, w), or with window=1 c alone: c (L*D, B, H), and w (L*D, B, (k-1)*W) the last k - 1 inputs
    of each layer and direction, oldest first, and after them zeros; W is the width of the widest layer's inputs""",
                     params="""weight_ih_l0 (3*H, k*I), [W^1 ... W^k] for u, f and o in
    turn; bias_ih_l0 (3*H,)""", gates='u, f, o, and "c"')

    kind = "QRNN"

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, *, window: int = 2, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
                 dtype: "DType" = "float32", seed: "Seed" = None, init: "Init" = "default",
                 recompute: bool = False) -> None:
        self.window = self._window = check_positive_int(window, "window")
        if self.window == 1:
            self._state = ("c",)    # no inputs before the first step
        self._setup(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype, seed, init,
                    recompute, window=self.window)

    def _part_width(self, part):
        if part == "w":
            widths = (self.input_size, self.output_size)[:self.num_layers]
            return (self.window - 1) * max(widths)
        return super()._part_width(part)
