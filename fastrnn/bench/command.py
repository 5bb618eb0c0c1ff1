"""The ``fastrnn bench`` command: measure, print tables, write JSON and a plot."""

import json
import sys
import time

from .._version import __version__
from ..check.values import check_option, check_positive_int
from ..diagnostics.plot import check_plot
from ..files.wholefile import check_writable
from ..threads import available_cpus
from ..train.progress import Progress
from .cells import TABLES, grid
from .cold import measure_cold
from .driver import FULL, QUICK, measure
from .machine import describe, measure_limits
from .peers import BLAS, OURS, installed
from .plot import save_plot
from .problem import recurrent_bytes
from .report import finish, summarise, summary_text, table_text

COLD_ROUNDS = {True: 2, False: 7}


def run_command(quick, threads, json_path, plot_path, tables, blas=False):
    """See `fastrnn.bench.run`."""
    for table in tables or ():
        check_option(table, "tables", tuple(TABLES))
    counts = sorted({1, available_cpus()})
    if threads is not None:
        counts = [check_positive_int(threads, "threads")]
    elif quick:
        counts = counts[-1:]
    if json_path is not None:
        check_writable(json_path)
    if plot_path is not None:
        check_plot(plot_path, "--plot")
    peers, missing = installed([BLAS] if blas else None)
    for line in missing:
        print(line)
    session = Session(quick, counts, peers, tables)
    try:
        session.run()
    finally:
        if json_path is not None:
            with open(json_path, "w") as file:
                json.dump(session.to_dict(), file, indent=1)
                file.write("\n")
        if plot_path is not None and any(record["ratio"] for record in session.records):
            save_plot(session.records, plot_path)
    print(f"\n{summary_text(summarise(session.records))}")
    return int(any(record["failed"] for record in session.records) or bool(session.absent))


class Session:
    """One run of the benchmark: what is measured, and the records so far."""

    def __init__(self, quick, counts, peers, tables):
        self.quick, self.counts, self.peers = quick, counts, peers
        self.cells = grid(quick, counts, tables)
        self.starts = (tables is None or "start" in tables) and BLAS not in peers  # starts as fastrnn does
        self.records, self.limits, self.versions, self.absent = [], [], {}, {}
        self.complete = False
        self._start = time.monotonic()
        self._progress = None

    def run(self):
        """Measure everything; prints each table when it is complete."""
        with Progress(len(self.cells) + self.starts, unit="cell") as self._progress:
            for count in sorted({cell.threads for cell in self.cells}):
                self._measure([cell for cell in self.cells if cell.threads == count])
            if self.starts:
                rows = measure_cold(self.peers, COLD_ROUNDS[self.quick], self.counts[-1])
                self._show([self._keep(row) for row in rows])
                self._progress.advance(title="start")
        self.complete = True

    def to_dict(self):
        """Everything, as plain values for JSON."""
        return {
            "fastrnn": __version__,
            "quick": self.quick,
            "complete": self.complete,
            "seconds": time.monotonic() - self._start,
            "machine": describe(),
            "versions": self.versions,
            "absent": self.absent,
            "limits": self.limits,
            "tables": summarise(self.records),
            "records": self.records,
        }

    def _measure(self, cells):
        limits = measure_limits(cells[0].threads, {recurrent_bytes(cell) for cell in cells})
        self.limits.append(
            {
                "threads": limits.threads,
                "sgemm_flops": limits.flops,
                "read_bytes": {str(size): rate for size, rate in limits.rates.items()},
            }
        )
        rates = sorted(rate / 1e9 for rate in limits.rates.values())
        self._progress.write(
            f"{limits.threads} thread{'s' * (limits.threads > 1)}: sgemm {limits.flops / 1e9:.0f} GFLOP/s, "
            f"weights read at {rates[0]:.0f} to {rates[-1]:.0f} GB/s"
        )
        rows = []
        effort = QUICK if self.quick else FULL
        for record in measure(cells, self.peers, effort, limits, self._begin):
            if rows and rows[0]["table"] != record["table"]:
                self._show(rows)
                rows = []
            rows.append(self._keep(record))
            self._progress.advance(title=f"{record['table']}, {record['name']}")
        self._show(rows)

    def _keep(self, record):
        """Finish a record, and say what failed."""
        self.records.append(finish(record))
        for name, reason in record["failed"].items():
            self._progress.write(f"{record['table']}, {record['name']}: {name} failed: {reason}")
        return record

    def _begin(self, versions, absent):
        """Note which libraries run, and say which do not."""
        self.versions.update(versions)
        self.absent.update(absent)
        for name, reason in absent.items():
            self._progress.write(f"{name}: skipped, failed to start: {reason}")

    def _show(self, rows):
        shown = [name for name in self.peers if name != OURS and any(name in row["results"] for row in rows)]
        self._progress.write(f"\n{table_text(rows, shown)}", file=sys.stdout)
