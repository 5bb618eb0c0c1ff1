"""The examples: their list, what each must have, a slice of every one, and whether they show what they say."""

import importlib
import inspect
from types import SimpleNamespace

import numpy as np
import pytest

from fastrnn import GRU, LSTM, examples
from fastrnn.cli import main
from fastrnn.examples import adding, files, gradients

MODULES = [importlib.import_module(f"fastrnn.examples.{name}") for name in examples.NAMES]


def call(capsys, *arguments):
    """The command: (exit code, standard output, standard error)."""
    capsys.readouterr()
    code = main(["example", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_list(capsys):
    code, out, _ = call(capsys)
    lines = out.splitlines()
    assert code == 0 and len(lines) == 2 * len(examples.NAMES)
    for name, first, second, module in zip(examples.NAMES, lines[::2], lines[1::2], MODULES):
        assert first.split(maxsplit=1) == [name, examples.title(module)]
        assert second.strip() == f"{module.RESULT}; {module.TIME}"


def test_the_list_needs_nothing_that_an_example_needs(capsys, monkeypatch):
    monkeypatch.setattr("importlib.import_module", None)
    assert call(capsys)[0] == 0


@pytest.mark.parametrize("module", MODULES)
def test_what_an_example_must_have(module):
    assert examples.title(module) and module.TIME and module.PUBLISHED and module.RESULT
    assert set(module.OPTIONS) <= {"data", "plot"}
    assert list(inspect.signature(module.main).parameters) == ["args"]
    assert list(inspect.signature(module.shown).parameters) == ["figures"]
    source = inspect.getsource(module)
    assert "from fastrnn" in source and "from ." not in source and "fastrnn._" not in source  # as anybody imports it


@pytest.mark.parametrize("name, module", [*zip(examples.NAMES, MODULES)], ids=examples.NAMES)
def test_a_slice_of_each_runs(capsys, tmp_path, name, module):
    draws = "plot" in module.OPTIONS and importlib.util.find_spec("matplotlib") is not None
    code, out, err = call(capsys, name, "--quick", "--seed", 3, *(["--plot", tmp_path / "p.png"] if draws else []))
    if code == 2 and (f"not in the folder {files.SHARED}" in err or "pip install" in err):
        pytest.skip(err.strip())
    assert code == 0, err
    assert out.startswith(examples.title(module)) and "shown" not in out
    if draws:
        assert f"saved {tmp_path / 'p.png'}" in out and (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
        assert {path.suffix for path in tmp_path.iterdir()} == ({".png", ".mid"} if name == "music" else {".png"})


@pytest.mark.parametrize("name", [name for name, module in zip(examples.NAMES, MODULES) if "data" in module.OPTIONS])
def test_without_its_data_one_line_says_so(capsys, monkeypatch, tmp_path, name):
    monkeypatch.setattr(files, "SHARED", tmp_path)
    for arguments, message in [
        ([], "--data: expected a path to"),
        (["--data", tmp_path / "there"], "--data: expected a file or folder, found no"),
        (["--data", tmp_path], "Is a directory" if name == "character" else "--data: expected "),
    ]:
        code, _, err = call(capsys, name, *arguments)
        assert code == 2 and message in err and err.count("\n") == 1


def test_a_missing_package_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'^--plot: expected the package mido, .* pip install "fastrnn\[music\]"$'):
        files.need("mido", "music", "--plot")
    code, _, err = call(capsys, "search")
    assert code == 2 and err.count("\n") == 1 and 'pip install "fastrnn[search]"' in err


def test_joblib_and_dask_give_the_bits_of_this_process(capsys):
    pytest.importorskip("distributed")
    code, out, _ = call(capsys, "search", "--quick")
    assert code == 0 and "in this process: the same bits" in out and "the same bits as in this process" in out


def test_gradients_shows_the_textbook_picture(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "g.png"
    code, out, _ = call(capsys, "gradients", "--plot", path)
    assert code == 0 and "\nshown: Over 200 steps" in out
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_gated_network_solves_the_adding_problem_over_200_steps():
    rng = np.random.default_rng(0)
    X, y = adding.problem(400 * adding.BATCH, 200, rng)
    trainer = adding.train(gradients.remember(GRU(2, adding.HIDDEN, seed=0), 200, 0), X, y, 1, 0)
    assert trainer.evaluate(*adding.problem(1000, 200, rng), progress=False)["loss"] < adding.SOLVED


def test_the_adding_problem():
    X, y = adding.problem(500, 20, np.random.default_rng(0))
    assert X.shape == (500, 20, 2) and X.dtype == np.float32
    assert (X[:, :10, 1].sum(axis=1) == 1).all() and (X[:, 10:, 1].sum(axis=1) == 1).all()
    assert np.allclose((X[..., 0] * X[..., 1]).sum(axis=1), y[:, 0], rtol=1e-6)
    assert abs(np.mean((y - 1) ** 2) - 1 / 6) < 0.03


@pytest.mark.parametrize("kind, row", [(LSTM, 1), (GRU, 1)])
def test_gates_that_remember(kind, row):
    runner = gradients.remember(kind(2, 50, seed=0), 100, 0)
    bias = runner.params["bias_ih_l0"].reshape(-1, 50)
    assert bias[row].min() >= 0 and bias[row].max() <= np.log(99) + 1e-6 and np.ptp(bias[row]) > 2
    if kind is LSTM:
        assert np.array_equal(bias[0], -bias[1])


def test_an_example_that_does_not_show_it_exits_with_one(capsys, monkeypatch):
    right = {"uniform tanh vanishes within": 9, "normal tanh explodes": True, "carry": True}
    for wrong in ({}, {"uniform tanh vanishes within": np.inf}, {"normal tanh explodes": False}, {"carry": False}):
        monkeypatch.setattr(gradients, "main", lambda args, wrong=wrong: {**right, **wrong})
        code, out, _ = call(capsys, "gradients")
        assert code == bool(wrong) and ("NOT shown" in out) == bool(wrong)


def test_several_seeds_are_held_to_their_mean_and_one_is_drawn(capsys, monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")
    seen = []

    def fake(args):
        seen.append((args.seed, args.plot))
        return {"LSTM": 0.001 * args.seed, "GRU": 0.02 if args.seed == 4 else 0.001, "tanh RNN": 1 / 6,
                "tanh vanishes": True}

    monkeypatch.setattr(adding, "main", fake)
    code, out, _ = call(capsys, "adding", "--seed", 3, "--seeds", 3, "--plot", tmp_path / "p.png")
    assert code == 0 and seen == [(3, str(tmp_path / "p.png")), (4, None), (5, None)]
    lines = [line.split() for line in out.splitlines()]
    start = lines.index(["seed", "LSTM", "GRU"])
    assert lines[start + 1 : start + 7] == [
        ["3", "0.0030", "0.0010"],
        ["4", "0.0040", "0.0200"],
        ["5", "0.0050", "0.0010"],
        ["mean", "0.0040", "0.0073"],
        ["lowest", "0.0030", "0.0010"],
        ["highest", "0.0050", "0.0200"],
    ]
    assert [line for line in lines if line[:1] == ["Seed"]] == [["Seed", "3"], ["Seed", "4"], ["Seed", "5"]]
    assert call(capsys, "adding", "--seed", 4)[0] == 1  # alone, this one's GRU does not solve it
    with pytest.raises(SystemExit, match="2"):
        call(capsys, "adding", "--seeds", 0)
    assert "--seeds: expected a whole number of at least 1, found '0'" in capsys.readouterr().err


def test_the_table_of_seeds_leaves_out_what_no_seed_changes():
    lines = examples.table({0: {"a": 1.0, "b": 2.0}, 7: {"a": 1.0, "b": 4.0}}).splitlines()
    assert [line.split() for line in lines[:3]] == [["seed", "b"], ["0", "2.0000"], ["7", "4.0000"]]
    assert [line.split()[0] for line in lines[3:]] == ["mean", "lowest", "highest"]
    assert examples.table({0: {"a": 1.0}, 1: {"a": 1.0}}).split()[:2] == ["seed", "a"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nothing"], "NAME: expected one of gradients, adding"),
        (["adding", "--data", "x.csv"], "--data: expected none with adding, found 'x.csv'"),
        (["adding", "--plot", "x.txt"], "--plot: expected a name that ends in .png, .svg or .pdf"),
        (["adding", "--plot", "/nowhere/x.png"], "cannot be written"),
    ],
)
def test_mistakes_are_one_line(capsys, arguments, message):
    pytest.importorskip("matplotlib")
    code, out, err = call(capsys, *arguments)
    assert code == 2 and not out
    assert message in err and err.count("\n") == 1


def test_without_matplotlib_one_line_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, err = call(capsys, "gradients", "--plot", "g.png")
    assert code == 2 and err == 'fastrnn: error: --plot: expected Matplotlib, found none: pip install "fastrnn[plot]"\n'


def test_an_option_that_is_taken_reaches_the_example(monkeypatch):
    seen = []
    monkeypatch.setattr(adding, "OPTIONS", ("data",))
    monkeypatch.setattr(adding, "main", seen.append)
    args = SimpleNamespace(quick=True, seed=1, seeds=1, data="here", plot=None)
    assert examples.run("adding", args) == 0 and seen == [args]
