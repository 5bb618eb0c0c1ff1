"""Figures of training and of held-out data: means of the loss and of metrics over elements."""


def names(metrics):
    """The names of the figures of a prediction: the loss and the metrics."""
    return ("loss", *(metric.name for metric in metrics))


def added(sums, values, mass):
    """`sums` plus `values` times their mass."""
    return {name: sums.get(name, 0.0) + value * mass for name, value in values.items()}


def finished(metrics, sums, mass):
    """The figures from sums over elements of this mass."""
    means = {name: value / mass for name, value in sums.items()} if mass else {}
    figures = {"loss": means.get("loss", 0.0)}
    for metric in metrics:
        figures[metric.name] = metric.finish(means.get(metric.name, 0.0))
    return figures
