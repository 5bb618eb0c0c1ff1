"""Axes of arrays that layers take: views without a copy."""

import numpy as np


def time_major(x, batch_first):
    """x (B, T, H), (T, B, H) or unbatched (T, H) as (T, B, H), without a copy."""
    if x.ndim == 2:
        return x[:, None]
    return x.swapaxes(0, 1) if batch_first else x


def one_step(shape, batch_first):
    """The shape with a time axis of 1."""
    time = 1 if batch_first and len(shape) == 3 else 0
    return (*shape[:time], 1, *shape[time + 1:])


def valid_steps(x, lengths):
    return (np.arange(len(x))[:, None] < lengths)[..., None]


def rows(x):
    """x: (..., N) as (rows, N), without a copy."""
    return x.reshape(-1, x.shape[-1])
