"""Loss, metrics and outputs of data by inference."""

import contextlib

import numpy as np

from ...data.named import NamedSequences
from ...data.source import Source
from ..progress import Progress
from .figures import added, finished
from .passes import infer, measure_all, output_lengths, to_layout


class Evaluation:
    """A model's figures and outputs by inference.

    Parameters
    ----------
    model : Module
    loss : function
    metrics : list of metrics
    """

    def __init__(self, model, loss, metrics):
        self._model, self._loss, self._metrics = model, loss, metrics

    def figures(self, data, check_interrupt=lambda: None, progress=False):
        """Loss and metrics of all of `data`."""
        model, order = self._model, data.order()
        sums, mass = {}, 0.0
        counted = isinstance(order, list)  # else batches come until they end
        total = sum(data.updates(indices) for indices in order) if counted else 0
        with _display(progress and counted, total, "batch") as shown:
            for indices in order:
                state = None
                for batch in data.windows(indices, context=False):
                    y, state = infer(model, batch, state)
                    part = batch.mass(data.per_step)
                    if part:
                        loss, _, found = measure_all(self._loss, self._metrics, model, y, batch)
                        values = {"loss": loss, **{m.name: value for m, value in zip(self._metrics, found)}}
                        sums = added(sums, values, part)
                        mass += part
                    shown.advance()
                    check_interrupt()
        return finished(self._metrics, *self.total(sums, mass))

    def total(self, sums, mass):
        """Sums over elements and their mass, added up over all processes that share the work; here only one does."""
        return sums, mass

    def outputs(self, data, progress=False):
        """The model's outputs for the sequences of `data`, in their order and form."""
        if isinstance(data, Source):
            return self._outputs_of_batches(data, progress)
        model = self._model
        rows = [None] * len(data)
        with _display(progress, len(data), "sequence") as shown:
            for indices in data.order():
                y, _ = infer(model, data.batch(indices))
                for k, row in zip(indices.tolist(), y if model.pools_time else to_layout(model, y)):
                    rows[k] = row
                shown.advance(len(indices))
        if not data.per_step:
            return np.stack(rows)
        lengths = output_lengths(model, data)
        if data.ragged:
            return [row[:length].copy() for row, length in zip(rows, lengths)]
        out = np.zeros((len(rows), self._steps(data), *rows[0].shape[1:]), rows[0].dtype)
        for k, row in enumerate(rows):
            length = len(row) if lengths is None else lengths[k]
            out[k, :length] = row[:length]
        return out

    def _steps(self, data):
        """Steps of the output for sequences as long as the padded array."""
        steps = np.array([data.x.shape[1]])
        if isinstance(data, NamedSequences):
            steps = dict.fromkeys(data.sequences_by_name(), steps)
        return int(self._model.output_lengths(steps)[0])

    def _outputs_of_batches(self, source, progress):
        """The outputs of all sequences of all batches: one array where batches fit together, else a list."""
        found = []  # (outputs, lengths) of each batch
        order = source.order()
        with _display(progress and isinstance(order, list), len(order) if isinstance(order, list) else 0,
                      "batch") as shown:
            for numbers in order:
                data = source.sequences(numbers)
                found.append((self.outputs(data), output_lengths(self._model, data)))
                shown.advance()
        outputs = [y for y, _ in found]
        if all(isinstance(y, np.ndarray) and y.shape[1:] == outputs[0].shape[1:] for y in outputs):
            return np.concatenate(outputs)
        return [row if lengths is None else row[: lengths[k]] for y, lengths in found for k, row in enumerate(y)]


def _display(progress, total, unit):
    return Progress(total, unit) if progress else _Silent()


class _Silent(contextlib.nullcontext):
    """The `Progress` that shows nothing."""

    def __enter__(self):
        return self

    def advance(self, amount=1):
        pass
