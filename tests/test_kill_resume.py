"""Runs that are killed, and disks that are full: resumed training ends with the bits of training left alone.

A short form; `python tests/kill_resume.py 50`, or FASTRNN_KILLS=50 here, is the long one.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from kill_resume import Job, kill_and_resume

KILLS = int(os.environ.get("FASTRNN_KILLS", "4"))
HERE = Path(__file__).parent

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")


@pytest.mark.parametrize("command", [False, True], ids=["trainer", "fastrnn train --resume"])
def test_killed_runs_end_as_if_left_alone(command):
    assert kill_and_resume(Job(command), KILLS, seed=1) >= 1


LIMITED = """
import resource, sys
sys.path.insert(0, {here!r})
import kill_resume
from pathlib import Path
from fastrnn.callbacks import ModelCheckpoint

class Fills(ModelCheckpoint):
    def write(self, trainer):
        if trainer.step == {step}:
            resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, resource.RLIM_INFINITY))
        super().write(trainer)

Fills.__name__ = "ModelCheckpoint"
import fastrnn.callbacks
fastrnn.callbacks.ModelCheckpoint = Fills
kill_resume.train(Path.cwd())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_full_disk_loses_nothing_that_was_written(tmp_path):
    """A file may grow to a few bytes only from some checkpoint on, as on a full disk."""
    job = Job(False)
    environment = {**os.environ, "FASTRNN_NUM_THREADS": "1"}
    (tmp_path / "alone").mkdir()
    expected = job.alone(tmp_path / "alone")
    full = tmp_path / "full"
    full.mkdir()
    for step, size in ((30, 1000), (61, 70_000)):
        result = subprocess.run(
            [sys.executable, "-c", LIMITED.format(here=str(HERE), step=step, size=size)],
            cwd=full,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env=environment,
        )
        assert result.returncode == 1 and "FileError" in result.stderr, result.stderr
        assert f"run.{step:09d}.ckpt: cannot be written: File too large" in result.stderr
        left = sorted(path.name for path in full.iterdir())
        assert left == ["log.csv", f"run.{step - 2:09d}.ckpt", f"run.{step - 1:09d}.ckpt"]
    assert job.alone(full) == expected
