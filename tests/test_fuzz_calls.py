"""Calls that once went wrong, and some thousands of random ones. `fuzz_calls.py` makes as many as one likes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FUZZER = Path(__file__).with_name("fuzz_calls.py")

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")


def run(*options):
    return subprocess.run([sys.executable, FUZZER, *options], capture_output=True, text=True, timeout=300, check=False)


def test_corpus():
    done = run("--corpus")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert int(re.fullmatch(r"(\d+) programs\n", done.stdout)[1]) >= 25


def test_random_calls():
    done = run("--calls", "2000", "--seed", "0")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert int(re.search(r"(\d+) calls, 0 kinds shown\n$", done.stdout)[1]) >= 2000


def test_what_goes_wrong_is_found(tmp_path):
    """The fuzzer's own judgement: an error of another kind, memory, time, a change by a failed call, a signal."""
    for program in ("v1 = 1 / 0", "v1 = np.ones(10**8)", "v1 = sum(range(10**8))",
                    "v1 = fastrnn.Linear(3, 4)\nv2 = v1.params['bias'].fill(1) or v1.forward(1)",
                    "v1 = fastrnn.memory.os.kill(fastrnn.memory.os.getpid(), 11)"):
        (tmp_path / "program").write_text(program)
        assert run("--replay", str(tmp_path / "program")).returncode != 0, program
