"""The engine's masks, written again in NumPy: which values are dropped, by seed, place, step, sequence and unit."""

import numpy as np

WEIGHTS, RECURRENT, H, C = range(4)  # what a mask is for
WORD = 2**64


def mix(x):
    """SplitMix64's finaliser (Steele, Lea and Flood 2014) of uint64 values."""
    x = np.asarray(x, np.uint64)
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def words(values):
    return np.asarray(values).astype(np.uint64)


def drawn(seed, steps, sequences, units, p):
    """bool [..., units]: where a value is dropped; steps and sequences are arrays of ints of one shape."""
    with np.errstate(over="ignore"):
        key = mix(np.uint64(seed) + mix((words(steps) << np.uint64(32)) + words(sequences)))
        values = mix(key[..., None] + np.arange(units, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    return values >> np.uint64(40) < np.uint64(int(p * 2**24))


def factors(*place, p):
    """float64: 0 where a value is dropped, else 1 / (1 - p)."""
    return ~drawn(*place, p) / (1 - p) if p < 1 else np.zeros(drawn(*place, p).shape)


def seed_for(seed, cell, purpose):
    """The seed of one purpose in one layer and direction, number `cell`."""
    return int(mix(seed ^ int(mix(4 * cell + purpose + 1))))


def between_layers(seed, layer, steps, batch, width, p, first_step=0):
    """float64 [T, B, width]: dropout of the input of `layer`."""
    t, b = np.meshgrid(np.arange(steps) + first_step, np.arange(batch), indexing="ij")
    return factors((seed + layer * 0xD1B54A32D192ED03) % WORD, t, b, width, p=p)


def between_steps(seed, cell, reverse, lengths, steps, widths, weights, probabilities, first_step=0):
    """A dict as reference.py takes it, for one layer and direction.

    `lengths` are B ints, `widths` those of h and, perhaps, of c, `weights` the shape of weight_hh; `probabilities` go
    by the names of the reference's masks. The reverse direction counts its own steps.
    """
    batch = np.arange(len(lengths))
    t, b = np.meshgrid(np.arange(steps), batch, indexing="ij")
    if reverse:
        t = np.maximum(np.asarray(lengths) - 1 - t, 0)
    masks = {}
    if probabilities["weight"]:
        rows = np.arange(weights[0])
        masks["weight"] = factors(seed_for(seed, cell, WEIGHTS), 0 * rows, rows, weights[1], p=probabilities["weight"])
    if probabilities["recurrent"]:
        own = seed_for(seed, cell, RECURRENT)
        masks["recurrent"] = factors(own, 0 * batch, batch, widths[0], p=probabilities["recurrent"])
    for name, purpose, width in zip(("h", "c"), (H, C), widths):
        if probabilities[name]:
            masks[name] = drawn(seed_for(seed, cell, purpose), t + first_step, b, width, probabilities[name]) * 1.0
    return masks
