"""Files: whole or not at all, checked when read, never pickle; the series of checkpoints."""

import json
import os
import pickle
import struct
import subprocess
import sys
import warnings

import numpy as np
import pytest

from fastrnn import (
    GRU,
    LSTM,
    RNN,
    CharModel,
    Dropout,
    Embedding,
    LastStep,
    LayerNorm,
    Linear,
    MaskedSequential,
    MeanOverTime,
    MergeDirections,
    Sequential,
    load,
    save,
)
from fastrnn.files.checkpoint import CheckpointSeries, read_checkpoint, write_checkpoint
from fastrnn.files.tensorfile import read_tensors, write_tensors
from fastrnn.files.wholefile import check_writable, remove_stale

MODELS = {
    "LSTM": lambda: LSTM(3, 4, 2, proj_size=2, bidirectional=True, dtype="float64", seed=0),
    "GRU": lambda: GRU(3, 4, reset_after=False, bias=False, seed=0),
    "RNN": lambda: RNN(3, 4, nonlinearity="relu", batch_first=True, seed=0),
    "tagger": lambda: Sequential(
        Embedding(7, 3, seed=0), Dropout(0.5), LSTM(3, 4, seed=0), LayerNorm(4), Linear(4, 2, seed=0)
    ),
    "classifier": lambda: Sequential(
        GRU(3, 4, seed=0), LastStep(), Linear(4, 2, bias=False, seed=0), batch_first=False
    ),
    "mean": lambda: Sequential(RNN(3, 4, seed=0), Sequential(MeanOverTime(), Linear(4, 2, seed=0))),
    "masked": lambda: MaskedSequential(
        Embedding(7, 3, seed=0), GRU(3, 4, bidirectional=True, seed=0), LastStep(), MergeDirections("ave"), mask_value=2
    ),
    "characters": lambda: CharModel(
        'ab\n é😀"', cell="gru", hidden_size=5, num_layers=2, dropout=0.1, seed=0
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_comes_back_bit_for_bit(name, tmp_path):
    model = MODELS[name]()
    save(model, tmp_path / "m.safetensors")
    again = load(str(tmp_path / "m.safetensors"))
    assert type(again) is type(model) and again.config() == model.config() and again.dtype == model.dtype
    assert list(again.params) == list(model.params)
    for key, value in model.params.items():
        assert value.tobytes() == again.params[key].tobytes()
    assert os.listdir(tmp_path) == ["m.safetensors"]


def test_other_programs_can_read_the_parameters(tmp_path):
    from safetensors.numpy import load_file

    model = MODELS["GRU"]()
    save(model, tmp_path / "m")
    found = load_file(tmp_path / "m")
    assert all((found[name] == value).all() for name, value in model.params.items())


def foreign(tmp_path):
    from safetensors.numpy import save_file

    save_file({"w": np.zeros(2)}, tmp_path / "f")
    return (tmp_path / "f").read_bytes()


def changed(tmp_path, edit):
    save(MODELS["GRU"](), tmp_path / "f")
    data = bytearray((tmp_path / "f").read_bytes())
    return bytes(edit(data))


def flip_last(data):
    data[-1] ^= 1
    return data


def other_header(data, old, new):
    """The file with `old` replaced in its JSON header, of which the checksum was taken before."""
    (size,) = struct.unpack("<Q", data[:8])
    header = bytes(data[8 : 8 + size]).decode().replace(old, new).encode()
    json.loads(header)
    return struct.pack("<Q", len(header)) + header + data[8 + size :]


BAD_FILES = {
    "an empty file": lambda _: b"",
    "not safetensors": lambda _: b"hello world, this is text",
    r"not safetensors \(it begins with b'\\x80": lambda _: pickle.dumps({"a": 1}),
    "a truncated or damaged safetensors file of 60 bytes": lambda p: changed(p, lambda d: d[:60]),
    "a truncated or damaged": lambda p: changed(p, lambda d: d[:-1]),
    "a damaged one: its checksum": lambda p: changed(p, flip_last),
    "a damaged one: its check": lambda p: changed(
        p, lambda d: other_header(d, '\\"input_size\\": 3', '\\"input_size\\": 4')
    ),
    "a safetensors file of another program": foreign,
    "format version 1, found 2": lambda p: changed(
        p, lambda d: other_header(d, '\\"version\\": 1', '\\"version\\": 2')
    ),
}


@pytest.mark.parametrize("message", BAD_FILES)
def test_bad_files_are_named(message, tmp_path):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(BAD_FILES[message](tmp_path))
    with pytest.raises(ValueError, match=rf"bad\.safetensors: expected .*{message}"):
        load(path)


def test_every_changed_byte_is_noticed(tmp_path):
    path = tmp_path / "m"
    model = Linear(2, 1, seed=0)
    save(model, path)
    data = path.read_bytes()
    for at in range(len(data)):
        for bit in (1, 64):
            path.write_bytes(data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :])
            with pytest.raises(ValueError, match="m: expected"):
                load(path)


def test_missing_files_and_directories(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing: no such file") as caught:
        load(tmp_path / "nothing")
    assert isinstance(caught.value, ValueError)
    with pytest.raises(OSError, match=f"{tmp_path.name}: cannot be read: Is a directory") as caught:
        load(tmp_path)
    assert isinstance(caught.value, ValueError)


def test_a_checkpoint_is_no_model(tmp_path):
    write_checkpoint(tmp_path / "c", {})
    with pytest.raises(ValueError, match="c: expected a fastrnn model, found a fastrnn checkpoint"):
        load(tmp_path / "c")
    save(MODELS["RNN"](), tmp_path / "m")
    with pytest.raises(ValueError, match="m: expected a fastrnn checkpoint, found a fastrnn model"):
        read_checkpoint(tmp_path / "m")


def test_a_configuration_that_does_not_fit(tmp_path):
    write_tensors(tmp_path / "m", "model", {"a": np.zeros(2)}, {"type": "Hopfield"})
    with pytest.raises(ValueError, match=r"m: expected a model of this version, .* found 'Hopfield'"):
        load(tmp_path / "m")
    write_tensors(tmp_path / "m", "model", {"a": np.zeros(2)}, MODELS["GRU"]().config())
    with pytest.raises(ValueError, match=r"m: expected a model of this version, .*weight_ih_l0"):
        load(tmp_path / "m")


def test_save_takes_modules_only(tmp_path):
    with pytest.raises(TypeError, match="model: expected a fastrnn module, found dict"):
        save({}, tmp_path / "m")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_failed_write_leaves_the_old_file(call, tmp_path, monkeypatch):
    path = tmp_path / "m"
    save(MODELS["RNN"](), path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    if call == "write":
        monkeypatch.setattr("builtins.open", fail)
    else:
        monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="m: cannot be written: No space left on device") as caught:
        save(MODELS["GRU"](), path)
    monkeypatch.undo()
    assert isinstance(caught.value, ValueError)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["m"]


def test_a_missing_directory_is_named(tmp_path):
    for write in (check_writable, lambda path: save(MODELS["RNN"](), path)):
        with pytest.raises(OSError, match="x/m: cannot be written: No such file or directory"):
            write(tmp_path / "x" / "m")
    with pytest.raises(OSError, match="cannot be written: Is a directory"):
        check_writable(tmp_path)


def test_check_writable_changes_nothing(tmp_path):
    (tmp_path / "m").write_bytes(b"old")
    check_writable(tmp_path / "m")
    check_writable(tmp_path / "new")
    assert os.listdir(tmp_path) == ["m"] and (tmp_path / "m").read_bytes() == b"old"


KILLED_WHILE_WRITING = """
import os, sys
import numpy as np
from fastrnn import tensorfile
os.fsync = lambda handle: os._exit(9)
tensorfile.write_tensors(sys.argv[1], "model", {"a": np.ones(9)}, {})
"""


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "m"
    write_tensors(path, "model", {"a": np.zeros(9)}, {})
    assert subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, path], check=False).returncode == 9
    assert len(os.listdir(tmp_path)) == 2
    assert not read_tensors(path, "model")[0]["a"].any()
    remove_stale(path)
    assert os.listdir(tmp_path) == ["m"]


TREE = {
    "array": np.arange(6, dtype=np.int64).reshape(2, 3),
    "empty": np.zeros((0, 2), np.float32),
    "scalar array": np.array(2.5),
    "mixed": [1, 0.1, None, True, "é", (np.float64(3.25), [np.ones(2)])],
    "big": 2**127 + 1,
    "nested": {"": {}, "a/b": (), "a": {"b": np.zeros(1)}},
}


def assert_same(found, expected):
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected)
        for pair in zip(found, expected):
            assert_same(*pair)
    elif isinstance(expected, np.ndarray):
        assert (
            found.dtype == expected.dtype
            and found.shape == expected.shape
            and found.tobytes() == expected.tobytes()
        )
    else:
        assert found == expected


def test_trees_of_values_and_arrays_come_back(tmp_path):
    write_checkpoint(tmp_path / "c", TREE)
    expected = {**TREE, "mixed": [*TREE["mixed"][:5], (3.25, [np.ones(2)])]}
    assert_same(read_checkpoint(tmp_path / "c"), expected)


def test_what_has_no_place_in_a_file_is_named(tmp_path):
    with pytest.raises(TypeError, match=r"state/a/1: expected a number, string, .* found object"):
        write_checkpoint(tmp_path / "c", {"a": [1, object()]})
    with pytest.raises(TypeError, match="state/a: expected names that are strings, found 3"):
        write_checkpoint(tmp_path / "c", {"a": {3: 1}})
    assert os.listdir(tmp_path) == []


def test_a_series_keeps_the_newest_few(tmp_path):
    series = CheckpointSeries(tmp_path / "m", keep=2)
    assert series.newest() is None
    for number in (1, 5, 20):
        series.write(number, {"number": number})
    (tmp_path / "m2.000000099.ckpt").write_bytes(b"of another model")
    assert [p.name for p in series.paths()] == ["m.000000020.ckpt", "m.000000005.ckpt"]
    assert series.newest()[1] == {"number": 20}
    series.clear()
    assert os.listdir(tmp_path) == ["m2.000000099.ckpt"]


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_damaged_newest_checkpoint_is_skipped(keep, tmp_path):
    series = CheckpointSeries(tmp_path / "m")
    for number in (1, 2):
        series.write(number, {"number": number, "a": np.ones(50)})
    newest, older = series.paths()
    newest.write_bytes(newest.read_bytes()[:keep])
    with pytest.warns(RuntimeWarning, match=f"skipped: .*{newest.name}: expected a fastrnn checkpoint"):
        path, state = series.newest()
    assert path == older and state["number"] == 1
    older.write_bytes(b"")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(
            ValueError, match=f"{older.name}: expected a fastrnn checkpoint, found an empty file"
        ):
            series.newest()


def test_what_is_no_path_is_named():
    model = Linear(2, 2, seed=0)
    for path in (".", "a\0b"):
        with pytest.raises(ValueError, match="path: expected the name of a file, found"):
            save(model, path)
    with pytest.raises(TypeError, match="path: expected a str or path-like, found NoneType"):
        save(model, None)
    with pytest.raises(TypeError, match="path: expected a str or path-like, found NoneType"):
        load(None)
