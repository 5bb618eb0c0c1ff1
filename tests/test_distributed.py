"""Training by several processes: the figures of one, and the end of a process."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from distributed_job import cases, make, outcome
from tolerances import relative_error, tolerance

from fastrnn import Trainer
from fastrnn.files.checkpoint import CheckpointSeries

pytest.importorskip("mpi4py", reason="needs mpi4py", exc_type=ImportError)
BESIDE = Path(sys.executable).parent / "mpiexec"
MPIEXEC = str(BESIDE) if BESIDE.exists() else shutil.which("mpiexec")
if MPIEXEC is None:
    pytest.skip("needs mpiexec", allow_module_level=True)
OPEN_MPI = "Open MPI" in subprocess.run([MPIEXEC, "--version"], capture_output=True, text=True).stdout
JOB = Path(__file__).with_name("distributed_job.py")


def launch(kind, folder, ranks=2, guarded=True, **options):
    """Start a job under mpiexec."""
    many = ["--oversubscribe"] if OPEN_MPI else []
    guard = ["-m", "fastrnn.distributed"] if guarded else []
    program = [sys.executable, *guard, str(JOB), kind, str(folder), json.dumps(options)]
    as_root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    root = str(Path(__file__).parents[1])
    return subprocess.Popen(
        [MPIEXEC, *many, "-n", str(ranks), *program],
        env={**os.environ, **as_root, "FASTRNN_NUM_THREADS": "1", "PYTHONPATH": root},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(kind, folder, *args, fails=False, **options):
    """(output, exit status) of a job; a failure where none is expected shows the output."""
    process = launch(kind, folder, *args, **options)
    text, _ = process.communicate(timeout=100)
    assert (process.returncode != 0) == fails, text
    return text


def result(folder, rank=0):
    return json.loads((folder / f"out{rank}.json").read_text())


# The same figures


@pytest.fixture(scope="module", params=[2, 3])
def equal(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("equal")
    run("equal", folder, request.param)
    return result(folder)


@pytest.mark.parametrize("name", cases())
def test_figures_are_those_of_one_process(equal, name):
    model, options, arguments = cases()[name]
    expected = json.loads(json.dumps(outcome(make(Trainer, model, options), arguments)))
    bound = tolerance("ranks, float32" if name == "float32" else "ranks, float64")
    found = equal[name]
    assert found.keys() == expected.keys()
    for one, other in zip(leaves(found), leaves(expected)):
        assert relative_error(one, other, smallest_scale=0.1) <= bound


def leaves(tree):
    """The innermost lists and numbers of nested lists and dicts, as arrays."""
    if isinstance(tree, dict):
        return [leaf for item in tree.values() for leaf in leaves(item)]
    if isinstance(tree, list) and tree and isinstance(tree[0], (list, dict)):
        return [leaf for item in tree for leaf in leaves(item)]
    return [np.asarray(tree)]


def test_a_checkpoint_is_that_of_one_process(tmp_path):
    # in an epoch's middle, with carried states: half by two ranks and the rest by one
    run("stream", tmp_path, do="interrupt", at=27, rank=1, fails=True)
    state = CheckpointSeries(tmp_path / "run").newest()[1]
    assert state["step"] in (27, 28) and state["fit"]["window"] == state["step"] - 20
    for h in state["fit"]["states"][0][0]:
        assert h.shape == (2, 4, 6) and np.abs(h).min(axis=(0, 2)).all()
    trainer = Trainer.from_state(state)
    from distributed_job import data

    from fastrnn import LaneStream

    d = data("float32")
    trainer.fit(LaneStream(d["stream"][:81], 4, 1, d["targets"][:81]), epochs=3, progress=False)
    assert trainer.step == 60 and trainer.history["loss"][-1] < trainer.history["loss"][0]


# Ends


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    run("stream", folder)
    return result(folder)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_ends_the_run_with_a_checkpoint_of_the_last_update(tmp_path, undisturbed, rank):
    started = time.monotonic()
    text = run("stream", tmp_path, do="kill", at=33, rank=rank, fails=True)
    assert time.monotonic() - started < 25
    found = list(tmp_path.glob("run.*33.ckpt"))
    assert len(found) == 1, text
    message = (tmp_path / f"error{1 - rank}").read_text()
    assert message.startswith(f"RankError: rank {rank} of 2 ended without a word (killed or crashed); update 33,")
    assert str(found[0]) in message and message in text
    run("stream", tmp_path)
    assert result(tmp_path) == undisturbed  # to the last bit


def test_a_killed_rank_among_three(tmp_path):
    run("stream", tmp_path, 3, do="kill", at=33, rank=2, fails=True)
    assert list(tmp_path.glob("run.*33.ckpt"))
    for rank in (0, 1):
        assert "rank 2 of 3 ended without a word" in (tmp_path / f"error{rank}").read_text()
    run("stream", tmp_path)
    assert result(tmp_path)["step"] == 60


def test_without_the_guard_the_newest_checkpoint_on_the_way_is_left(tmp_path):
    run("stream", tmp_path, guarded=False, do="kill", at=33, rank=1, slow=0.01, fails=True)
    assert 0 < CheckpointSeries(tmp_path / "run").newest()[1]["step"] <= 33


def test_a_rank_killed_from_outside(tmp_path):
    process = launch("stream", tmp_path, slow=0.25)
    while not (tmp_path / "log.csv").exists():
        time.sleep(0.05)
        assert process.poll() is None
    os.kill(int((tmp_path / "pid1").read_text()), signal.SIGKILL)
    text, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    step = int((tmp_path / "step0").read_text())
    assert f"update {step}, the last complete one" in text
    assert CheckpointSeries(tmp_path / "run").newest()[1]["step"] == step


def test_an_error_of_one_rank_ends_all(tmp_path):
    text = run("stream", tmp_path, do="raise", at=33, rank=1, fails=True)
    assert "rank 1 of 2 failed: OSError: no space left on this rank's disk; update 33" in text
    assert list(tmp_path.glob("run.*33.ckpt"))


def test_a_rank_that_leaves_ends_all(tmp_path):
    text = run("stream", tmp_path, do="exit", at=33, rank=1, fails=True)
    assert "rank 1 of 2 failed: SystemExit: 3" in text
    assert list(tmp_path.glob("run.*33.ckpt"))


def test_a_rank_that_never_comes_ends_all(tmp_path):
    text = run("absent", tmp_path, fails=True)
    assert "rank 1 has no data" in text and "rank 1 of 2 has left the program" in text


def test_a_rank_that_hangs_ends_all(tmp_path):
    text = run("stream", tmp_path, do="sleep", at=33, rank=1, fails=True)
    assert "the other ranks did not answer within 0.5 s; update 33" in text
    assert list(tmp_path.glob("run.*33.ckpt"))


@pytest.mark.parametrize("do", ["interrupt", "terminate"])
def test_an_interrupt_of_one_rank_ends_all_at_the_same_update(tmp_path, undisturbed, do):
    run("stream", tmp_path, do=do, at=33, rank=1, fails=True)
    steps = {(tmp_path / f"step{rank}").read_text() for rank in (0, 1)}
    assert steps in ({"33"}, {"34"})
    for rank in (0, 1):
        assert (tmp_path / f"error{rank}").read_text().startswith("KeyboardInterrupt")
    run("stream", tmp_path)
    assert result(tmp_path) == undisturbed


def test_a_stop_of_one_rank_ends_all_at_the_same_update(tmp_path):
    run("stream", tmp_path, do="stop", at=33, rank=1)
    assert {(tmp_path / f"step{rank}").read_text() for rank in (0, 1)} == {"34"}


def test_early_stopping(tmp_path):
    run("early", tmp_path)
    assert result(tmp_path) == [[3, 3, 0], [3, 3, 0]]


def test_a_loss_that_is_not_finite_on_one_rank_is_an_error_on_all(tmp_path):
    run("not_finite", tmp_path)
    for rank in (0, 1):
        message, same, step = result(tmp_path, rank)
        assert message.startswith("epoch 1, step 1") and same and step == 1


def test_different_data_are_an_error_on_all(tmp_path):
    run("differ", tmp_path)
    for rank in (0, 1):
        assert result(tmp_path, rank).startswith("X: expected the same on every rank, found")
