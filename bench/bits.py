"""One hash of what float32 inference computes, to compare two installs: the same hash, the same bits.

    python bench/bits.py                    # one line: the hash, arrays, instruction sets
    python bench/bits.py --each             # a line for each network, instruction set and threads, for diff

Outputs and states of all runners, cells and streams, whole and ragged, with 1, 2 and 3 threads, on every instruction
set that the processor has. Weights and inputs come from NumPy, so that other initial weights do not count. Run it with
either install's interpreter, on one machine: bits are the same for one instruction set and one BLAS.
"""

import argparse
import hashlib

import numpy as np

import fastrnn
from fastrnn import _kernels  # earlier versions have it by this name, too

THREADS = (1, 2, 3)
# I, H, layers, both directions, batch, steps, batch_first
SHAPES = [
    (3, 5, 1, False, 2, 7, False),
    (1, 1, 1, False, 1, 1, False),
    (8, 16, 2, True, 3, 9, True),
    (33, 31, 1, False, 1, 20, False),
    (64, 128, 1, False, 16, 11, False),
    (40, 256, 2, False, 1, 15, True),
    (128, 300, 1, False, 8, 6, False),
    (16, 24, 1, True, 33, 5, False),
]
OPTIONS = {
    "RNN": [{}, {"nonlinearity": "relu"}, {"bias": False}],
    "LSTM": [{}, {"proj_size": 2}, {"layer_norm": True}, {"bias": False}],
    "GRU": [{}, {"reset_after": False}, {"layer_norm": True}],
    "MinGRU": [{}],
    "MinLSTM": [{}],
    "SRU": [{}],
    "QRNN": [{}],
}


def cases():
    """(name, function that gives the arrays of one network) for all of them."""
    for kind, variants in OPTIONS.items():
        for options in variants:
            for shape in SHAPES:
                if options.get("proj_size", 0) < shape[1]:
                    yield f"{kind} {options} {shape}", runner_of(kind, options, shape)
    for kind in ("RNNCell", "LSTMCell", "GRUCell"):
        for inputs, hidden, batch in ((7, 40, 5), (3, 5, 1), (64, 200, 17)):
            yield f"{kind} {inputs} {hidden} {batch}", cell_of(kind, inputs, hidden, batch)
    yield "Sequential", sequential


def runner_of(kind, options, shape):
    """Whole and ragged sequences, in every form of the input, and the steps of a stream."""
    inputs, hidden, layers, both, batch, steps, batch_first = shape

    def arrays():
        rng = np.random.default_rng([len(kind), len(options), *map(int, shape)])
        runner = getattr(fastrnn, kind)(inputs, hidden, num_layers=layers, bidirectional=both, batch_first=batch_first,
                                        seed=0, **options)
        fill(runner, rng)
        x = rng.standard_normal((steps, batch, inputs), np.float32)
        lengths = rng.integers(0, steps + 1, batch)
        given = np.ascontiguousarray(x.swapaxes(0, 1)) if batch_first else x
        whole = runner(given)
        yield whole
        yield runner(given, whole[1])                       # from a state
        yield runner(given, lengths=lengths)
        yield runner([x[:max(1, n), i] for i, n in enumerate(lengths.tolist())])
        yield runner(x[:, 0])                               # without a batch
        if not both:
            stream = runner.stream(batch)
            for k in range(steps):
                yield stream.step(x[k])
            yield stream.state

    return arrays


def cell_of(kind, inputs, hidden, batch):
    """Two steps of a cell, the second from the state of the first."""

    def arrays():
        rng = np.random.default_rng([len(kind), inputs, hidden])
        cell = getattr(fastrnn, kind)(inputs, hidden, seed=0)
        fill(cell, rng)
        state = cell(rng.standard_normal((batch, inputs), np.float32))
        yield state
        yield cell(rng.standard_normal((batch, inputs), np.float32), state)

    return arrays


def sequential():
    """A network of characters: the table, two layers, the product of its output; whole and by steps."""
    rng = np.random.default_rng(0)
    net = fastrnn.Sequential(fastrnn.Embedding(30, 20, seed=0), fastrnn.LSTM(20, 48, seed=0), fastrnn.LayerNorm(48),
                             fastrnn.GRU(48, 33, seed=0), fastrnn.Linear(33, 30, seed=0))
    fill(net, rng)
    ids = rng.integers(0, 30, (9, 4))
    yield net(ids)
    stream = net.stream(4)
    for row in ids:
        yield stream.step(row)


def fill(module, rng):
    """Weights that do not depend on the install's initialisers."""
    for name in sorted(module.params):
        p = module.params[name]
        p[...] = rng.uniform(-1, 1, p.shape) / np.sqrt(max(p.shape[-1], 4))


def put(digest, value):
    """Adds all arrays in `value` to the hash; how many there were."""
    if value is None:
        return 0
    if isinstance(value, (tuple, list)):
        return sum(put(digest, part) for part in value)
    value = np.ascontiguousarray(value)
    digest.update(f"{value.dtype}{value.shape}".encode() + value.tobytes())
    return 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--each", action="store_true", help="a hash for each network too")
    each = parser.parse_args().each
    total, count, isas = hashlib.sha256(), 0, _kernels.available_isas()
    for isa in isas:
        _kernels.use_isa(isa)
        for threads in THREADS:
            fastrnn.set_num_threads(threads)
            for name, arrays in cases():
                digest = hashlib.sha256()
                count += put(digest, list(arrays()))
                total.update(digest.digest())
                if each:
                    print(digest.hexdigest()[:16], isa, threads, name)
    print(total.hexdigest(), f"{count} arrays, {', '.join(isas)}")


if __name__ == "__main__":
    main()
