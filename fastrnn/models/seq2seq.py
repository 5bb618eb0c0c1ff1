"""`Seq2Seq`: an encoder, attention, and a decoder, from one sequence, or from features, to another sequence."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..check.arrays import check_axes, check_features, check_gradient
from ..check.sequences import check_padded, check_sources, pad_sequences
from ..check.states import check_no_state
from ..check.symbols import check_ids, check_targets
from ..check.values import check_bool, check_mapping, check_number, check_option, check_positive_int, shown
from ..decoding.sampling import chosen
from ..decoding.states import take_rows
from ..engine.runtime._kernels import tanh_
from ..memory import runner_bytes
from ..nn.layers import Embedding, Linear
from ..nn.module import ArrayDict, Compound, Tape, open_tape
from .attention import KINDS, Attention, make_decoder
from .text import CELLS, OneHot
from .translation import Translator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Literal

    from .._types import Array, ArrayLike, DType, Inputs, Ints, Seed, State

SOURCES = "ids", "features"


class Memory(NamedTuple):
    """What an encoder leaves to the decoder.

    values : (B, S, W) or None without attention
    keys : (B, S, A), the values themselves where they are their own keys
    lengths : int64 (B,), valid positions
    """

    values: np.ndarray | None
    keys: np.ndarray | None
    lengths: np.ndarray

    def of(self, source=None):
        """As the compiled decoder takes it; `source`, int64 (N,), says which each of N sequences reads."""
        return None if self.values is None else (self.values, self.keys, self.lengths, source)


class Seq2Seq(Translator, Compound):
    """An encoder-decoder network (Sutskever et al. 2014; Cho et al. 2014), with attention or without.

    The encoder turns a source, ids or features, into a memory m_1 .. m_S and a summary f. The decoder starts from
    h_0 = tanh(W f + b) and is fed one target id after another, y_0 being `bos`, until it puts out `eos`:

        c_t = attend(h_{t-1}),  h_t = cell([E y_{t-1}; c_t], h_{t-1})      attention_at="input" (Bahdanau et al. 2015)
        h_t = cell(E y_{t-1}, h_{t-1}),  c_t = attend(h_t)                 attention_at="output" (Luong et al. 2015)
        P(y_t) = softmax(W_o r_t + b_o),  r_t = tanh(W_r [h_t; c_t; E y_{t-1}] + b_r), or without `readout_size` the
                                          bracket itself

    Parameters
    ----------
    source_size, target_size : int
        Number of source ids, or F, the width of the features; number of target ids V, `bos` and `eos` included.
    source : "ids" or "features"
        Features, (N, F) or (N, S, F), are the memory themselves, and f is their mean over the valid positions: for
        captions and the like.
    cell : "gru", "lstm" or "rnn"
        Of encoder and decoder.
    embedding_dim : int or None
        Width of source and target embeddings; None for one-hot ids.
    hidden_size, encoder_size : int
        Width H of the decoder, and of each direction of the encoder (by default H).
    num_layers : int
        Of encoder and of decoder.
    bidirectional : bool
        Whether the encoder reads in both directions. f is the final state of its last layer, both directions and, for
        the LSTM, h and c.
    attention : "additive", "dot", "general" or None
        See `fastrnn.Attention`.
    attention_at : "input" or "output", optional
        Where the context enters, see above; by default "input" for "additive" and "output" for the others.
    attention_size : int, optional
        Width of additive attention, by default H.
    readout_size : int, optional
        Width of r_t.
    dropout : float in [0, 1)
        In training, of both embeddings, of what the output layer reads, and between the encoder's layers.
    sampling : float in [0, 1]
        Probability with which `forward` feeds the decoder an id drawn from its own prediction instead of the target's
        (scheduled sampling, Bengio et al. 2015); may be assigned at any time, and `fastrnn.callbacks.ScheduledSampling`
        does. The prediction is that of inference; no gradient flows through the drawing.
    bos, eos : int
        Ids that begin and end each target; targets are given without them.
    dtype : "float32" or "float64"
    seed : int, SeedSequence, Generator or None
    init : dict, optional
        Initialisers of parts, by the parts' names below: for "encoder" and "decoder" as for runners, for the others as
        for `Linear`, `Embedding` and `Attention`. By default those of these modules, with embeddings of variance
        1 / embedding_dim.

    Notes
    -----
    ``params`` names the parts' arrays "<part>.<name>", parts being source_embedding, encoder, bridge, target_embedding,
    attention, keys, decoder, readout and output, as far as they are there. `Trainer` takes X as a list of source id
    arrays, (N, F) or (N, S, F) features, or a list of (S_i, F), and y as a list of target id arrays; loss and metrics
    are means over all target ids, each `eos` included.
    """

    takes_target = True     # forward and call need the targets: the decoder reads them
    batch_first = True

    def __init__(self, source_size: int, target_size: int, *, source: "Literal['ids', 'features']" = "ids",
                 cell: "Literal['gru', 'lstm', 'rnn']" = "gru", embedding_dim: int | None = 256, hidden_size: int = 256,
                 encoder_size: int | None = None, num_layers: int = 1, bidirectional: bool = True,
                 attention: "Literal['additive', 'dot', 'general'] | None" = "additive",
                 attention_at: "Literal['input', 'output'] | None" = None, attention_size: int | None = None,
                 readout_size: int | None = None, dropout: float = 0.0, sampling: float = 0.0, bos: int = 0,
                 eos: int = 1, dtype: "DType" = "float32", seed: "Seed" = None,
                 init: "Mapping[str, Any] | None" = None) -> None:
        super().__init__(dtype, seed)
        self.source_size = check_positive_int(source_size, "source_size")
        self.target_size = check_positive_int(target_size, "target_size", low=2)
        self.source = check_option(source, "source", SOURCES)
        self.cell = check_option(cell, "cell", tuple(CELLS))
        self.embedding_dim = None if embedding_dim is None else check_positive_int(embedding_dim, "embedding_dim")
        self.hidden_size = check_positive_int(hidden_size, "hidden_size")
        self.encoder_size = self.hidden_size if encoder_size is None else check_positive_int(encoder_size,
                                                                                             "encoder_size")
        self.num_layers = check_positive_int(num_layers, "num_layers")
        self.bidirectional = check_bool(bidirectional, "bidirectional")
        self.attention = attention if attention is None else check_option(attention, "attention", KINDS)
        at = ("input" if attention == "additive" else "output") if attention_at is None else attention_at
        self.attention_at = check_option(at, "attention_at", ("input", "output"))
        self.attention_size = None if attention_size is None else check_positive_int(attention_size, "attention_size")
        self.readout_size = None if readout_size is None else check_positive_int(readout_size, "readout_size")
        self.dropout = check_number(dropout, "dropout", low=0, below=1)
        self.sampling = sampling
        self.bos = check_positive_int(bos, "bos", low=0, high=self.target_size - 1)
        self.eos = check_positive_int(eos, "eos", low=0, high=self.target_size - 1)
        if init is not None:
            check_mapping(init, "init")
        self._build(init or {})
        drawn = {name: part.init for name, part in self._parts.items() if hasattr(part, "init")}
        for name in init or ():
            if name not in drawn:
                raise ValueError(f"init: expected names among {', '.join(drawn)}; found {shown(name)}")
        self.init = None if init is None else {name: drawn[name] for name in init}

    def _build(self, init):
        """Make the parts, in the order of their parameters, with their initialisers."""
        def shared(name):
            return {"dtype": self.dtype.name, "seed": self.rng, **({"init": init[name]} if name in init else {})}

        runner, hidden, parts = CELLS[self.cell], self.hidden_size, {}
        directions, states = 1 + self.bidirectional, 2 if self.cell == "lstm" else 1
        if self.source == "ids":
            width = self._embed(parts, "source_embedding", self.source_size, shared("source_embedding"))
            parts["encoder"] = runner(width, self.encoder_size, self.num_layers, batch_first=True,
                                      dropout=self.dropout if self.num_layers > 1 else 0.0,
                                      bidirectional=self.bidirectional, **shared("encoder"))
            memory = directions * self.encoder_size
            summary = states * memory
        else:
            memory = summary = self.source_size
        parts["bridge"] = Linear(summary, states * self.num_layers * hidden, **shared("bridge"))
        width = self._embed(parts, "target_embedding", self.target_size, shared("target_embedding"))
        at_input, attends = self.attention_at == "input", self.attention is not None
        if attends:
            parts["attention"] = Attention(self.attention, hidden, memory, self.attention_size, **shared("attention"))
            if self.attention == "additive":
                parts["keys"] = Linear(memory, parts["attention"].size, **shared("keys"))
        parts["decoder"] = runner(width + (memory if attends and at_input else 0), hidden, self.num_layers,
                                  **shared("decoder"))
        read = hidden + (memory if attends else 0) + width
        if self.readout_size is not None:
            parts["readout"] = Linear(read, self.readout_size, **shared("readout"))
        parts["output"] = Linear(self.readout_size or read, self.target_size, **shared("output"))
        self._parts = parts
        self._memory_size = memory
        self._make_decoder()

    def _make_decoder(self):
        parts = self._parts
        self._decoder = make_decoder(parts["decoder"], parts.get("attention"), self.attention_at == "input")

    def _store_weights(self, weight_format):
        self._make_decoder()    # of the decoder as it is stored

    def _embed(self, parts, name, size, shared):
        """Add an embedding; its width."""
        if self.embedding_dim is None:
            parts[name] = OneHot(size, dtype=shared["dtype"])
            return size
        parts[name] = Embedding(size, self.embedding_dim, **shared)
        if "init" in shared:
            return self.embedding_dim
        weight = parts[name].params["weight"]
        weight *= weight.dtype.type(self.embedding_dim**-0.5)
        return self.embedding_dim

    def _gathered(self, which):
        return ArrayDict({f"{part}.{name}": array for part, module in self._parts.items()
                          for name, array in getattr(module, which).items()})

    def _children(self):
        return tuple(self._parts.values())

    @property
    def sampling(self) -> float:
        """Probability with which training feeds the decoder its own prediction; may be assigned."""
        return self._sampling

    @sampling.setter
    def sampling(self, value: float) -> None:
        self._sampling = check_number(value, "sampling", low=0, high=1)

    def targets(self, target: "Sequence[ArrayLike]") -> "Array":
        """The ids that are to be put out: those of all sequences one after another, each with `eos` behind it."""
        target = check_targets(target, "target", None, self.target_size)
        return np.concatenate([np.empty(0, np.int64), *(part for ids in target for part in (ids, [self.eos]))])

    def check_source(self, x: "Inputs") -> None:
        """Raise a ValueError where sequences, as `source_sequences` has them, are not of the kind the encoder takes."""
        wanted = () if self.source == "ids" else (self.source_size,)
        if not len(check_sources(x, "X")) or not isinstance(x[0], np.ndarray):
            raise ValueError("X: expected at least one sequence, each an array")
        if x[0].shape[1:] != wanted or (not wanted and x[0].dtype.kind not in "iu"):
            kind = "ids" if not wanted else f"{self.source_size} features at each position"
            raise ValueError(f"X: expected sequences of {kind}, found {x[0].dtype} of shape {x[0].shape}")

    def training_bytes(self, batch: int, positions: int, lengths: "Ints | None", rows: int) -> int:
        """About how many bytes a training pass over a batch takes whose targets have so many rows in all."""
        batch, positions, rows = (check_positive_int(value, name, 0, 2**62) for value, name in (
            (batch, "batch"), (positions, "positions"), (rows, "rows")))
        H, W, A = self.hidden_size, self._memory_size, self._parts["attention"].size if self.attention else 0
        gates = self._parts["decoder"].params["weight_ih_l0"].shape
        read = H + W + gates[1]
        # what the layers and their gradients keep of a row: z, states; attention; what is read, logits, both thrice
        row = self.num_layers * (gates[0] + 4 * H) + 2 * gates[1] + 3 * (W + A + positions)
        row += 3 * (read + (self.readout_size or 0) + self.target_size)
        source = batch * positions * (4 * W + 3 * A + 4 * (self.embedding_dim or self.source_size))
        encoder = sum(runner_bytes(self._parts["encoder"], batch, positions, lengths)) if self.source == "ids" else 0
        return encoder + (rows * row + source) * self.dtype.itemsize

    def source_sequences(self, X: "Inputs") -> "Any":
        """X as `Trainer` hands it out: features (N, F) become sequences of one position."""
        if self.source == "features" and isinstance(X, np.ndarray) and X.ndim == 2:
            return X[:, None]
        return X

    def __call__(self, x: "Inputs", lengths: "Ints | None" = None, *, target: "Sequence[ArrayLike]") -> "Array":
        """Inference, given the targets: the logits of every id of the targets and of `eos`.

        Parameters
        ----------
        x : list of B int arrays (S_i,), or int array (B, S); features: (B, F), (B, S, F) or a list of (S_i, F)
        lengths : sequence of B ints, optional
            Valid positions of a padded x.
        target : list of B int arrays (n_i,)
            Without `bos` and `eos`.

        Returns
        -------
        array (N, V), N the sum of all n_i + 1
            Of the sequences one after another; `targets` has the ids in that order.
        """
        x, lengths = self._checked_source(x, lengths)
        target = check_targets(target, "target", len(x), self.target_size)
        with self._gate:
            memory, state, _ = self._encode(x, lengths, False)
            return self._decode(self._inputs(target), _counts(target), memory, state)[0]

    def forward(self, x: "Inputs", state: None = None, lengths: "Ints | None" = None, *,
                target: "Sequence[ArrayLike]") -> "tuple[Array, None, Tape]":
        """Training pass: as a call, with dropout and scheduled sampling; returns (logits, None, tape)."""
        check_no_state(state, "state", self)
        x, lengths = self._checked_source(x, lengths)
        target = check_targets(target, "target", len(x), self.target_size)
        memory, state, encoded = self._encode(x, lengths, True)
        ids, counts = self._inputs(target), _counts(target)
        if self.sampling:
            ids = self._sampled(ids, counts, memory, state)
        e, _, embedded = self._parts["target_embedding"].forward(ids)
        e, mask_e = self._drop(e)
        h, context, _, _, decoded = self._run(self._decoder.forward, e, counts, memory, state)
        read, r = _joined(h, context, e), None
        if "readout" in self._parts:
            read, _, r = self._parts["readout"].forward(read)
            tanh_(read, read)
        dropped, mask = self._drop(read)
        logits, _, put_out = self._parts["output"].forward(dropped)
        kept = memory, encoded, embedded, mask_e, decoded, r, read, mask, put_out
        return logits, None, Tape(self, logits.shape, kept)

    def backward(self, tape: "Tape", dy: "ArrayLike | None" = None, dstate: "State" = None) -> "tuple[Any, None]":
        """Adds to `grads` and returns (None, None): neither ids nor targets have a gradient.

        With features, dx is their gradient, like x of `forward`.
        """
        shape, kept = open_tape(tape, self)
        check_no_state(dstate, "dstate", self)
        dlogits = check_gradient(dy, shape, self.dtype)
        memory = kept[0]
        with self._grads_as_before(shape[0] + len(memory.lengths) * max(memory.lengths, default=0)):
            tape.take()
            return self._backward(dlogits, *kept), None

    def _backward(self, dlogits, memory, encoded, embedded, mask_e, decoded, r, read, mask, put_out):
        """BPTT; the gradient of the source's features, or None."""
        parts = self._parts
        d = _dropped(parts["output"].backward(put_out, dlogits)[0], mask)
        if r is not None:
            d *= 1 - read * read
            d, _ = parts["readout"].backward(r, d)
        attends = memory.values is not None
        ends = np.cumsum([self.hidden_size, *([self._memory_size] if attends else [])])
        dh, *dcontext, de = map(np.ascontiguousarray, np.split(d, ends, axis=1))
        dx, dstate = np.empty_like(de), self._states(len(memory.lengths))
        dvalues = np.zeros_like(memory.values) if attends else None
        dkeys = np.zeros_like(memory.keys) if "keys" in parts else dvalues
        self._decoder.backward(decoded, dh, dcontext[0] if attends else None, dx, *dstate, dvalues, dkeys)
        dx += de
        parts["target_embedding"].backward(embedded, _dropped(dx, mask_e))
        return self._encode_backward(encoded, memory, dvalues, dkeys, dstate)

    def _checked_source(self, x, lengths):
        """(ids (B, S) or features (B, S, F), lengths int64 (B,))."""
        if isinstance(x, (list, tuple)):
            x, lengths = pad_sequences(x, lengths, True)
        x = self.source_sequences(x)
        if lengths is not None:
            x, lengths = check_padded(x, lengths, True)
        if self.source == "ids":
            x = check_axes(check_ids(x, "x", self.source_size), "x", {2: "(B, S)"})
        else:
            x = check_axes(check_features(x, "x", self.source_size, self.dtype), "x", {3: "(B, S, F)"})
        return x, np.full(len(x), x.shape[1], np.int64) if lengths is None else lengths

    def _encode(self, x, lengths, training):
        """(memory, initial states (h0, c0 or None) of the decoder, what `_encode_backward` needs)."""
        parts, kept = self._parts, {"positions": x.shape[1]}
        values = x
        if self.source == "ids":
            e, kept["embedded"] = _apply(parts["source_embedding"], x, training)
            if training:
                e, kept["mask"] = self._drop(e)
                values, final, kept["encoded"] = parts["encoder"].forward(e, None, lengths, seed=self._draw_seed())
            else:
                values, final = parts["encoder"](e, None, lengths)
            last = [s[-1 - self.bidirectional:] for s in (final if isinstance(final, tuple) else (final,))]
            summary = np.concatenate([direction for state in last for direction in state], axis=1)
        else:
            summary = x.sum(axis=1) / np.maximum(lengths, 1).astype(x.dtype)[:, None]
        flat, kept["bridged"] = _apply(parts["bridge"], summary, training)
        tanh_(flat, flat)
        kept["flat"] = flat
        shape = len(x), 2 if self.cell == "lstm" else 1, self.num_layers, self.hidden_size
        state = flat.reshape(shape).transpose(1, 2, 0, 3)
        state = [np.ascontiguousarray(s) for s in state]
        if self.attention is None:
            return Memory(None, None, lengths), (state[0], state[1] if len(state) > 1 else None), kept
        values = np.ascontiguousarray(values)
        keys = values
        if "keys" in parts:
            keys, kept["keys"] = _apply(parts["keys"], values, training)
        return Memory(values, keys, lengths), (state[0], state[1] if len(state) > 1 else None), kept

    def _encode_backward(self, kept, memory, dvalues, dkeys, dstate):
        """Back through the encoder: from the gradients of values, keys and initial states; returns dx or None."""
        parts, flat = self._parts, kept["flat"]
        dflat = np.stack([d for d in dstate if d is not None]).transpose(2, 0, 1, 3).reshape(flat.shape)
        dflat *= 1 - flat * flat
        dsummary, _ = parts["bridge"].backward(kept["bridged"], dflat)
        if "keys" in parts:
            dvalues += parts["keys"].backward(kept["keys"], dkeys)[0]
        if self.source == "features":
            lengths = memory.lengths
            share = dsummary / np.maximum(lengths, 1).astype(dsummary.dtype)[:, None]
            dx = np.where((np.arange(kept["positions"]) < lengths[:, None])[..., None], share[:, None], 0)
            return dx if dvalues is None else dx + dvalues
        encoder, ways = parts["encoder"], 1 + self.bidirectional
        shape = (self.num_layers * ways, len(memory.lengths), self.encoder_size)
        dfinal = [np.zeros(shape, self.dtype) for _ in range(2 if self.cell == "lstm" else 1)]
        pieces = iter(np.split(dsummary, len(dfinal) * ways, axis=1))
        for d in dfinal:
            for way in range(ways):
                d[way - ways] = next(pieces)
        de, _ = encoder.backward(kept["encoded"], dvalues, tuple(dfinal) if len(dfinal) > 1 else dfinal[0])
        parts["source_embedding"].backward(kept["embedded"], _dropped(de, kept["mask"]))
        return None

    def _inputs(self, target):
        """What the decoder is fed, sequence after sequence: `bos` and the target's ids."""
        return np.concatenate([np.empty(0, np.int64), *(part for ids in target for part in ([self.bos], ids))])

    def _run(self, function, e, counts, memory, state, source=None, weighed=False):
        """(h (N, H), context (N, W) or None, weights (N, S) or None, final states, tape) of embeddings e: (N, E)."""
        rows = len(e)
        h = np.empty((rows, self.hidden_size), self.dtype)
        context = weights = None
        if memory.values is not None:
            context = np.empty((rows, self._memory_size), self.dtype)
            weights = np.empty((rows, memory.values.shape[1]), self.dtype) if weighed else None
        final = self._states(len(counts))
        tape = function(e, counts, memory.of(source), *state, h, context, weights, *final)
        return h, context, weights, final, tape

    def _decode(self, ids, counts, memory, state, source=None, weighed=False):
        """(logits (N, V), final states, weights) in inference, of the ids that the decoder is fed."""
        e = self._parts["target_embedding"](ids)
        h, context, weights, final, _ = self._run(self._decoder.infer, e, counts, memory, state, source, weighed)
        read = _joined(h, context, e)
        if "readout" in self._parts:
            read = self._parts["readout"](read)
            tanh_(read, read)
        return self._parts["output"](read), final, weights

    def _states(self, batch):
        """Room for (h, c or None) of the decoder."""
        shape = (self.num_layers, batch, self.hidden_size)
        return np.empty(shape, self.dtype), np.empty(shape, self.dtype) if self.cell == "lstm" else None

    def _sampled(self, ids, counts, memory, state):
        """The ids with some replaced by ones drawn from the network's predictions, step by step."""
        ids, starts = ids.copy(), np.cumsum(counts) - counts
        order = np.argsort(-counts, kind="stable")      # those that are still there at a step come first
        state = take_rows(state, order)
        for t in range(int(counts.max(initial=0)) - 1):
            now = order[counts[order] > t + 1]
            state = take_rows(state, np.arange(len(now)))
            logits, state, _ = self._decode(ids[starts[now] + t], np.ones(len(now), np.int64), memory, state, now)
            drawn = chosen(logits, self.rng.random(len(now)))
            replaced = self.rng.random(len(now)) < self.sampling
            ids[starts[now[replaced]] + t + 1] = drawn[replaced]
        return ids

    def _drop(self, x):
        """(x with some values dropped, their mask or None)."""
        if not self.dropout:
            return x, None
        mask = (self.rng.random(x.shape, np.float32) >= self.dropout) * x.dtype.type(1 / (1 - self.dropout))
        return x * mask, mask

    def _draw_seed(self):
        return int(self.rng.integers(2**63))


def _apply(part, x, training):
    """(y, tape or None) of a part without a state."""
    if not training:
        return part(x), None
    y, _, tape = part.forward(x)
    return y, tape


def _joined(h, context, e):
    return np.concatenate([h, e] if context is None else [h, context, e], axis=1)


def _counts(target):
    """Steps of each target: its ids and what ends it."""
    return np.array([len(ids) + 1 for ids in target], np.int64)


def _dropped(d, mask):
    return d if mask is None else d * mask
