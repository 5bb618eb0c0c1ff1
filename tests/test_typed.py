"""What type checkers and editors see of fastrnn: all public names, at home and by their short paths."""

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastrnn
from fastrnn._aliases import PUBLIC

ROOT = Path(__file__).parent.parent
PACKAGE = Path(fastrnn.__file__).parent
TYPED = ROOT / "tests" / "typed.py"
SHORT = {name: f"{folder}.{name}" for folder, names in PUBLIC.items() for name in names}
LISTED = "callbacks", "decoding", "diagnostics", "distributed", "sklearn"  # these have an __all__


def stub():
    return ast.parse((PACKAGE / "__init__.pyi").read_text())


def public_names(module):
    """Those of its __all__, or what its own file defines."""
    if hasattr(module, "__all__"):
        return set(module.__all__)
    tree = ast.parse(Path(module.__file__).read_text())
    return {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))
            and not node.name.startswith(("_", "check_"))}


def test_the_stub_names_what_there_is_and_each_is_the_same_object():
    found = {}
    for node in stub().body:
        if isinstance(node, ast.ImportFrom):
            assert node.level == 1
            for alias in node.names:
                assert alias.asname == alias.name   # a re-export, for type checkers
                found[alias.name] = f"fastrnn.{node.module}" if node.module else "fastrnn"
    assert set(found) - {"io", *fastrnn._OPTIONAL} == set(fastrnn.__all__)
    for name, home in found.items():
        if name == "sklearn":
            pytest.importorskip("sklearn")
        if home.count(".") and name in SHORT:
            home = importlib.import_module(f"{home}.{name}")
        else:
            home = getattr(importlib.import_module(home), name)
        assert home is getattr(fastrnn, name), name


def test_the_stub_has_the_same_all():
    listed = [ast.literal_eval(node.value) for node in stub().body if isinstance(node, ast.Assign)]
    assert [sorted(one) for one in listed] == [sorted(fastrnn.__all__)]


def test_each_short_name_of_a_module_has_a_stub_of_one_line():
    own = {path.stem for path in PACKAGE.glob("[a-z]*.pyi")}
    assert own == set(SHORT)
    for name, home in SHORT.items():
        assert (PACKAGE / f"{name}.pyi").read_text() == f"from .{home} import *\n"


def test_python_loads_no_stub():
    for name in SHORT:
        assert importlib.import_module(f"fastrnn.{name}").__file__.endswith(".py")


def test_typed_uses_every_public_name():
    tree = ast.parse(TYPED.read_text())
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    used |= {ast.unparse(node).removeprefix("fastrnn.") for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert set(fastrnn.__all__) <= used
    for name in {*SHORT, *LISTED, "memory"}:
        if name == "sklearn":
            pytest.importorskip("sklearn")
        names = public_names(importlib.import_module(f"fastrnn.{name}"))
        assert not {one for one in names if one not in used and f"{name}.{one}" not in used}, name


@pytest.fixture(scope="module")
def mypy(tmp_path_factory):
    """A function that runs mypy on a file: (its exit status, what it says)."""
    pytest.importorskip("mypy")
    cache = tmp_path_factory.mktemp("mypy")
    path = {"MYPYPATH": str(ROOT)} if PACKAGE.parent == ROOT else {}

    def run(file):
        command = [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml", "--cache-dir", cache, file]
        done = subprocess.run(command, cwd=cache, env=os.environ | path, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    return run


def test_mypy_finds_nothing_wrong_with_every_public_name_in_use(mypy):
    status, text = mypy(TYPED)
    assert status == 0, text


@pytest.mark.parametrize("line", [
    'fastrnn.LSTM("three", 4)',
    'fastrnn.GRU(3, 4, direction="sideways")',
    "fastrnn.LSTM(3, 4).no_such_method()",
    "fastrnn.no_such_name",
    'fastrnn.losses.mse(1.0, 2.0, reduction="none")',
    "import fastrnn.no_such_module",
])
def test_mypy_finds_mistakes(mypy, tmp_path, line):
    file = tmp_path / "mistake.py"
    file.write_text(f"import fastrnn\n{line}\n")
    status, text = mypy(file)
    assert status == 1 and "mistake.py:2: error" in text, text
