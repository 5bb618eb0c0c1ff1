"""Seeing the gradients of a recurrent network: how far back they reach, what stops them, and what to do about it.

`diagnose` measures a model once; `GradientMonitor` does so while a `Trainer` fits, and leaves the training as it is,
bit for bit. Both give a `Diagnosis`: numbers, tables (``print``), a written verdict, and pictures (``pip install
"fastrnn[plot]"``).

What is measured
----------------
Decay
    Let E be the loss at the end of a sequence: what its last valid step puts out, or its first for a reverse
    direction. g(k) is the norm of dE/dh_t at k steps from there, root mean square over the sequences, for every layer
    and direction. Its fall or growth is that of the products of Jacobians dh_t/dh_{t-1} of Hochreiter (1991) and of
    Pascanu, Mikolov and Bengio (2013), along all paths that the network has.
Gates
    Histograms of all gate values, the share of them that is left- and right-saturated (under 0.1 and over 0.9; as in
    Karpathy, Johnson and Fei-Fei 2015), and the share of units that are stuck (see below). For a tanh network the
    same of its h, on the scale (1 + h) / 2, for a ReLU network the share of dead units.
Spectra
    The spectral radius and the largest singular value of each recurrent matrix, a gate's at a time.
Weights
    For each layer the norm of its gradient and, in a `GradientMonitor`, of the last update over the norm of its
    parameters.

When the verdict says what
--------------------------
The limits are those of `fastrnn.diagnostics.criteria`.

vanishing
    g stays under g(1) / 1000 from k steps on. The step from h into an LSTM's c is taken once, not at each step: so
    g(1) is what a longer way is compared with, not g(0). The layer cannot learn from what lies further back; another,
    in whose state the gradient lives on, may: the verdict names it.
exploding
    g comes over 1000 g(1), or is not finite, first at k steps.
saturated
    More than half of a gate's units are stuck: in 95 % of the steps the slope of their sigmoid or tanh is under a
    hundredth of the largest, so that their own gradient all but vanishes. For the open side of forget and update
    gates, which holds what a unit remembers, a thousandth.
dead
    More than half of the units of a ReLU layer are 0 at every step of every sequence.
updates
    The last update was more than a tenth, or less than a hundred-thousandth, of the parameters' norm: two orders of
    magnitude from the thousandth that Hinton (2012) recommends.
not finite, no gradient
    The loss is not a finite number; no gradient comes to the last recurrent layer.
healthy
    None of these.

For the causes it names: a largest singular value of W_hh under 1 suffices for the gradient of a tanh or ReLU network
to vanish, and one over 1 is necessary for it to explode (Pascanu et al. 2013, section 2.1); with a spectral radius
under 1 the powers of W_hh shrink in the end, whatever its norm; an LSTM's c passes its gradient on multiplied by the
forget gate, a GRU's h by the update gate.

References
----------
Hochreiter (1991), Untersuchungen zu dynamischen neuronalen Netzen. Pascanu, Mikolov, Bengio (2013), On the difficulty
of training recurrent neural networks. Karpathy, Johnson, Fei-Fei (2015), Visualizing and understanding recurrent
networks. Hinton (2012), A practical guide to training restricted Boltzmann machines. Tallec, Ollivier (2018), Can
recurrent neural networks warp time?
"""

from .diagnose import diagnose
from .findings import Finding
from .measures import Decay, Gate, Spectrum, spectrum
from .monitor import GradientMonitor
from .plot import plot_decays
from .report import Diagnosis, Layer, Weights, decay_table

__all__ = [
    "Decay",
    "Diagnosis",
    "Finding",
    "Gate",
    "GradientMonitor",
    "Layer",
    "Spectrum",
    "Weights",
    "decay_table",
    "diagnose",
    "plot_decays",
    "spectrum",
]
