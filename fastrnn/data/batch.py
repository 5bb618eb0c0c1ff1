"""One batch: the arrays of a pass, and the elements that count."""

from typing import NamedTuple

import numpy as np


class Targets(list):
    """Arrays of target ids, one for each sequence; a decoder adds the end. Every id and every end counts as one."""

    def counts(self):
        """Elements of each sequence, (B,)."""
        return np.array([len(ids) + 1 for ids in self], np.int64)


class Batch(NamedTuple):
    """The arrays of one pass, batch first.

    x : (B, T, I), or (B, T) of ids.
    y : (B, ...), or (B, T - context, ...) with a target for every step, or a list of B arrays of any number of labels;
        None in prediction.
    lengths : (B,) or None if all steps are valid.
    weight : (B,) or (B, T - context), or None if all count the same.
    context : number of first steps that do not count in the loss; the gradient flows through them.
    carry : the next window starts from the state before this step; None for the end.
    """

    x: np.ndarray
    y: np.ndarray | None
    lengths: np.ndarray | None
    weight: np.ndarray | None
    context: int = 0
    carry: int | None = None

    @property
    def steps(self):
        """Steps that count, padding included."""
        return self.x.shape[1] - self.context

    @property
    def counted(self):
        """Valid steps that count of each sequence, (B,), or None if all are valid."""
        if self.lengths is None or not self.context:
            return self.lengths
        return np.maximum(self.lengths - self.context, 0)

    def mass(self, per_step):
        """The divisor of a mean over this batch, up to a constant: valid elements, or their weights."""
        if isinstance(self.y, Targets):
            return float(np.sum(self.y.counts() * (1 if self.weight is None else self.weight)))
        if not per_step or isinstance(self.y, list):
            return float(len(self.x) if self.weight is None else self.weight.sum())
        batch, steps, counted = len(self.x), self.steps, self.counted
        if self.weight is None:
            return float(batch * steps if counted is None else counted.sum())
        weight = self.weight[:, None] if self.weight.ndim == 1 else self.weight
        if counted is None:
            return float(np.broadcast_to(weight, (batch, steps, *weight.shape[2:])).sum())
        valid = np.arange(steps) < counted[:, None]
        return float((weight * valid.reshape(batch, steps, *(1,) * (weight.ndim - 2))).sum())

    def unweighted(self):
        """The same batch, in which every element weighs 1."""
        return self if self.weight is None else self._replace(weight=np.ones_like(self.weight))

    def sequences(self, per_step):
        """The number of sequences in which something counts, each times the mean of its weights that are not 0."""
        if self.weight is not None and self.weight.ndim == 2 and per_step:
            weight = self.weight
            if self.counted is not None:
                weight = weight * (np.arange(self.steps) < self.counted[:, None])
            return float((weight.sum(1) / np.maximum((weight > 0).sum(1), 1)).sum())
        counts = np.ones(len(self.x)) if self.weight is None else self.weight
        if per_step and not isinstance(self.y, list):
            counts = counts * (self.counted > 0 if self.counted is not None else self.steps > 0)
        return float(counts.sum())

    def window(self, span):
        """The steps of a `Span` of a batch that has targets for every step."""
        first, new, stop, carry = span
        lengths = None if self.lengths is None else np.clip(self.lengths - first, 0, stop - first)
        weight = self.weight if self.weight is None or self.weight.ndim == 1 else self.weight[:, new:stop]
        return Batch(self.x[:, first:stop], self.y[:, new:stop], lengths, weight, new - first, carry - first)
