"""The side-by-side benchmark: grid, comparison, protocol, figures, and tiny cells through every library."""

import json
import math
import re

import numpy as np
import pytest

from fastrnn import bench
from fastrnn.bench import cells, command, plot, report
from fastrnn.bench.cells import Cell, grid
from fastrnn.bench.compare import TOLERANCE, difference
from fastrnn.bench.driver import Effort, measure
from fastrnn.bench.machine import Limits, measure_limits
from fastrnn.bench.peers import BLAS, OURS, PEERS, Source, installed
from fastrnn.bench.problem import VALID, build_problem, least_seconds, recurrent_bytes, windows
from fastrnn.bench.work import Stopwatch, Work
from fastrnn.bench.workers import Worker, WorkerError

TINY = {
    "step": [("LSTM", 8, 1, 1, 8), ("GRU", 8, 1, 1, 8)],
    "sequence": [("RNN", 8, 3, 4, 5)],
    "training": [("GRU", 8, 3, 4, 5)],
    "ragged": [("LSTM", 8, 3, 12, 5)],
    "ragged training": [("RNN", 8, 3, 12, 5)],
    "loop": [("LSTM", 8, 2, 5, 4)],
}
BRIEF = Effort(rounds=2, turn=0.002, warm_up=0.002)


class AnyLimits(Limits):
    def bandwidth(self, size):
        return 1e10


# The grid


@pytest.mark.parametrize("quick", [True, False])
def test_grid(quick):
    found = grid(quick, [1, 4])
    assert len(set(found)) == len(found)
    names = [(cell.table, cell.threads, cell.name) for cell in found]
    assert len(set(names)) == len(names), "a table's rows are told apart by their names"
    threads = {table: {cell.threads for cell in found if cell.table == table} for table in cells.TABLES}
    assert threads.pop("start") == set()
    assert threads.pop("step") == {1}
    assert threads.pop("ragged") == threads.pop("ragged training") == {4}
    assert set(map(frozenset, threads.values())) == {frozenset({1, 4})}


def test_grid_of_one_table_and_one_number_of_threads():
    assert {(cell.table, cell.threads) for cell in grid(True, [3], ["step", "training"])} == {
        ("step", 1),
        ("training", 3),
    }


def test_the_grid_is_that_of_the_quick_one_and_more():
    for table in ("step", "sequence", "loop"):
        assert set(cells.QUICK[table]) <= set(cells.FULL[table])


# Problems


def test_ragged_problem_has_its_share_of_valid_steps_and_masked_gradients():
    data = build_problem(Cell("ragged training", "LSTM", 4, batch=400, steps=100, inputs=3))
    assert abs(data["lengths"].mean() / 100 - VALID) < 0.03
    assert data["lengths"].max() == 100
    for b, length in enumerate(data["lengths"]):
        assert not data["dy"][length:, b].any()
        assert data["dy"][:length, b].all()


def test_windows_follow_each_other_in_every_lane():
    pairs = windows(np.arange(25), batch=2, steps=4)
    assert len(pairs) == 3
    x, y = (np.concatenate(part) for part in zip(*pairs))
    np.testing.assert_array_equal(x, [[k, k + 12] for k in range(12)])
    np.testing.assert_array_equal(y, x + 1)


def test_least_time_is_arithmetic_or_reading_weights():
    fast, slow = 1e12, 1e6
    cell = Cell("step", "LSTM", 10, inputs=6)
    assert recurrent_bytes(cell) == 4 * 40 * 16
    assert least_seconds(cell, {}, slow, fast) == pytest.approx(2 * 40 * 16 / slow)
    assert least_seconds(cell, {}, fast, slow) == pytest.approx(4 * 40 * 16 / slow)
    cell = Cell("ragged training", "GRU", 10, batch=2, steps=9, inputs=6)
    data = {"lengths": np.array([9, 3])}
    assert least_seconds(cell, data, slow, fast) == pytest.approx(3 * 2 * 12 * 30 * 16 / slow)


def test_measured_limits():
    limits = measure_limits(1, [100, 1 << 20])
    assert limits.flops > 1e8
    assert limits.bandwidth(100) > 1e8 and limits.bandwidth(1 << 20) > 1e8


# Work


def test_work_is_one_statement_compared_and_timed():
    work = Work(
        "s = double(s)\nlog.append(s)",
        {"double": lambda s: 2 * s, "log": (log := [])},
        setup="s = 1",
        result="{'s': s}",
        repeat=3,
        calls=2,
    )
    assert work.outcome() == {"s": 8}
    function = work.function()
    log.clear()
    function()
    function()
    assert log == [2, 4]
    watch = Stopwatch(work)
    assert 0 < watch.probe(0.002) < 1
    assert all(0 < seconds < 1 for seconds in watch.samples(0.002))


# Comparison

RAGGED = Cell("ragged", "GRU", 2, batch=2, steps=3, inputs=1)


def test_difference_is_relative_and_finds_what_is_missing_or_not_finite():
    ours = {"y": np.array([[[4.0, -8.0]]]), "dx": np.ones(3)}
    cell = Cell("training", "GRU", 2)
    assert difference(cell, ours, ours) == 0
    assert difference(cell, ours, {"y": ours["y"] + 0.8, "dx": ours["dx"]}) == pytest.approx(0.1)
    assert difference(cell, ours, {"y": ours["y"]}) == math.inf
    assert difference(cell, ours, {"y": ours["y"], "dx": np.ones(4)}) == math.inf
    assert difference(cell, ours, {"y": ours["y"] * math.nan, "dx": ours["dx"]}) == math.inf


def test_difference_leaves_out_what_lies_beyond_a_length():
    ours = {"y": np.ones((3, 2, 2))}
    theirs = {"y": ours["y"].copy()}
    theirs["y"][2, 0] = 7
    assert difference(RAGGED, ours, theirs, np.array([2, 3])) == 0
    assert difference(RAGGED, ours, theirs, np.array([3, 3])) == 6


# Libraries


def test_missing_libraries_are_skipped_with_a_line_each(monkeypatch):
    monkeypatch.setitem(PEERS, "torch", Source(("no_such_package",)))
    monkeypatch.setitem(PEERS, "jax", Source(("no_such_package", "numpy", "nor_this")))
    found, lines = installed()
    assert found[0] == OURS
    assert not {"torch", "jax"} & set(found)
    assert "torch: skipped, not installed (pip install no_such_package)" in lines
    assert "jax: skipped, not installed (pip install no_such_package nor_this)" in lines


# Protocol


@pytest.fixture
def worker():
    worker = Worker(OURS, 1)
    yield worker
    worker.close()


def test_worker_serves_cells_and_survives_bad_requests(worker, tmp_path):
    worker.begin()
    assert re.match(r"\d", worker.version)
    cell = Cell("sequence", "LSTM", 4, batch=2, steps=3, inputs=5)
    np.savez(tmp_path / "data.npz", **build_problem(cell))
    assert worker.prepare(cell, tmp_path / "data.npz", tmp_path / "out") == [OURS]
    with np.load(tmp_path / f"out.{OURS}.npz") as outcome:
        assert outcome["y"].shape == (3, 2, 4)
    assert 0 < worker.probe(OURS, 0.001) < 1
    assert all(0 < seconds < 1 for seconds in worker.time(OURS, 0.001))
    with pytest.raises(WorkerError, match="KeyError"):
        worker.time("no such variant", 0.001)
    with pytest.raises(WorkerError, match=r"FileNotFoundError: .*nothing"):
        worker.prepare(cell, tmp_path / "nothing.npz", tmp_path / "out")
    worker.release()
    assert worker.alive()


def test_worker_that_dies_says_why(monkeypatch):
    monkeypatch.setitem(PEERS, "no_such_peer", Source(()))
    worker = Worker("no_such_peer", 1)
    try:
        with pytest.raises(WorkerError, match="no_such_peer"):
            worker.begin()
        worker._process.kill()
        with pytest.raises(WorkerError, match="process ended with code"):
            worker.release()
        assert not worker.alive()
    finally:
        worker.close()


# Tiny cells through all that is installed


@pytest.fixture(scope="module")
def records():
    peers = [*installed()[0], BLAS]
    tiny = [Cell(table, *shape) for table, rows in TINY.items() for shape in rows]
    return [report.finish(record) for record in measure(tiny, peers, BRIEF, AnyLimits(1, 1e11, {}))]


def test_every_library_did_the_same_work(records):
    peers = [*installed()[0], BLAS]
    assert len(records) == sum(map(len, TINY.values()))
    for record in records:
        assert record["failed"] == {}
        trains = record["table"] in ("training", "ragged training", "loop")
        expected = {name for name in peers if not (trains and name in ("onnxruntime", "openvino"))}
        assert set(record["results"]) == expected
        for result in record["results"].values():
            assert 0 < result["least"] <= result["median"] < 10
            assert result["error"] <= TOLERANCE[record["table"]]
            assert result["samples"] >= BRIEF.rounds
        assert record["share"] > 0


def test_wrong_outputs_are_not_timed(monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(
        "fastrnn.bench.driver.difference", lambda cell, ours, theirs, lengths: float(theirs is not ours)
    )
    cell = Cell("sequence", "RNN", 4, batch=1, steps=2, inputs=3)
    (record,) = measure([cell], [OURS, "onnxruntime"], BRIEF, AnyLimits(1, 1e11, {}))
    assert record["results"].keys() == {OURS}
    assert record["failed"] == {"onnxruntime": "outputs differ: run by 1.0e+00, bound by 1.0e+00"}


# Figures


def row(name, ours, threads=1, table="sequence", **peers):
    results = {library: {"median": seconds, "error": 1e-7} for library, seconds in {OURS: ours, **peers}.items()}
    return report.finish(
        {
            "table": table,
            "name": name,
            "threads": threads,
            "results": results,
            "failed": {},
            "least_possible": ours / 2,
        }
    )


def test_ratio_is_to_the_fastest_peer():
    record = row("a", 2e-3, torch=5e-3, jax=4e-3)
    assert (record["best_peer"], record["ratio"], record["share"]) == ("jax", 2.0, 0.5)
    alone = row("a", 2e-3)
    assert (alone["best_peer"], alone["ratio"]) == (None, None)


def test_geometric_mean():
    assert report.geometric_mean([2, 8]) == pytest.approx(4)
    assert report.geometric_mean([]) is None


def test_summary_by_table_and_threads():
    rows = [row("a", 1, torch=2), row("b", 1, torch=8), row("c", 1), row("a", 2, threads=2, torch=1)]
    first, second = report.summarise(rows)
    assert (first["cells"], first["geometric_mean"], first["worst"], first["worst_cell"]) == (3, 4, 2, "a")
    assert (second["threads"], second["geometric_mean"], second["worst"]) == (2, 0.5, 0.5)


def test_table_text():
    text = report.table_text([row("LSTM", 1.234e-3, torch=2.468e-3, jax=0.5), row("GRU", 5.6e-7)], ["torch", "jax"])
    assert "| LSTM |  1.23 ms | 2.47 ms* | 500 ms |  2.00 |      50% | 1e-07 |" in text
    assert "| GRU  | 0.560 us |" in text
    assert text.endswith("geometric mean 2.00, worst 2.00 (LSTM)")
    alone = report.table_text([row("GRU", 5.6e-7)], [])
    assert "geometric mean" not in alone


# The command


@pytest.fixture
def only_ours(monkeypatch):
    found = [OURS], ["torch: skipped, not installed (pip install torch)"]
    monkeypatch.setattr(command, "installed", lambda names=None: found)
    monkeypatch.setattr(command, "QUICK", BRIEF)
    monkeypatch.setattr(cells, "QUICK", {"step": TINY["step"][:1], "sequence": TINY["sequence"]})


def test_run_prints_tables_and_writes_json(only_ours, tmp_path, capsys):
    path = tmp_path / "results.json"
    assert bench.run(quick=True, threads=1, json_path=path) == 0
    printed = capsys.readouterr().out
    assert "torch: skipped, not installed (pip install torch)" in printed
    for title in ("step", "sequence", "start"):
        assert cells.TABLES[title] in printed
    found = json.loads(path.read_text())
    assert [record["table"] for record in found["records"]] == ["step", "sequence", "start", "start", "start"]
    assert found["versions"].keys() == {OURS}
    assert found["limits"][0]["sgemm_flops"] > 0
    assert found["complete"]


def test_interrupted_run_keeps_what_was_measured(only_ours, monkeypatch, tmp_path):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "measure_cold", interrupt)
    path = tmp_path / "results.json"
    with pytest.raises(KeyboardInterrupt):
        bench.run(quick=True, threads=1, json_path=path)
    found = json.loads(path.read_text())
    assert [record["table"] for record in found["records"]] == ["step", "sequence"]
    assert not found["complete"]


def test_plot(only_ours, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "ratios.svg"
    plot.save_plot([row("a", 1, torch=2, threads=n) for n in (1, 2)] + [row("b", 1, table="step", jax=0.5)], path)
    assert "<svg" in path.read_text()
    bench.run(quick=True, threads=1, plot_path=path, tables=["step"])  # no peer, no ratio: nothing to draw


def test_bad_arguments_are_refused_before_anything_is_measured(monkeypatch, tmp_path):
    monkeypatch.setattr(command.Session, "run", lambda self: pytest.fail("measured"))
    with pytest.raises(ValueError, match=r"tables: expected one of 'step', .*found 'steps'"):
        bench.run(tables=["steps"])
    with pytest.raises(ValueError, match="threads: expected an int of at least 1, found 0"):
        bench.run(threads=0)
    with pytest.raises(OSError, match="nowhere"):
        bench.run(json_path=tmp_path / "nowhere" / "results.json")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="--plot: expected Matplotlib, found none"):
        bench.run(plot_path=tmp_path / "a.png")


def test_plot_needs_a_known_suffix(tmp_path):
    with pytest.raises(ValueError, match=r"--plot: expected a name that ends in \.png, \.svg or \.pdf"):
        bench.run(plot_path=tmp_path / "results.doc")
