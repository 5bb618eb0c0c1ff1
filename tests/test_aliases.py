"""A module in a folder has its short name too, and is one module by both."""

import importlib
import pickle
import subprocess
import sys

import pytest

import fastrnn
from fastrnn._aliases import EARLIER, HOMES, PUBLIC

CHECK = """
import importlib, importlib.util, pickle, sys
short, home, first, inside = {arguments!r}
if first == "short":
    module = importlib.import_module(short)
elif first == "home":
    importlib.import_module(home)
    module = importlib.import_module(short)
elif first == "attribute":
    import fastrnn
    module = getattr(fastrnn, short.partition(".")[2])
else:
    spec = importlib.util.find_spec(short)
    assert spec.name == short and home not in sys.modules
    module = importlib.import_module(short)

import fastrnn
assert module is sys.modules[home] is sys.modules[short] is importlib.import_module(home)
assert module is getattr(fastrnn, short.partition(".")[2])
assert module.__name__ == home and module.__spec__.name == home
assert importlib.util.find_spec(short) is module.__spec__
for name in inside:
    part = importlib.import_module(f"{{short}}.{{name}}")
    assert part is importlib.import_module(f"{{home}}.{{name}}") and part.__spec__.name == f"{{home}}.{{name}}"

mine = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
for name in mine or dir(module):
    exec(f"from {{short}} import {{name}} as taken")
    assert taken is getattr(module, name)
for name in mine:
    value = getattr(module, name)
    if value.__qualname__ == name:
        assert pickle.loads(pickle.dumps(value)) is value
        assert pickle.loads(f"c{{short}}\\n{{name}}\\n.".encode()) is value
assert importlib.reload(module) is module is sys.modules[short]
"""


FIRST = ["short", "home", "attribute", "spec"]
MODULES = {f"fastrnn.{name}" for names in PUBLIC.values() for name in names}


@pytest.mark.parametrize(("short", "first"), [
    (short, first) for short in HOMES for first in (FIRST if short in MODULES else FIRST[:2])])
def test_one_module_by_both_names(short, first):
    inside = ("base", "early_stopping") if short == "fastrnn.callbacks" else ()
    code = CHECK.format(arguments=(short, HOMES[short], first, inside))
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_module_of_the_package_is_public_under_a_short_name():
    folders = {name for table in (PUBLIC, EARLIER) for name in table}
    assert all(importlib.import_module(f"fastrnn.{folder}") for folder in folders)
    assert MODULES - {"fastrnn.io"} <= {f"fastrnn.{name}" for name in fastrnn._MODULES}
    for name in fastrnn._MODULES:
        assert importlib.import_module(f"fastrnn.{name}") is getattr(fastrnn, name)


def test_a_name_without_a_module_is_none():
    for name in ("fastrnn.nothing", "fastrnn.losses.nothing", "fastrnn.callbacks.nothing"):
        with pytest.raises(ModuleNotFoundError, match="nothing"):
            importlib.import_module(name)
    with pytest.raises(AttributeError, match="nothing"):
        fastrnn.nothing  # noqa: B018


def test_pickles_of_earlier_versions_name_other_paths():
    rnn = fastrnn.LSTM(2, 3, seed=0)
    now = pickle.dumps((rnn, fastrnn.History(), fastrnn.Adam(), fastrnn.callbacks.EarlyStopping()), protocol=0)
    then = now
    for short, home in HOMES.items():
        then = then.replace(f"c{home}".encode(), f"c{short}".encode())
    assert then != now
    again, *_ = pickle.loads(then)
    assert all((again.params[name] == array).all() for name, array in rnn.params.items())
