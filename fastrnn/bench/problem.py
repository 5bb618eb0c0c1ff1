"""Weights and inputs of a cell, the same for every library, and the least time its arithmetic can take."""

import numpy as np

from ..engine.kinds import KINDS
from .cells import SYMBOLS

WINDOWS = 4  # updates of the training loop that are timed together
VALID = 0.58  # part of a ragged batch's steps that is valid
LEARNING_RATE, CLIP = 2e-3, 5.0


def build_model(cell):
    """The fastrnn model of a cell, with its initial weights."""
    import fastrnn

    runner = getattr(fastrnn, cell.kind)
    if cell.table != "loop":
        return runner(cell.inputs, cell.hidden, seed=0)
    from fastrnn import CharModel

    return CharModel(
        "".join(map(chr, range(SYMBOLS - 1))),
        cell=cell.kind.lower(),
        hidden_size=cell.hidden,
        embedding_dim=cell.inputs,
        seed=0,
    )


def build_problem(cell):
    """Weights by their PyTorch names, and inputs.

    Returns
    -------
    dict of name -> array
        x (T, B, I), and for training dy (T, B, H), for ragged work lengths (B,); or for the training loop
        ids, the text as one id per character.
    """
    rng = np.random.default_rng(1)
    data = build_model(cell).state_dict()
    if cell.table == "loop":
        return {**data, "ids": rng.integers(0, SYMBOLS, WINDOWS * cell.steps * cell.batch + 1)}
    data["x"] = rng.standard_normal((cell.steps, cell.batch, cell.inputs), np.float32)
    if cell.trains:
        data["dy"] = rng.standard_normal((cell.steps, cell.batch, cell.hidden), np.float32)
    if cell.ragged:
        data["lengths"] = _lengths(cell, rng)
        if cell.trains:  # steps that are not valid have no part in the loss
            data["dy"] *= valid_steps(data["lengths"], cell.steps)
    return data


def _lengths(cell, rng):
    """One sequence of all T steps, the others of T/6 to T, in any order."""
    low = round((2 * VALID - 1) * cell.steps)
    lengths = rng.integers(low, cell.steps + 1, cell.batch)
    lengths[0] = cell.steps
    return rng.permutation(lengths)


def valid_steps(lengths, steps):
    """(T, B, 1), true where a step is valid."""
    return (np.arange(steps)[:, None] < lengths)[..., None]


def windows(ids, batch, steps):
    """The text in lanes, cut in windows: [(x (T, B), y (T, B)), ...] of ids."""
    x, y = (part[: len(ids) // batch * batch].reshape(batch, -1).T for part in (ids[:-1], ids[1:]))
    return [(x[k : k + steps], y[k : k + steps]) for k in range(0, len(x), steps)]


def _gate_rows(cell):
    """Rows of W_ih and W_hh."""
    return len(KINDS[cell.kind].gates) * cell.hidden


def recurrent_bytes(cell):
    """Bytes of weights that each time step must read: W_hh, for a single step W_ih as well."""
    columns = cell.hidden + (cell.inputs if cell.table == "step" else 0)
    return 4 * _gate_rows(cell) * columns


def least_seconds(cell, data, flops, bandwidth):
    """The least time on this machine: products at the rate of sgemm, or weights at the rate of the cache.

    Parameters
    ----------
    flops : float
        Measured rate of sgemm, per second.
    bandwidth : float
        Measured rate at which `recurrent_bytes` are read again and again, bytes per second.

    Notes
    -----
    The recurrent product of each step takes the longer of its arithmetic and of reading W_hh; all other
    products take their arithmetic. Training does each product three times: forward, for the inputs' and for
    the weights' gradient.
    """
    valid = int(data["lengths"].sum()) if cell.ragged else cell.steps * cell.batch
    rows = _gate_rows(cell)
    inputs = 2 * valid * rows * cell.inputs / flops
    recurrent = 2 * valid * rows * cell.hidden / flops
    streaming = cell.steps * recurrent_bytes(cell) / bandwidth
    if cell.table == "step":
        return max(inputs + recurrent, streaming)
    if not cell.trains:
        return inputs + max(recurrent, streaming)
    output = 2 * valid * cell.hidden * SYMBOLS / flops if cell.table == "loop" else 0
    return 3 * (inputs + output) + 2 * max(recurrent, streaming) + recurrent
