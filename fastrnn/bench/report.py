"""What was measured, as numbers and as text."""

import math

from .cells import TABLES
from .peers import OURS


def finish(record):
    """Add to a record the `best_peer`, its `ratio` to ours, and our `share` of the machine's limit.

    A ratio of 2 says that the fastest peer takes twice our time, by medians. What is not known is None.
    """
    results = record["results"]
    peers = {name: result["median"] for name, result in results.items() if name != OURS}
    record["best_peer"] = min(peers, key=peers.get) if peers else None
    ours = results[OURS]["median"]
    record["ratio"] = peers[record["best_peer"]] / ours if peers else None
    record["share"] = record["least_possible"] / ours if "least_possible" in record else None
    return record


def geometric_mean(values):
    """exp of the mean logarithm; None without values."""
    values = list(values)
    return math.exp(math.fsum(map(math.log, values)) / len(values)) if values else None


def summarise(records):
    """For each table and number of threads: cells, geometric mean of the ratios, and the worst cell."""
    groups = {}
    for record in records:
        groups.setdefault((record["table"], record["threads"]), []).append(record)
    summaries = []
    for (table, threads), rows in groups.items():
        rated = [row for row in rows if row["ratio"] is not None]
        worst = min(rated, key=lambda row: row["ratio"]) if rated else None
        summaries.append(
            {
                "table": table,
                "threads": threads,
                "cells": len(rows),
                "geometric_mean": geometric_mean(row["ratio"] for row in rated),
                "worst": worst and worst["ratio"],
                "worst_cell": worst and worst["name"],
            }
        )
    return summaries


def table_text(records, peers):
    """The records of one table and number of threads as an aligned Markdown table, and their mean."""
    table, threads = records[0]["table"], records[0]["threads"]
    has_share = "least_possible" in records[0]
    yardstick = ["numpy"] if "numpy" in records[0] else []
    header = ["", *yardstick, OURS, *peers, "ratio", *(["of limit", "error"] if has_share else [])]
    rows = []
    for record in records:
        times = [_cell(record, name) for name in (OURS, *peers)]
        row = [
            record["name"],
            *(_quantity(record[name], record["unit"]) for name in yardstick),
            *times,
            f"{record['ratio']:.2f}" if record["ratio"] else "-",
        ]
        if has_share:
            errors = [result["error"] for result in record["results"].values()]
            row += [f"{record['share']:.0%}", f"{max(errors):.0e}"]
        rows.append(row)
    lines = [f"{TABLES[table]}; {threads} thread{'s' * (threads > 1)}", "", *_aligned(header, rows)]
    (summary,) = summarise(records)
    if summary["geometric_mean"]:
        lines += [
            "",
            f"geometric mean {summary['geometric_mean']:.2f}, worst {summary['worst']:.2f} ({summary['worst_cell']})",
        ]
    return "\n".join(lines)


def summary_text(summaries):
    """All tables' means, one line each."""
    header = ["", "threads", "cells", "geometric mean", "worst", "worst cell"]
    rows = [
        [
            s["table"],
            str(s["threads"]),
            str(s["cells"]),
            f"{s['geometric_mean']:.2f}",
            f"{s['worst']:.2f}",
            s["worst_cell"],
        ]
        for s in summaries
        if s["geometric_mean"]
    ]
    if not rows:
        return "no other library was measured"
    return "\n".join(["best peer's median time / ours", "", *_aligned(header, rows)])


def _cell(record, name):
    result = record["results"].get(name)
    if result is None:
        return "-"
    return _quantity(result["median"], record.get("unit", "s")) + ("*" if name == record["best_peer"] else "")


def _quantity(value, unit):
    if unit != "s":
        return f"{_three_digits(value)} {unit}"
    scale, name = next(pair for pair in ((1, "s"), (1e3, "ms"), (1e6, "us")) if value * pair[0] >= 1 or pair[1] == "us")
    return f"{_three_digits(value * scale)} {name}"


def _three_digits(value):
    return f"{value:.{max(0, 2 - math.floor(math.log10(max(value, 1e-9))))}f}" if value < 100 else f"{value:.0f}"


def _aligned(header, rows):
    """Lines of a Markdown table, the first column to the left."""
    widths = [max(map(len, column)) for column in zip(header, *rows)]

    def line(row):
        return "| " + " | ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:]))]) + " |"

    rule = "|".join(["", "-" * (widths[0] + 2), *("-" * (w + 1) + ":" for w in widths[1:]), ""])
    return [line(header), rule, *map(line, rows)]
