"""Every interleaving of the pool's operations, by the model checker beside this file."""

import shutil
import subprocess
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
KERNELS = TESTS.parent / "src" / "kernels"
MODEL = "pool_model.c"
COMPILER = shutil.which("gcc") or shutil.which("cc")
pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C compiler")

# Two callers' calls of workers x parts; t: a team, s: its caller looks for signals.
PLANS = [
    ("2x2,3x3,2x2", "2x3"),
    ("3x4,2x2", "2x2"),
    ("4x4t,2x2t", "2x2"),
    ("4x4,2x2t", "3x3t"),
    ("3x3s,2x2s", "2x2s"),
    ("4x4ts,2x3", "2x2s"),
]

# A change of the model or of work.h, and what the checker says of it.
MUTANTS = {
    "any thread that is awake takes a part": (
        "work.h", "who < fr_word_workers(word) && ", "(void)who, ", "who < open_call(s)->workers"),
    "one part too many": (
        "work.h", "fr_word_next(word) < fr_word_parts(word)", "fr_word_next(word) <= fr_word_parts(word)", ""),
    "a part is offered before the parts are counted": (
        MODEL, "fr_store(&s->work.left, now->parts);\n        t->at = C_WORD;", "t->at = C_WORD;", ""),
    "part 0 is offered to the workers too": ("work.h", "(uint64_t)parts << 11 | 1;", "(uint64_t)parts << 11;",
                                             "s->taken[part] == 0"),
    "a worker sleeps without a second look": (
        MODEL, "t->at = fr_work_watch(&s->work, me, 0) ? W_END_SLEEP : W_BLOCKED;", "t->at = W_BLOCKED;", ""),
    "a caller sleeps without a second look": (
        MODEL, "t->at = fr_work_finished(&s->work, 0) ? C_END_SLEEP : now->timed ? C_TIMED : C_BLOCKED;",
        "t->at = C_BLOCKED;", "no thread can move, and not every call has ended"),
    "a caller whose sleep is over leaves a release behind": (
        MODEL, "t->at = fr_sleep_end(&s->work.waiting) ? C_FINISHED : C_BLOCKED;",
        "fr_sleep_end(&s->work.waiting), t->at = C_FINISHED;", ""),
}


def built(folder, mutant=None):
    """The checker, compiled in `folder`, perhaps with one text replaced."""
    for path in (TESTS / MODEL, KERNELS / "work.h"):
        text = path.read_text()
        if mutant and mutant[0] == path.name:
            assert text.count(mutant[1]) == 1, mutant[1]
            text = text.replace(mutant[1], mutant[2])
        (folder / path.name).write_text(text)
    program = folder / "pool_model"
    subprocess.run([COMPILER, "-O2", "-std=c11", "-D_GNU_SOURCE", MODEL, "-o", program.name], cwd=folder, check=True)
    return program


def check(program, plan):
    return subprocess.run([program, *plan], capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def checker(tmp_path_factory):
    return built(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize("plan", PLANS, ids=" ".join)
def test_each_part_is_run_once_by_a_reserved_thread_and_every_call_ends(checker, plan):
    done = check(checker, plan)
    assert done.returncode == 0, done.stdout
    assert int(done.stdout.split()[0]) > 50_000     # states: all five threads have moved


@pytest.mark.parametrize("name", MUTANTS)
def test_the_checker_finds_what_is_wrong(tmp_path, name):
    program = built(tmp_path, MUTANTS[name])
    said = [check(program, plan).stdout for plan in PLANS]
    assert any("WRONG" in text and MUTANTS[name][3] in text for text in said), said
