"""A picture of the ratios: one panel per table, one bar per cell and number of threads."""

from .cells import TABLES

COLOURS = ("#7aa6c2", "#1f5a7a")
LOSS = "#b3542d"


def save_plot(records, path):
    """Draw finished records to a file, whose suffix says its format."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch
    from matplotlib.ticker import FuncFormatter

    tables = {}
    for record in records:
        if record["ratio"] is not None:
            rows = tables.setdefault(record["table"], {}).setdefault(record["name"], {})
            rows[record["threads"]] = record["ratio"]
    colours = dict(zip(sorted({record["threads"] for record in records}), COLOURS))
    heights = [0.5 + 0.14 * sum(map(len, cells.values())) for cells in tables.values()]
    figure = Figure(figsize=(9, sum(heights) + 1.2), layout="constrained")
    axes = figure.subplots(len(tables), 1, height_ratios=heights, squeeze=False, sharex=True)[:, 0]
    for axis, (table, cells) in zip(axes, tables.items()):
        _panel(axis, TABLES[table], cells, colours)
    axes[0].set_xscale("log", base=2)
    axes[0].xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes[0].margins(x=0.08)
    axes[-1].set_xlabel("best peer's median time / fastrnn's; over 1, fastrnn is faster")
    legend = [Patch(color=c, label=f"{n} thread{'s' * (n > 1)}") for n, c in colours.items()]
    figure.legend(
        handles=[*legend, Patch(color=LOSS, label="a peer is faster")], fontsize=8, ncols=3, loc="outside upper right"
    )
    figure.savefig(path, dpi=110)


def _panel(axis, title, cells, colours):
    """A bar for each cell and number of threads, from 1 to its ratio."""
    for y, ratios in enumerate(cells.values()):
        height = 0.8 / len(ratios)
        for k, (count, ratio) in enumerate(sorted(ratios.items())):
            place = y + (k - (len(ratios) - 1) / 2) * height
            colour = colours[count] if ratio >= 1 else LOSS
            bar = axis.barh(place, ratio - 1, height, left=1, color=colour)
            axis.bar_label(bar, [f"{ratio:.2f}"], fontsize=6, padding=2)
    axis.axvline(1, color="black", linewidth=0.8)
    axis.set_yticks(range(len(cells)), cells, fontsize=7)
    axis.set_ylim(len(cells) - 0.5, -0.5)
    axis.set_title(title, fontsize=9, loc="left")
