"""Output layers for large vocabularies, which score each target without the scores of all classes."""

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np

from ...check.arrays import check_features, check_gradient, in_range, int_array
from ...check.sequences import check_lengths
from ...check.states import check_no_state
from ...check.values import check_bool, check_entries_of, check_number, check_option, check_positive_int, shown
from ...engine.ops import _embedding, _loss, _products
from ...engine.runtime._arrays import Pinned, room
from .. import _init
from ..module import ArrayDict, Compound, Module, Tape, open_tape
from .axes import rows, time_major, valid_steps
from .base import LayerStream
from .linear import Linear
from .softmax import log_softmax

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..._types import Array, ArrayLike, DType, Ints, LayerInit, Seed, State

# Logits that are computed at a time where no gradient follows: 32 MB of float32.
LOGITS = 1 << 23


class TargetSoftmax(Module, base=True):
    """Base of output layers that give the logarithm of the softmax.

    Without targets y (..., K) has the logarithms of all classes' probabilities; with targets (...) y (...) has those of
    the targets alone. Train with the loss `fastrnn.losses.nll`: the `Trainer` hands the targets over.

    A subclass defines ``_scores(x)``, the logarithms of all classes; ``_likelihood(x, target)``, those of the targets;
    and ``_trained(x, target)`` and ``_gradient(dy, *kept)``, which returns dx; x is (N, in_features), target (N,).

    Attributes
    ----------
    batch_first : bool
        A `Sequential` around this layer sets it.
    """

    takes_ids = False
    saves_output = False
    scores_target = True
    in_features: int
    n_classes: int
    assignable = (("batch_first", check_bool),)

    @property
    def training_width(self) -> int:
        """Numbers that a training pass keeps for each row of x."""
        raise NotImplementedError

    def __call__(self, x: "ArrayLike", lengths: "Ints | None" = None, target: "Ints | None" = None) -> "Array":
        """The logarithms of probabilities, in inference.

        Parameters
        ----------
        x : array (..., in_features)
        lengths : sequence of B ints, optional
            Targets beyond them are not read, and have 0.
        target : int array (...), optional
            Classes, in 0 .. n_classes - 1.

        Returns
        -------
        array (..., n_classes), or with a target (...)
        """
        with self._gate:
            x = check_features(x, "x", self.in_features, self.dtype)
            if target is None:
                return self._scores(rows(x)).reshape(*x.shape[:-1], self.n_classes)
            counted, target = self._targets(x, target, lengths)
            y = np.zeros(math.prod(x.shape[:-1]), self.dtype)
            y[counted] = self._likelihood(rows(x)[counted], target)
            return y.reshape(x.shape[:-1])

    def forward(self, x: "ArrayLike", state: None = None, lengths: "Ints | None" = None,
                target: "Ints | None" = None) -> "tuple[Array, None, Tape]":
        """Returns (logarithms of the targets' probabilities, None, tape); arguments as for a call, with a target."""
        check_no_state(state, "state", self)
        if target is None:
            raise TypeError(f"target: expected the classes, as {type(self).__name__} is trained on their scores alone; "
                            "found None")
        x = check_features(x, "x", self.in_features, self.dtype)
        counted, target = self._targets(x, target, lengths)
        y = np.zeros(math.prod(x.shape[:-1]), self.dtype)
        y[counted], *kept = self._trained(rows(x)[counted], target)
        return y.reshape(x.shape[:-1]), None, Tape(self, x.shape, counted, kept)

    def backward(self, tape: "Tape", dy: "ArrayLike | None" = None, dstate: "State" = None) -> "tuple[Array, None]":
        """Adds to `grads` and returns (dx, None)."""
        shape, counted, kept = open_tape(tape, self)
        check_no_state(dstate, "dstate", self)
        dy = check_gradient(dy, shape[:-1], self.dtype)
        self._intact()
        tape.take()
        dx = np.zeros((math.prod(shape[:-1]), self.in_features), self.dtype)
        dx[counted] = self._gradient(dy.reshape(-1)[counted], *kept)
        return dx.reshape(shape), None

    def stream(self, batch_size: int = 1) -> "LayerStream":
        """A session that takes one step at a time and gives the logarithms of all classes."""
        check_positive_int(batch_size, "batch_size")
        return LayerStream(self)

    def _intact(self):
        """Raise if the memory of parameters or gradients is not as it was made."""

    def _targets(self, x, target, lengths):
        """(the rows that count: an index, their targets)."""
        target = int_array(target, "target")
        if target.shape != x.shape[:-1]:
            raise ValueError(f"target: expected shape {x.shape[:-1]}, a class for each row of x; found {target.shape}")
        counted = slice(None)
        if lengths is not None:
            if x.ndim != 3:
                raise ValueError(f"lengths: expected None for x of shape {x.shape}, found lengths")
            steps = time_major(x, self.batch_first)
            valid = valid_steps(steps, check_lengths(lengths, steps.shape[1], steps.shape[0]))[..., 0]
            counted = (valid.T if self.batch_first else valid).reshape(-1)
        return counted, in_range(target.reshape(-1)[counted], "target", self.n_classes, None)


class AdaptiveSoftmax(TargetSoftmax, Compound):
    """Adaptive softmax (Grave et al. 2017): frequent classes in a short head, rare ones in clusters of less width.

    The head scores the classes below cutoffs[0] and the clusters; cluster i scores its classes from x projected to
    in_features / div_value^(i+1) features. log p(k) is the head's log p(k), or log p(cluster) + log p(k | cluster).
    Only the clusters of the batch's targets are computed.

    Parameters
    ----------
    in_features, n_classes : int
    cutoffs : sequence of int
        Where clusters begin, rising, between 1 and n_classes - 1. Classes are sorted by falling frequency, 0 the most
        frequent.
    div_value : float, above 0
    head_bias : bool
    dtype : "float32" or "float64"
    seed : int, SeedSequence, Generator or None
    init : initialiser of all weights; see `Linear`
    batch_first : bool
        Layout of x; a `Sequential` around this layer sets it.

    Notes
    -----
    ``params`` have the names and shapes of torch.nn.AdaptiveLogSoftmaxWithLoss: head.weight (cutoffs[0] + clusters,
    in_features), perhaps head.bias, tail.i.0.weight (width, in_features), tail.i.1.weight (classes, width).

    Examples
    --------
    >>> import numpy as np, fastrnn
    >>> net = fastrnn.Sequential(fastrnn.LSTM(8, 16), fastrnn.AdaptiveSoftmax(16, 1000, [50, 200]))
    >>> x, y = np.zeros((4, 5, 8), "float32"), np.zeros((4, 5), int)
    >>> history = fastrnn.Trainer(net, loss="nll").fit(x, y, progress=False)
    """

    def __init__(self, in_features: int, n_classes: int, cutoffs: "Sequence[int]", div_value: float = 4.0, *,
                 head_bias: bool = False, dtype: "DType" = "float32", seed: "Seed" = None,
                 init: "LayerInit" = "default", batch_first: bool = False) -> None:
        super().__init__(dtype, seed)
        self.in_features = check_positive_int(in_features, "in_features")
        self.n_classes = check_positive_int(n_classes, "n_classes", low=2)
        self.cutoffs = _rising(cutoffs, self.n_classes)
        self.div_value = check_number(div_value, "div_value", above=0)
        self.head_bias = check_bool(head_bias, "head_bias")
        self.init = init
        self.batch_first = batch_first
        widths = [int(self.in_features // self.div_value ** (i + 1)) for i in range(len(self.cutoffs))]
        if widths[-1] < 1:
            raise ValueError(f"div_value: expected one that leaves the last cluster a feature of {self.in_features}, "
                             f"found {self.div_value} for {len(self.cutoffs)} clusters")
        made = {"dtype": self.dtype, "seed": self.rng, "init": init}
        self._bounds = list(zip(self.cutoffs, (*self.cutoffs[1:], self.n_classes)))
        self._head = Linear(self.in_features, self.cutoffs[0] + len(self.cutoffs), bias=self.head_bias, **made)
        self._tails = [(Linear(self.in_features, width, bias=False, **made),
                        Linear(width, end - first, bias=False, **made))
                       for width, (first, end) in zip(widths, self._bounds)]

    @property
    def training_width(self) -> int:
        """Numbers that a training pass keeps for each row of x, where its target is in the largest cluster."""
        return self._head.out_features + max(sum((one.out_features, score.out_features)) for one, score in self._tails)

    def _named(self):
        yield "head", self._head
        for i, pair in enumerate(self._tails):
            for j, linear in enumerate(pair):
                yield f"tail.{i}.{j}", linear

    def _children(self):
        return tuple(linear for _, linear in self._named())

    def _gathered(self, which):
        return ArrayDict({f"{place}.{name}": array for place, linear in self._named()
                          for name, array in getattr(linear, which).items()})

    def _scores(self, x):
        y = np.empty((len(x), self.n_classes), self.dtype)
        head = log_softmax(self._head(x))
        y[:, :self.cutoffs[0]] = head[:, :self.cutoffs[0]]
        for i, (first, end) in enumerate(self._bounds):
            project, score = self._tails[i]
            y[:, first:end] = log_softmax(score(project(x))) + head[:, self.cutoffs[0] + i, None]
        return y

    def _likelihood(self, x, target):
        y = np.empty(len(x), self.dtype)
        for piece in _pieces(len(x), max(self._head.out_features, *(end - first for first, end in self._bounds))):
            y[piece] = self._trained(x[piece], target[piece])[0]
        return y

    def _trained(self, x, target):
        of_head, parts = target.copy(), []
        total = np.empty(len(x))
        for i, (first, end) in enumerate(self._bounds):
            at = np.flatnonzero((target >= first) & (target < end))
            of_head[at] = self.cutoffs[0] + i
            if len(at):
                parts.append((i, at, target[at] - first))
        logits, _, head_tape = self._head.forward(x)
        _loss.log_likelihood(total, logits, of_head)
        kept = []
        for i, at, of_cluster in parts:
            project, score = self._tails[i]
            narrow, _, narrow_tape = project.forward(x[at])
            scores, _, tape = score.forward(narrow)
            within = np.empty(len(at))
            _loss.log_likelihood(within, scores, of_cluster)
            total[at] += within
            kept.append((i, at, scores, narrow_tape, tape))
        return total, logits, head_tape, kept

    def _gradient(self, dy, dlogits, head_tape, kept):
        dlogits *= dy[:, None]
        dx, _ = self._head.backward(head_tape, dlogits)
        for i, at, dscores, narrow_tape, tape in kept:
            project, score = self._tails[i]
            dscores *= dy[at, None]
            dnarrow, _ = score.backward(tape, dscores)
            dx[at] += project.backward(narrow_tape, dnarrow)[0]
        return dx


class SampledSoftmax(TargetSoftmax):
    """A softmax that is trained on each target and a few classes drawn at random (Jean et al. 2015).

    In training the softmax runs over the target and `samples` classes that the whole batch shares, of logits x_k -
    log E_k, with E_k the expected number of draws of class k; classes that are a row's target are left out of its
    sample. The more samples, the nearer its gradient is to that of the softmax over all classes, which inference and
    evaluation use.

    Parameters
    ----------
    in_features, n_classes : int
    samples : int
        Different classes drawn for an update; below n_classes.
    proposal : "log_uniform" or "uniform"
        What classes are drawn from: P(k) = log((k + 2) / (k + 1)) / log(n_classes + 1), about Zipf's law for classes
        sorted by falling frequency, or all alike.
    bias : bool
    sparse : bool
        Whether updates touch only the rows of targets and samples; see `Embedding`.
    dtype : "float32" or "float64"
    seed : int, SeedSequence, Generator or None
        Of the initial parameters, and of the samples until `set_rng`.
    init : str, pair, number, array, callable or dict
        See `Linear`.
    batch_first : bool
        Layout of x; a `Sequential` around this layer sets it.

    Notes
    -----
    ``params``: weight (n_classes, in_features), bias (n_classes,). The correction is that of candidate sampling:
    E_k = 1 - (1 - P(k))^tries.
    """

    def __init__(self, in_features: int, n_classes: int, samples: int = 1024, *, proposal: str = "log_uniform",
                 bias: bool = True, sparse: bool = False, dtype: "DType" = "float32", seed: "Seed" = None,
                 init: "LayerInit" = "default", batch_first: bool = False) -> None:
        super().__init__(dtype, seed)
        self.in_features = check_positive_int(in_features, "in_features")
        self.n_classes = check_positive_int(n_classes, "n_classes", low=2)
        self.samples = check_positive_int(samples, "samples", high=self.n_classes - 1)
        self.proposal = check_option(proposal, "proposal", ("log_uniform", "uniform"))
        self.bias = check_bool(bias, "bias")
        self.sparse = check_bool(sparse, "sparse")
        self.batch_first = batch_first
        shapes = {"weight": (self.n_classes, self.in_features), **({"bias": (self.n_classes,)} if self.bias else {})}
        params = {}
        for name, shape in shapes.items():
            _init.claim(shape, self.dtype, name)
            params[name] = room(shape, self.dtype)
        self.init = _init.initialise_layer(params, self.rng, init, {"weight": "glorot_uniform", "bias": "zeros"},
                                           1 / math.sqrt(self.in_features))
        self._own(params)
        del params
        self._pinned_grads = Pinned(self._grads, "grads")
        self._watched = _products.PackedLinear(self._params)
        if self.sparse:
            self._make_sparse(*shapes)

    @property
    def training_width(self) -> int:
        """Numbers that a training pass keeps for each row of x."""
        return self.samples + 1 + self.in_features

    def _row_work(self):
        return self.training_width * self.in_features

    def _intact(self):
        self._watched.intact()
        self._pinned_grads.intact(True)

    def _scores(self, x):
        y = np.empty((len(x), self.n_classes), self.dtype)
        self._watched.forward(y, x)
        return log_softmax(y)

    def _likelihood(self, x, target):
        y = np.empty(len(x))
        for piece in _pieces(len(x), self.n_classes):
            logits = np.empty((len(x[piece]), self.n_classes), self.dtype)
            self._watched.forward(logits, x[piece])
            _loss.log_likelihood(y[piece], logits, target[piece])
        return y

    def _trained(self, x, target):
        self._watched.intact()
        weight, bias = self._params["weight"], self._params.get("bias")
        samples, tries = self._draw()
        # z_0 = x . w_target, z_j = x . w_sample: the target's row is 0 in the product
        some = np.zeros((self.samples + 1, self.in_features), self.dtype)
        some[1:] = weight[samples]
        offsets = np.zeros(self.samples + 1, self.dtype)
        offsets[1:] = -self._log_expected(samples, tries)
        own = weight[target]
        of_target = np.einsum("ni,ni->n", x, own) - self._log_expected(target, tries)
        if bias is not None:
            offsets[1:] += bias[samples]
            of_target += bias[target]
        product = _products.PackedLinear({"weight": some, "bias": offsets})
        z = np.empty((len(x), self.samples + 1), self.dtype)
        product.forward(z, x)
        z[:, 0] = of_target
        at = np.minimum(np.searchsorted(samples, target), self.samples - 1)
        hits = np.flatnonzero(samples[at] == target)
        z[hits, at[hits] + 1] = -np.inf
        total = np.empty(len(x))
        _loss.log_likelihood(total, z, np.zeros(len(x), np.int64))
        return total, z, x, own, target, samples, product

    def _gradient(self, dy, dz, x, own, target, samples, product):
        dz *= dy[:, None]
        dx = np.empty(x.shape, self.dtype)
        product.backward_input(dx, dz)
        of_target = np.ascontiguousarray(dz[:, :1])
        dx += of_target * own
        dweight = np.zeros((self.samples + 1, self.in_features), self.dtype)
        _products.linear_backward_weight(dweight, dz, x)
        gradient = self._rows_to_add_to("weight", samples, target)
        gradient[samples] += dweight[1:]
        _embedding.scatter_add(gradient, of_target * x, target)
        if self.bias:
            gradient = self._rows_to_add_to("bias", samples, target)
            gradient[samples] += dz[:, 1:].sum(0)
            np.add.at(gradient, target, of_target[:, 0])
        return dx

    def _draw(self):
        """(different classes in rising order, the number of tries it took to find so many)."""
        drawn, first = np.zeros(0, np.int64), ()
        while len(first) < self.samples:
            more = self.rng.random(self.samples)
            if self.proposal == "uniform":
                more = more * self.n_classes
            else:
                more = np.exp(more * math.log(self.n_classes + 1)) - 1
            drawn = np.concatenate([drawn, np.minimum(more.astype(np.int64), self.n_classes - 1)])
            _, first = np.unique(drawn, return_index=True)
        first = np.sort(first)[: self.samples]
        return np.sort(drawn[first]), int(first[-1]) + 1

    def _log_expected(self, classes, tries):
        """log(1 - (1 - P)^tries) of these classes."""
        if self.proposal == "uniform":
            p = np.full(len(classes), 1 / self.n_classes)
        else:
            p = np.log1p(1 / (classes + 1)) / math.log(self.n_classes + 1)
        return np.log(-np.expm1(tries * np.log1p(-p)))


def _pieces(rows, width):
    """Slices of rows of about LOGITS numbers together."""
    step = max(1, LOGITS // max(width, 1))
    return [slice(first, first + step) for first in range(0, rows, step)]


def _rising(cutoffs, n_classes):
    values = check_entries_of(cutoffs, "cutoffs", "a sequence of ints")
    values = [check_positive_int(value, f"cutoffs[{k}]", high=n_classes - 1) for k, value in enumerate(values)]
    if not values or any(one >= other for one, other in itertools.pairwise(values)):
        raise ValueError(f"cutoffs: expected rising ints between 1 and {n_classes - 1}, found {shown(values)}")
    return tuple(values)
