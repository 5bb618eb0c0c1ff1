"""Files made to do harm, with a right checksum: each is refused by a ValueError that names it, at little cost."""

import json
import os
import socket
import struct
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import fastrnn
from fastrnn import (
    GRU,
    LSTM,
    CharModel,
    Dropout,
    Embedding,
    LastStep,
    Linear,
    Seq2Seq,
    Sequential,
    Trainer,
    averaging,
    schedules,
)
from fastrnn.callbacks import CSVLogger, EarlyStopping, LearningRateMonitor, ModelCheckpoint
from fastrnn.files.checkpoint import read_checkpoint, write_checkpoint
from fastrnn.files.tensorfile import DEEPEST, KEY, VERSION, _checksum, parse_json, read_tensors, write_tensors
from fastrnn.vocab import Vocabulary

X, Y = np.zeros((8, 5, 3), "f"), np.zeros((8, 1), "f")
HUGE = 10**400


def refused(path, opener, message=None, megabytes=5, seconds=1.0):
    """Open a file that is to be refused at little cost."""
    started = time.process_time()
    with pytest.raises(ValueError, match=message) as caught:
        opener(path)
    assert time.process_time() - started < seconds
    assert os.path.basename(path) in str(caught.value)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        with pytest.raises(ValueError):
            opener(path)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert peak < megabytes * 1e6 + 20 * os.path.getsize(path)
    return caught.value


def hostile_model(path, model, **changes):
    config = {**model.config(), **changes}
    write_tensors(path, "model", model.params, {k: v for k, v in config.items() if v is not KeyError})


MODELS = {
    "LSTM": lambda: LSTM(3, 4, 2, proj_size=2),
    "GRU": lambda: GRU(3, 4),
    "QRNN": lambda: fastrnn.QRNN(3, 4),
    "Linear": lambda: Linear(2, 3),
    "Embedding": lambda: Embedding(5, 2),
    "Seq2Seq": lambda: Seq2Seq(5, 6, embedding_dim=3, hidden_size=4),
    "CharModel": lambda: CharModel("abc", hidden_size=4, embedding_dim=2),
    "Attention": lambda: fastrnn.Attention("additive", 4, 3, 2),
    "LayerNorm": lambda: fastrnn.LayerNorm(4),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_size_is_compared_before_there_is_room_for_it(name, tmp_path):
    path, model = tmp_path / "m", MODELS[name]()
    free = ("bos", "eos", "memory_size")  # of which no array has the size
    sizes = [key for key, value in model.config().items() if type(value) is int and key not in free]
    assert sizes
    for key in sizes:
        for value in (20_000, 2**31 - 1, HUGE, -1, 0, 1.5, float("nan"), True, "4", None, [4], {}):
            if (key, value) in (("proj_size", 0), ("encoder_size", None), ("embedding_dim", None)):
                continue
            hostile_model(path, model, **{key: value})
            refused(path, fastrnn.load)


def test_a_network_of_more_modules_or_levels_than_any_has_is_refused(tmp_path):
    path, many = tmp_path / "m", [Dropout().config()] * 20_000
    described = {"type": "Sequential", "batch_first": True, "tie_embeddings": False}
    write_tensors(path, "model", {}, {**described, "modules": many})
    refused(path, fastrnn.load, "modules")
    deep = LSTM(3, 4).config()
    for _ in range(200):
        deep = {**described, "modules": [deep]}
    write_tensors(path, "model", LSTM(3, 4).params, deep)
    refused(path, fastrnn.load, "inside each other")
    with pytest.raises(ValueError, match="inside each other"):
        network = LSTM(3, 4)
        for _ in range(200):
            network = Sequential(network)
        fastrnn.save(network, tmp_path / "deep")
    assert not (tmp_path / "deep").exists()


def test_what_errors_show_of_a_file_is_one_line_without_control_characters(tmp_path):
    path, nasty = tmp_path / "m", "\x1b[2J\n\ud800\0"
    write_tensors(path, nasty, {}, {})
    assert str(refused(path, fastrnn.load, "found a fastrnn ")).isprintable()
    for config in ({"type": nasty}, {"type": "GRU", nasty: 1}, {"type": "LSTM", "hidden_size": nasty}):
        write_tensors(path, "model", {}, config)
        assert str(refused(path, fastrnn.load)).isprintable()
    write_checkpoint(path, {nasty: nasty})
    assert str(refused(path, Trainer.resume)).isprintable()


def test_a_tied_weight_lies_in_a_file_once(tmp_path):
    net = Sequential(Embedding(7, 3), GRU(3, 3), Linear(3, 7), tie_embeddings=True)
    fastrnn.save(net, tmp_path / "m")
    assert fastrnn.load(tmp_path / "m").params["0.weight"].tobytes() == net.params["0.weight"].tobytes()


@pytest.mark.parametrize("changes", [
    {"type": "Runner"}, {"type": "Module"}, {"type": "Layer"}, {"type": "__init__"}, {"type": ["GRU"]}, {"type": None},
    {"seed": 3}, {"__class__": "GRU"}, {"params": {}}, {"hidden_size": KeyError}, {"dtype": "float16"}, {"dtype": []},
    {"dtype": {"names": ["a"], "formats": ["O"]}}, {"init": {"recurrent": ["normal", HUGE]}}, {"init": 5},
    {"dropout": HUGE}, {"dropout": float("nan")}, {"bias": 1}, {"bidirectional": True}, {"batch_first": "yes"},
], ids=repr)  # fmt: skip
def test_a_description_is_held_to_the_constructor(changes, tmp_path):
    hostile_model(tmp_path / "m", GRU(3, 4), **changes)
    refused(tmp_path / "m", fastrnn.load, "a model of this version")


def raw(path, header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)


def described(state, tensors, **changes):
    header = {"kind": "model", "version": VERSION, "state": state}
    header["sha256"] = _checksum(tensors, header)
    return {KEY: json.dumps({**header, **changes})}


ENTRIES = {
    "huge": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]},
    "huge and empty": {"dtype": "F32", "shape": [2**62 - 1, 2**62 - 1, 0], "data_offsets": [0, 0]},
    "negative": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
    "backwards": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]},
    "beyond the end": {"dtype": "F32", "shape": [100], "data_offsets": [0, 400]},
    "floats": {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]},
    "bools": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]},
    "a gap": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
    "unknown": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]},
    "a name of numpy": {"dtype": "object", "shape": [1], "data_offsets": [0, 4]},
    "no offsets": {"dtype": "F32", "shape": [1]},
    "more": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], "x": 1},
    "a list": [1],
    "too many axes": {"dtype": "F32", "shape": [1] * 33, "data_offsets": [0, 4]},
    "no bool": {"dtype": "BOOL", "shape": [4], "data_offsets": [0, 4]},
}


@pytest.mark.parametrize("name", ENTRIES)
def test_entries_of_the_header_are_judged(name, tmp_path):
    path = tmp_path / "m"
    raw(path, {"__metadata__": described({}, {}), "x": ENTRIES[name]}, b"\7" * (8 if name == "a gap" else 4))
    refused(path, fastrnn.load)


def test_tensors_do_not_overlap_and_nothing_is_there_twice(tmp_path):
    path, entry = tmp_path / "m", {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    meta = described({}, {})
    raw(path, {"__metadata__": meta, "x": entry, "y": entry}, b"1234")
    refused(path, fastrnn.load, "does not lie behind the one before")
    text = f'{{"__metadata__": {json.dumps(meta)}, "x": {json.dumps(entry)}, "x": {json.dumps(entry)}}}'
    raw(path, text.encode(), b"1234")
    refused(path, fastrnn.load, "each name once")
    raw(path, {"__metadata__": meta, "x": entry}, b"12345678")
    refused(path, fastrnn.load, "truncated or damaged")
    raw(path, {"__metadata__": meta, "\ud800": entry}, b"1234")
    refused(path, fastrnn.load, "damaged")


@pytest.mark.parametrize("text", [
    b"[" * 100_000, b'{"a":' * 50_000, b"{" + b'"a":[],' * 200_000 + b'"b":0}', b'{"a":' + b"9" * 5000 + b"}",
    b'{"a":"' + b'\\"' * 500_000, b'{"\xff":1}', b"{}", b'{"__metadata__":[]}', b'{"__metadata__":{"fastrnn":5}}',
    b'{"__metadata__":{"fastrnn":"' + b"[" * 100_000 + b'"}}', b'{"__metadata__":{"fastrnn":"\\ud800"}}',
    b'{"__metadata__":{"fastrnn":"{}"}}', b"{\0}", "{}".encode("utf-16-le"),
], ids=lambda text: repr(text[:30]))  # fmt: skip
def test_headers_are_judged_before_they_are_taken_apart(text, tmp_path):
    raw(tmp_path / "m", text)
    refused(tmp_path / "m", fastrnn.load, megabytes=30)


def test_a_header_that_says_it_is_longer_than_the_file(tmp_path):
    for length in (2**63, 2**64 - 1, 10**9, 0, 1, 3):
        raw(tmp_path / "m", b"{}", length=length)
        refused(tmp_path / "m", fastrnn.load, "truncated or damaged")


@pytest.mark.parametrize("filling", [
    b'{"a":"' + b"x" * 9_000_000 + b'"}', '{"a":"\U0001f600'.encode() + b"x" * 9_000_000 + b'"}',
], ids=["narrow", "wide"])  # fmt: skip
def test_a_header_is_short_beside_its_file(filling, tmp_path):
    """Reading one takes many times its length: a wide character makes four bytes of each."""
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(filling)) + filling)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"x\.safetensors: .*header of \d+ bytes is longer than"):
            fastrnn.load(path)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_description_too_long_to_be_read_again_is_not_written(tmp_path):
    path = tmp_path / "x.ckpt"
    with pytest.raises(ValueError, match=r"x\.ckpt: .*description of \d+ bytes"):
        write_checkpoint(path, {"notes": "x" * 4_000_000})
    assert not list(tmp_path.iterdir())
    state = {"notes": "x" * 4_000_000, "array": np.zeros(20_000_000, np.uint8)}  # long, but not beside the file
    write_checkpoint(path, state)
    assert read_checkpoint(path)["notes"] == state["notes"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_what_is_in_strings_does_not_count_as_depth(size, monkeypatch):
    monkeypatch.setattr("fastrnn.files.tensorfile.CHUNK", size)
    for value in ({"[[": ["]", '"[', '\\"[', "\\", {"é\\\\": "\\\\"}]}, ["[" * 500, '\\"[' * 500], "\\", 'a"'):
        for ascii_only in (True, False):
            assert parse_json(json.dumps(value, ensure_ascii=ascii_only)) == value
    for inside in ("", '"\\"', '"\\\\"', '"[[\\\\\\"[["'):
        with pytest.raises(ValueError, match=f"at most {DEEPEST} lists"):
            parse_json("[" * (DEEPEST + 1) + inside + "]" * (DEEPEST + 1))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no fifos here")
def test_only_regular_files_are_opened_and_at_once(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "socket"))
    openers = [fastrnn.load, Trainer.resume, Vocabulary.load, read_checkpoint]
    for path in (tmp_path / "fifo", tmp_path / "socket", Path("/dev/zero"), tmp_path):
        for opener in openers:
            started = time.monotonic()
            with pytest.raises(OSError, match=f"{path.name}: cannot be read") as caught:
                opener(path)
            assert isinstance(caught.value, ValueError) and time.monotonic() - started < 5
    for path in (tmp_path / "fifo", Path("/dev/null")):
        with pytest.raises(OSError, match=f"{path.name}: cannot be written: expected a regular file"):
            fastrnn.save(Linear(2, 2), path)
    server.close()
    assert not Path("/dev/null").is_file()


CUT_SHORT = """
import os, sys
import numpy as np
from fastrnn import tensorfile, wholefile
path = sys.argv[1]
tensorfile.write_tensors(path, "model", {str(k): np.ones(1 << 18) for k in range(8)}, {})
real, count = wholefile.read_into, 0
def cut(file, buffer):
    global count
    count += 1
    if count == 5:
        os.truncate(path, 5000)
    return real(file, buffer)
tensorfile.read_into = cut
try:
    tensorfile.read_tensors(path, "model")
except ValueError as error:
    assert "truncated" in str(error) and path in str(error), error
    print("refused")
"""


def test_a_file_that_is_cut_short_while_it_is_read(tmp_path):
    done = subprocess.run([sys.executable, "-c", CUT_SHORT, str(tmp_path / "m")], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "refused"), done.stderr


def trainer(**options):
    net = Sequential(GRU(3, 4, seed=0), LastStep(), Linear(4, 1, seed=0))
    found = Trainer(net, "mse", seed=0, **options)
    found.fit(X, Y, batch_size=4, progress=False)
    return found


def at(tree, *place):
    for key in place:
        tree = tree[key]
    return tree


def hostile_checkpoint(path, state, place, value):
    """A checkpoint with one value changed, or with KeyError taken away."""
    *above, last = place
    if value is KeyError:
        del at(state, *above)[last]
    else:
        at(state, *above)[last] = value
    write_checkpoint(path, state)


PLACES = [
    (("rng", "bit_generator"), ["seed", "test", "__init__", "RandomState", "Generator", "MT19937", None, 3, KeyError]),
    (("rng", "state", "state"), [-1, 2**128, 1.5, None, "1"]),
    (("rng", "has_uint32"), [-1, 2, HUGE, "x"]),
    (("optimizer", "type"), ["__init__", "Optimizer", "math", "Mapping", "SGD", "_optim", 5, None]),
    (("optimizer", "hyper", "lr"), [HUGE, -1, float("nan"), "x", None, []]),
    (("optimizer", "hyper", "extra"), [1]),
    (("optimizer", "steps"), [-1, HUGE, 2**64, 1.5, None]),
    (("optimizer", "arrays", "mean/0.weight_ih_l0"), [np.zeros((1, 1), "f"), np.zeros((12, 3)), 5, KeyError]),
    (("schedule", "config", "type"), ["Schedule", "math", "_cosine", "check_number", None, KeyError]),
    (("schedule", "config", "steps"), [0, HUGE, "x", None, KeyError]),
    (("schedule", "config", "after"), [{"type": "x"}, {}, None, "x", [1], {
        "type": "Join", "schedules": [0.1], "boundaries": [3], "per": "epoch"}, {
        "type": "Product", "schedules": [{"type": "os"}], "per": "epoch"}, {
        "type": "Lambda", "lr": 0.1, "function": None, "per": "epoch"}]),
    (("schedule", "state", "count"), [-1, HUGE, "x", None, KeyError]),
    (("average", "type"), ["Average", "np", "check_bool", None]),
    (("average", "hyper", "decay"), [2.0, HUGE, "x", None, KeyError]),
    (("average", "updates"), [-1, HUGE, None]),
    (("average", "params", "0.weight_ih_l0"), [np.zeros(3, "f"), np.zeros((12, 3), "i8"), 1, KeyError]),
    (("loss",), ["check_number", "np", "__name__", "_kernels", 5, [], {}, {"name": "np", "options": {}},
                 {"name": "mse", "options": 5}, {"name": "mse", "options": {"lengths": [1]}},
                 {"name": "mse", "options": {"reduction": "none"}}, {"name": "huber", "options": {"delta": {}}}]),
    (("metrics",), [5, [5], [{"name": "__init__", "named": True}], [{}]]),
    (("options", "clip_norm"), [HUGE, -1, "x", float("nan")]),
    (("options", "accumulate"), [0, HUGE, 1.5, None]),
    (("options", "tbptt"), [0, HUGE, "x", [1, 2, 3]]),
    (("options", "l2"), [{"*": HUGE}, {"*" * 100_000: 1}, {str(k): 0.1 for k in range(3000)}, "x", None]),
    (("options", "seed"), [1]),
    (("order_seed",), [-1, HUGE, None, "x"]),
    (("history",), [5, {"loss": 5}, {"loss": ["x"]}, {"loss": [HUGE]}, None]),
    (("epoch",), [-1, HUGE, 1.5, None]),
    (("step",), [-1, HUGE, True, None]),
    (("fit",), [{}, 5, {"data": {}}, []]),
    (("callbacks",), [5, [5], [{"type": "x"}], [{"type": 5, "state": {}}]]),
    (("notes",), [5, None, []]),
    (("machine",), [{}, None, {"threads": "x", "isa": 5}]),
    (("model",), [5, {}, {"type": "Runner"}, None]),
    (("model", "modules", 0, "hidden_size"), [20_000, 2**31 - 1, HUGE, -1]),
    (("model", "modules", 0, "num_layers"), [10**9, HUGE]),
    (("params",), [5, {}, None]),
    (("params", "0.weight_ih_l0"), [np.zeros((12, 4), "f"), np.zeros((12, 3)), 5, KeyError]),
    (("extra",), [1]),
]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "c"
    warm = schedules.WarmUp(schedules.LinearDecay(0.1, 10, per="batch"), 2)
    trainer(schedule=warm, average=averaging.EMA(0.9), l2=0.1).save_checkpoint(path)
    return path


@pytest.mark.parametrize("place, values", PLACES, ids=["/".join(map(str, place)) for place, _ in PLACES])
def test_every_value_of_a_checkpoint_is_judged(place, values, whole, tmp_path):
    path, before = tmp_path / "c", np.random.get_state()
    for value in values:
        hostile_checkpoint(path, read_checkpoint(whole), place, value)
        refused(path, Trainer.resume)
    after = np.random.get_state()
    assert after[2] == before[2] and (after[1] == before[1]).all()


def test_the_state_of_every_bit_generator_is_judged(tmp_path):
    """A position beyond the buffer would let NumPy read there."""
    bad = {
        np.random.MT19937: [(("state", "pos"), 625), (("state", "pos"), -1), (("state", "pos"), 10**6),
                            (("state", "key"), np.zeros(1, np.uint32)), (("state", "key"), np.zeros(624))],
        np.random.Philox: [(("buffer_pos",), 5), (("buffer_pos",), -1), (("buffer",), np.zeros(3, np.uint64)),
                           (("state", "counter"), np.zeros(1, np.uint64))],
        np.random.SFC64: [(("state", "state"), np.zeros(3, np.uint64)), (("uinteger",), 2**32)],
        np.random.PCG64DXSM: [(("state", "inc"), 2**128), (("has_uint32",), KeyError)],
    }  # fmt: skip
    for kind, changes in bad.items():
        found = trainer()
        found.rng = np.random.Generator(kind(3))
        found.save_checkpoint(tmp_path / "good")
        again = Trainer.resume(tmp_path / "good")
        assert again.rng.random(5).tolist() == found.rng.random(5).tolist()
        for place, value in changes:
            hostile_checkpoint(tmp_path / "c", read_checkpoint(tmp_path / "good"), ("rng", *place), value)
            refused(tmp_path / "c", Trainer.resume, "rng")


def test_the_state_of_callbacks_is_judged(tmp_path):
    def make():
        return {
            "EarlyStopping": EarlyStopping("loss"),
            "CSVLogger": CSVLogger(tmp_path / "log.csv"),
            "LearningRateMonitor": LearningRateMonitor(),
            "ModelCheckpoint": ModelCheckpoint(tmp_path / "series"),
        }

    trainer(callbacks=make().values()).save_checkpoint(tmp_path / "good")
    Trainer.resume(tmp_path / "good", callbacks=make().values())
    bad = {
        "EarlyStopping": {"best": "x", "best_epoch": -1, "wait": None, "stopped": 5, "params": {"x": 3}, "average": 4},
        "CSVLogger": {"rows": [5]},
        "LearningRateMonitor": {"steps": np.zeros((2, 2)), "rates": np.zeros(7)},
        "ModelCheckpoint": {"best": [1]},
    }
    for name, values in bad.items():
        for key, value in [*values.items(), ("improves", 3), *((key, KeyError) for key in values)]:
            state = read_checkpoint(tmp_path / "good")
            k = next(k for k, one in enumerate(state["callbacks"]) if one["type"] == name)
            hostile_checkpoint(tmp_path / "c", state, ("callbacks", k, "state", key), value)
            refused(tmp_path / "c", lambda path: Trainer.resume(path, callbacks=make().values()))


def test_checkpoint_trees_are_judged(tmp_path):
    arrays = {"a": np.zeros(2)}
    for tree in ([], 5, {"array": "b"}, {"array": ["a"]}, {"array": {}}, {"dict": []}, {"list": {}}, {"set": []}, {},
                 {"list": [{"array": "a"}, {"array": "a"}]}, {"list": [[1]]}, {"dict": {}, "list": []}):  # fmt: skip
        write_tensors(tmp_path / "c", "checkpoint", arrays, tree)
        refused(tmp_path / "c", Trainer.resume)


def test_keys_that_look_alike_and_keys_of_any_characters_survive(tmp_path):
    tree = {
        "a/b": np.array([1.0]), "a": {"b": np.array([2.0])}, "a/b#0": np.array([3.0]), "": {"": np.array([4.0])},
        "/": np.array([5.0]), "\ud800": np.array([6.0]), "\\ud800": np.array([7.0]), "\0\n": np.array([8.0]),
        "0": [np.array([9.0])], "0/0": np.array([10.0]), "array": {"array": np.array([11.0])}, "is": {"dict": 12},
    }  # fmt: skip
    write_checkpoint(tmp_path / "c", tree)
    found = read_checkpoint(tmp_path / "c")
    assert repr(found) == repr(tree)


class Odd(fastrnn.Module):
    """A module with an argument that no file holds."""

    def __init__(self, thing=KeyError):
        super().__init__()
        self.thing = thing


def test_what_could_not_be_read_again_is_not_written(tmp_path):
    deep = []
    for _ in range(200):
        deep = [deep]
    with pytest.raises(ValueError, match="inside each other"):
        write_checkpoint(tmp_path / "c", {"a": deep})
    with pytest.raises(TypeError, match="numbers or bools"):
        write_checkpoint(tmp_path / "c", {"a": np.array(["x"], dtype=object)})
    with pytest.raises(TypeError, match=r"longdouble|float128"):
        write_checkpoint(tmp_path / "c", {"a": np.longdouble(1)})
    with pytest.raises(TypeError, match="expected numbers, strings"):
        fastrnn.save(Odd(), tmp_path / "c")
    assert os.listdir(tmp_path) == []


def test_arrays_of_another_byte_order_come_back(tmp_path):
    write_checkpoint(tmp_path / "c", {"a": np.arange(3, dtype=">i4"), "b": np.arange(6.0).reshape(2, 3).T})
    found = read_checkpoint(tmp_path / "c")
    assert found["a"].tolist() == [0, 1, 2] and (found["b"] == np.arange(6.0).reshape(2, 3).T).all()


def test_vocabularies_are_judged(tmp_path):
    path = tmp_path / "v.json"
    for text in (b"[" * 100_000, b'{"symbols":' * 5000, b"[[],[]]" * 3, b'{"symbols": 5, "level": 1, "specials": 2}',
                 b'{"symbols": ["a"], "symbols": ["a"]}', b"\xff", b"9" * 5000, b"null", b""):  # fmt: skip
        path.write_bytes(text)
        refused(path, Vocabulary.load)


@pytest.mark.parametrize("make", [
    lambda: CharModel("ab", hidden_size=np.int64(2), embedding_dim=np.int32(3), dropout=np.float64(0.0)),
    lambda: Seq2Seq(np.int16(5), 5, attention_size=np.int64(3), hidden_size=4, dtype=np.float64),
    lambda: LSTM(2, 2, init={"forget_bias": np.float64(1), "recurrent": ("normal", np.float32(0.5))}, bias=np.True_),
    lambda: Linear(np.int64(2), np.uint8(3), dtype=np.dtype("float64")),
])  # fmt: skip
def test_arguments_that_are_scalars_of_numpy_are_saved(make, tmp_path):
    model = make()
    fastrnn.save(model, tmp_path / "m")
    again = fastrnn.load(tmp_path / "m")
    assert json.dumps(again.config()) == json.dumps(model.config())
    assert all(again.params[name].tobytes() == p.tobytes() for name, p in model.params.items())


# Estimators

SMALL = {"hidden_size": 3, "epochs": 1, "random_state": 0}


@pytest.fixture(scope="module")
def estimators(tmp_path_factory):
    pytest.importorskip("sklearn")
    from fastrnn.sklearn import RNNAnomalyDetector, RNNClassifier, RNNForecaster, RNNRegressor, RNNTagger

    series, folder = np.sin(np.arange(40.0)), tmp_path_factory.mktemp("estimators")
    fitted = [
        RNNClassifier(class_weight={"a": 1.0, "b": 2.0}, **SMALL).fit(X, list("abababab")),
        RNNRegressor(**SMALL).fit(X, np.ones((8, 2))),
        RNNTagger(**SMALL).fit(X, np.arange(40).reshape(8, 5) % 3),
        RNNForecaster(2, window=4, early_stopping=False, **SMALL).fit(series),
        RNNAnomalyDetector(window=4, **SMALL).fit(series),
    ]
    for estimator in fitted:
        estimator.save(folder / type(estimator).__name__)
    return folder


LABELS = {"is": "labels", "values": ["a", "b"], "dtype": "<U1"}
ATTACKS = [
    ("RNNClassifier", "predict", 5), ("RNNClassifier", "__class__", 5), ("RNNClassifier", "fit", None),
    ("RNNClassifier", "_optimizer", 5), ("RNNClassifier", "_random", 5), ("RNNClassifier", "network_", KeyError),
    ("RNNClassifier", "network_", 5), ("RNNClassifier", "classes_", KeyError), ("RNNClassifier", "classes_", 5),
    ("RNNClassifier", "classes_", {**LABELS, "dtype": "<U1000000000"}),
    ("RNNClassifier", "classes_", {**LABELS, "values": ["a"] * 50_000 + ["b" * 50_000]}),
    ("RNNClassifier", "classes_", {**LABELS, "values": ["a", "b", "c"]}),
    ("RNNClassifier", "classes_", {**LABELS, "values": [["a"], ["b"]]}),
    ("RNNClassifier", "classes_", {**LABELS, "dtype": "V1000000000"}),
    ("RNNClassifier", "classes_", {**LABELS, "dtype": "i4,O"}), ("RNNClassifier", "classes_", {**LABELS, "dtype": 5}),
    ("RNNClassifier", "classes_", np.zeros((2, 1))), ("RNNClassifier", "_scaler", {"is": "scaler", "state": {}}),
    ("RNNClassifier", "_scaler", {"is": "scaler", "state": {"mean": np.zeros(2), "scale": np.ones(2)}}),
    ("RNNClassifier", "_scaler", {"is": "scaler", "state": {"mean": np.zeros(3), "scale": np.zeros(3)}}),
    ("RNNClassifier", "_class_weight", np.ones(5)), ("RNNClassifier", "frame_size_", 10**9),
    ("RNNClassifier", "n_features_in_", 10**9), ("RNNClassifier", "history_", {"is": "history", "figures": 5}),
    ("RNNClassifier", "history_", {"is": "os"}), ("RNNClassifier", "loss_curve_", ["x"]),
    ("RNNClassifier", "n_iter_", HUGE), ("RNNClassifier", "hidden_size", HUGE), ("RNNClassifier", "cell", "fit"),
    ("RNNClassifier", "dtype", "O"), ("RNNClassifier", "random_state", "x"), ("RNNClassifier", "random_state", HUGE),
    ("RNNClassifier", "random_state", {"is": "random", "state": {"bit_generator": "seed"}}),
    ("RNNClassifier", "class_weight", {"is": "dict", "items": [[["a"], 1]]}),
    ("RNNRegressor", "_target_shape", (10**9,)), ("RNNRegressor", "_target_shape", [2]),
    ("RNNRegressor", "_target_scaler", None), ("RNNRegressor", "loss", "ctc"),
    ("RNNTagger", "classes_", np.arange(2)), ("RNNForecaster", "window_", 10**9), ("RNNForecaster", "_lag", 5),
    ("RNNForecaster", "_ends", [np.zeros((5, 2))]), ("RNNForecaster", "_form", ("one", [])),
    ("RNNForecaster", "_form", 5), ("RNNForecaster", "_spread", np.ones(3)), ("RNNForecaster", "horizon", 10**9),
    ("RNNForecaster", "_path_seed", -1), ("RNNAnomalyDetector", "offset_", "x"),
    ("RNNAnomalyDetector", "_whiten", np.zeros((2, 2))), ("RNNAnomalyDetector", "_error_mean", np.zeros(2)),
    ("RNNAnomalyDetector", "_stream", 5),
]  # fmt: skip


@pytest.mark.parametrize("name, key, value", ATTACKS, ids=[f"{n}-{k}-{v!r:.30}" for n, k, v in ATTACKS])
def test_every_value_of_an_estimator_is_judged(name, key, value, estimators, tmp_path):
    from fastrnn.sklearn import load

    state = read_checkpoint(estimators / name)
    if (key, value) == ("_target_scaler", None):
        value = KeyError
    items = [item for item in state["state"]["items"] if item[0] != key]
    state["state"]["items"] = items + ([] if value is KeyError else [[key, value]])
    write_checkpoint(tmp_path / "e", state)
    refused(tmp_path / "e", load, megabytes=30)


def test_other_names_are_no_estimators(estimators, tmp_path):
    from fastrnn.sklearn import load

    for name in ("load", "RecurrentEstimator", "np", "__init__", None, 5, ["RNNClassifier"]):
        state = {**read_checkpoint(estimators / "RNNClassifier"), "estimator": name}
        write_checkpoint(tmp_path / "e", state)
        refused(tmp_path / "e", load, "expected an estimator of fastrnn.sklearn")
    write_checkpoint(tmp_path / "e", [1])
    refused(tmp_path / "e", load, "expected an estimator of fastrnn.sklearn")


def test_estimators_with_types_and_generators_of_numpy_come_back(tmp_path):
    pytest.importorskip("sklearn")
    from fastrnn.sklearn import RNNClassifier, load

    for options in ({"dtype": np.float32}, {"dtype": np.dtype("float64")}, {"hidden_size": np.int64(3)},
                    {"random_state": np.random.RandomState(3)}):  # fmt: skip
        estimator = RNNClassifier(**{**SMALL, **options}).fit(X, [0, 1] * 4)
        estimator.note = "of the user's own"
        estimator.save(tmp_path / "e")
        again = load(tmp_path / "e")
        assert (again.predict_proba(X) == estimator.predict_proba(X)).all() and not hasattr(again, "note")
        if "random_state" in options:
            assert again.random_state.random_sample() == estimator.random_state.random_sample()
        else:
            again.fit(X, [0, 1] * 4)


def test_a_few_hundred_changed_files():
    script = Path(__file__).parent / "fuzz_files.py"
    done = subprocess.run([sys.executable, script, "--files", "400"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert " 0 wrong" in done.stdout


def test_a_file_may_be_read_while_another_takes_its_place(tmp_path):
    path = tmp_path / "m"
    write_tensors(path, "model", {"a": np.zeros(3)}, {})
    write_tensors(path, "model", {"a": np.ones(3)}, {})
    assert read_tensors(path, "model")[0]["a"].tolist() == [1, 1, 1]
