"""Files of torch.save that are damaged or made to harm: each is refused with a ValueError that names it."""

import io
import os
import pickle
import resource
import struct
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

import fastrnn
from fastrnn.formats.pytorch import tensors
from fastrnn.formats.pytorch.pickled import Instance, Name, Other, load_pickle

GOLDEN = sorted((Path(__file__).parent / "golden").glob("torch_*.pt"))
SECONDS = 1.0
pytestmark = pytest.mark.filterwarnings("ignore:.*left out", "ignore:.*took tanh")


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.fixture
def refused(tmp_path):
    """A function that writes a file's bytes, and checks that they are refused quickly and with little memory."""

    def check(data, message="", more=50_000_000):
        path = tmp_path / "model.pt"
        path.write_bytes(data)
        before, start = peak(), time.process_time()
        with pytest.raises(ValueError, match=message) as caught:
            fastrnn.from_torch(path)
        assert "model.pt" in str(caught.value)
        assert time.process_time() - start < SECONDS
        assert peak() - before < 4 * len(data) + more
        return str(caught.value)

    return check


def zipped(data, *members, compression=zipfile.ZIP_STORED):
    """An archive as PyTorch writes them, with this pickle and storages of these bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("archive/data.pkl", data)
        for k, member in enumerate(members):
            archive.writestr(f"archive/data/{k}", member)
        archive.writestr("archive/version", b"3\n")
    return file.getvalue()


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def called(name, arguments):
    module, _, own = name.rpartition(".")
    return b"c" + f"{module}\n{own}\n".encode() + arguments + b"R"


def storage(key="0", count=12, kind="torch.FloatStorage"):
    module, _, own = kind.rpartition(".")
    return (b"(" + text("storage") + b"c" + f"{module}\n{own}\n".encode() + text(key) + text("cpu")
            + b"J" + struct.pack("<i", count) + b"tQ")


def number(value):
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def tensor(shape=(4, 3), strides=(3, 1), offset=0, **options):
    sizes = b"".join(map(number, shape))
    return called("torch._utils._rebuild_tensor_v2", b"(" + storage(**options) + number(offset) + b"(" + sizes + b"t("
                  + b"".join(map(number, strides)) + b"t\x89" + called("collections.OrderedDict", b")") + b"t")


def state_dict(**entries):
    return b"\x80\x02}(" + b"".join(text(name) + value for name, value in entries.items()) + b"u."


def test_the_forgeries_begin_as_a_file_that_opens(tmp_path):
    path = tmp_path / "model.pt"
    numbers = np.arange(12, dtype="<f4")
    path.write_bytes(zipped(state_dict(**{"fc.weight": tensor(), "fc.bias": tensor((4,), (2,), 1)}), numbers.tobytes()))
    model = fastrnn.from_torch(path)
    np.testing.assert_array_equal(model.params["weight"], numbers.reshape(4, 3))
    np.testing.assert_array_equal(model.params["bias"], [1, 3, 5, 7])


class Touch:
    """What a pickle of it would run."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(6))
def test_no_call_is_run(refused, tmp_path, protocol):
    target = tmp_path / "made"
    for value in Touch(target), {"fc.weight": Touch(target)}, [{"a": (Touch(target),)}]:
        message = refused(zipped(pickle.dumps(value, protocol)), "a call of posix.mkdir, which is not run")
        assert "model.pt" in message
        earlier = b"".join(pickle.dumps(one, 2) for one in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
        refused(earlier + pickle.dumps(value, protocol) + pickle.dumps([], 2), "a call of posix.mkdir")
    assert not target.exists()


@pytest.mark.parametrize("data, message", [
    (b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.", "a call of os.system"),
    (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.", "a call of os.system"),
    (b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.", "a call of builtins.eval"),
    (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.", "does not fit"),
    (b"\x80\x02]h\x00.", "a reference to none"), (b"\x80\x02]q\x00h\x01.", "a reference to none"),
    (b"\x80\x02(ios\nsystem\n.", "opcode INST"), (b"\x80\x02(cos\nsystem\no.", "opcode OBJ"),
    (b"\x80\x02\x82\x01.", "opcode EXT1"), (b"\x80\x02]NP0\n.", "opcode PERSID|does not fit"),
    (b"\x80\x02cos\nsystem\n(X\x01\x00\x00\x00at\x81.", "without arguments"),
    (b"\x80\x02N)\x81.", "expected a class"), (b"\x80\x02NNb.", "an object to give a state to"),
    (b"\x80\x02a.", "more values than it has"), (b"\x80\x02t.", "more values than it has"),
    (b"\x80\x02(00.", "more values than it has"), (b"\x80\x02N(t.", "one value, found several"),
    (b"\x80\x02}]Ns.", "names that are strings or numbers"), (b"\x80\x02}(Nu.", "a name without a value"),
    (b"\x80\x02NNa.", "a list to add to"), (b"\x80\x02]NNs.", "a dict to add to"),
    (b"\x80\x04\x8f(]\x90.", "a set of strings or numbers"),
    (b"\x80\x02N", "does not fit"), (b"", "does not fit"), (b"\xff", "does not fit"), (b"\x80\x09N.", "does not fit"),
    (b"\x80\x02X\xff\xff\xff\x7fabc.", "does not fit"), (b"\x80\x04\x8e" + b"\xff" * 8 + b"abc.", "does not fit"),
    (b"\x80\x02\x8b\x00\x10\x00\x00" + b"\x7f" * 4096 + b".", "ints of at most 1024 bits"),
    (b"\x80\x02L" + b"9" * 100_000 + b"L\n.", "does not fit"),
    (b"\x80\x02]q\x00h\x00a.", "expected a module or a state"), (b"\x80\x02N.", "found a NoneType"),
])  # fmt: skip
def test_pickles_that_are_none_of_ours(refused, data, message):
    refused(zipped(data), message)


def test_values_within_themselves_are_not_followed_forever(refused, tmp_path):
    refused(zipped(b"\x80\x02}q\x00(" + text("a") + b"h\x00u."), "expected a module or a state dict")
    # a module within itself, and one under which a list of lists doubles at each step
    module = (b"\x80\x02c__main__\nNet\n)\x81q\x00}(" + text("_parameters") + b"}" + text("_buffers") + b"}"
              + text("_modules") + b"}(" + text("again") + b"h\x00u" + b"ub.")
    refused(zipped(module), "expected a module with parts")
    doubling = b"\x80\x02]" + b"".join(b"q" + bytes([k]) + b"]h" + bytes([k]) + b"ah" + bytes([k]) + b"a"
                                       for k in range(200))
    refused(zipped(doubling + b"."))
    refused(zipped(b"\x80\x02}" + text("a") + doubling[2:] + b"s."))
    called_with = doubling[2:] + b")R."
    refused(zipped(b"\x80\x02" + called_with), "a call of a list")


def sequential(inner):
    return (b"ctorch.nn.modules.container\nSequential\n)\x81}(" + text("_parameters") + b"}" + text("_buffers") + b"}"
            + text("_modules") + b"}(" + inner + b"uub")


def test_modules_too_deep_or_too_many(refused):
    deep = b""
    for _ in range(300):
        deep = text("0") + sequential(deep)
    refused(zipped(b"\x80\x02" + sequential(deep) + b"."), "inside each other, found more")
    # one Sequential that stands twice in each of 40 others
    shared = sequential(text("0") + sequential(b""))
    for k in range(40):
        shared = sequential(text("0") + shared + b"q" + bytes([k]) + text("1") + b"h" + bytes([k]))
    refused(zipped(b"\x80\x02" + shared + b"."))


def test_descriptions_out_of_proportion(refused):
    for filler in b"]", b"}", b"N", b")", b"\x8f", b"(":
        refused(zipped(b"\x80\x04" + filler * 2_500_000 + b"."), "far longer one|does not fit")
    refused(zipped(b"\x80\x02" + b"N0" * 1_500_000 + b"N."), "far longer one")
    refused(zipped(b"\x80\x02" + b"\x85" * 300_000 + b"."))
    nested = b"\x80\x02)" + b"\x85" * 100_000 + b"."
    refused(zipped(nested))
    refused(zipped(b"\x80\x02}" + nested[2:-1] + b"Ns."), "names that are strings or numbers")
    refused(zipped(text("a" * 4_000_000) + b"."), "data.pkl: expected at most")


@pytest.mark.parametrize("options, message", [
    ({"shape": (4, 4), "strides": (4, 1)}, "within its storage of 12 numbers"),
    ({"offset": 1}, "within its storage"), ({"strides": (4, 1)}, "within its storage"),
    ({"offset": -1}, "ints from 0"), ({"strides": (-3, 1)}, "ints from 0"), ({"shape": (-4, 3)}, "ints from 0"),
    ({"shape": (4, 3, 1)}, "ints from 0"), ({"shape": (1 << 61, 1 << 61), "strides": (0, 0)}, "within its storage"),
    ({"shape": (1 << 40, 3), "strides": (0, 1)}, "within its storage"), ({"offset": 1 << 60}, "within its storage"),
    ({"shape": (1,) * 33, "strides": (1,) * 33}, "ints from 0"), ({"key": "7"}, "expected a member archive/data/7"),
    ({"key": "../version"}, "expected a member|within its storage"), ({"kind": "torch.QInt8Storage"}, "a storage of"),
    ({"kind": "torch.DoubleStorage"}, "within its storage of 6 numbers"), ({"kind": "os.system"}, "type of a storage"),
    ({"kind": "torch.LongStorage", "shape": (2, 3)}, "expected floats of at most 64 bits"),
    ({"kind": "torch.BoolStorage"}, "expected floats of at most 64 bits"),
])  # fmt: skip
def test_tensors_outside_their_storages(refused, options, message):
    data = state_dict(**{"fc.weight": tensor(**options), "fc.bias": tensor((options.get("shape", (4,))[0],), (1,))})
    refused(zipped(data, bytes(48)), message)


def test_tensors_that_share_a_storage_too_often(refused):
    many = {f"fc{k}.weight": tensor((1000, 100), (100, 1)) for k in range(50)}
    refused(zipped(state_dict(**many), bytes(400_000)), "tensors that the file has bytes for")


def test_modules_that_need_more_than_the_file_has(refused):
    attributes = {"input_size": number(3), "hidden_size": number(2**30), "bias": b"\x88", "num_layers": number(4000),
                  "batch_first": b"\x89", "bidirectional": b"\x89", "dropout": number(0), "proj_size": number(0)}
    described = (b"\x80\x02ctorch.nn.modules.rnn\nLSTM\n)\x81}(" + text("_buffers") + b"}" + text("_modules") + b"}"
                 + b"".join(text(name) + value for name, value in attributes.items()) + text("_parameters") + b"}("
                 + text("weight_ih_l0") + tensor((4, 3), (3, 1)) + b"uub.")
    refused(zipped(described, bytes(48)), "more layers than the file has|has none")
    norm = (b"\x80\x02ctorch.nn.modules.normalization\nLayerNorm\n)\x81}(" + text("_buffers") + b"}" + text("_modules")
            + b"}" + text("_parameters") + b"}" + text("eps") + b"G" + struct.pack(">d", 1e-5)
            + text("normalized_shape") + b"(" + number(2**40) + b"tub.")
    refused(zipped(norm), "at most 16777216 bytes")


def test_archives_that_are_damaged_or_bombs(refused):
    good = zipped(state_dict(**{"fc.weight": tensor(), "fc.bias": tensor((4,), (1,))}), bytes(range(48)))
    for end in range(0, len(good), 37):
        refused(good[:end])
    for at in range(0, len(good), 7):
        data = bytearray(good)
        data[at] ^= 0x5A
        try:
            refused(bytes(data))
        except BaseException as error:
            if "DID NOT RAISE" not in str(error):     # a byte that says nothing, as of a date
                raise
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(50_000_000))
    refused(bomb.getvalue(), "data.pkl: expected at most|a compressed one")
    refused(zipped(state_dict(**{"fc.weight": tensor()}), bytes(48), compression=zipfile.ZIP_DEFLATED), "a compressed")
    twice = io.BytesIO()
    with zipfile.ZipFile(twice, "w") as archive, pytest.warns(UserWarning):
        archive.writestr("archive/data.pkl", b"N.")
        archive.writestr("archive/data.pkl", b"N.")
    refused(twice.getvalue(), "each name once")
    # a directory that says it has 2^32 - 2 bytes, and entries that say they are the whole disk
    at = good.rindex(b"PK\x05\x06")
    refused(good[:at + 12] + struct.pack("<I", 2**32 - 2) + good[at + 16:])
    at = good.index(b"PK\x01\x02")
    refused(good[:at + 20] + struct.pack("<II", 2**31, 2**31) + good[at + 28:])
    entries = b"".join(b"PK\x01\x02" + bytes(24) + b"\x08\x00" + bytes(16) + b"%08d" % k for k in range(30_000))
    count = struct.pack("<HH", 30_000, 30_000)
    refused(entries + b"PK\x05\x06" + bytes(4) + count + struct.pack("<II", len(entries), 0) + bytes(2))


def test_bits_of_a_storage_that_changed_are_found(refused):
    good = zipped(state_dict(**{"fc.weight": tensor(), "fc.bias": tensor((4,), (1,))}), bytes(range(48)))
    at = good.index(bytes(range(48)))
    refused(good[:at + 20] + b"\xff" + good[at + 21:], "fit their checksum")


def test_arrays_of_numpy_that_are_bombs(refused, tmp_path):
    def npy(shape, dtype="<f4"):
        header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()

    def npz(data, compression=zipfile.ZIP_STORED):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", compression) as archive:
            archive.writestr("fc.weight.npy", data)
        return file.getvalue()

    refused(npz(npy((2**40,))), "an array within its")
    refused(npz(npy((2, 3), "|O") + pickle.dumps(Touch(tmp_path / "made"))), "an array of numbers")
    refused(npz(npy((2**24,)) + bytes(2**26), zipfile.ZIP_DEFLATED), "times the file's bytes")
    refused(npz(npy((2, 3)) + bytes(23)), "expected 24 bytes, found 23")
    refused(npz(npy("'a'")), "does not fit")
    refused(npz(b"\x93NUMPY\x01\x00"), "does not fit")
    assert not (tmp_path / "made").exists()


def test_plain_values_are_those_of_pickle():
    values = [None, True, False, 0, -1, 255, 256, 65536, 2**31, -2**40, 2**100, 0.5, -np.inf, "é\n", b"\x00\xff", [],
              [1], list(range(1100)), (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), {}, {"a": 1, 2: [3]}, {1, "a"},
              {None: ()}]
    for protocol in range(6):
        for value in values:
            data = pickle.dumps(value, protocol)
            if isinstance(value, bytes) and not value:
                continue
            found, end = load_pickle(b"??" + data, 2, 100_000, tensors.CALLS, None)
            assert found == value and end == len(data) + 2 and type(found) is type(value)


def test_objects_stay_records():
    data = b"\x80\x02c__main__\nNet\n)\x81}" + text("a") + b"K\x01sb."
    found, _ = load_pickle(data, 0, 0, {}, None)
    assert isinstance(found, Instance) and found.cls == Name("__main__", "Net") and found.state == {"a": 1}
    scalar, _ = load_pickle(pickle.dumps(np.float64(0.5), 2), 0, 0, tensors.CALLS, None)
    assert isinstance(scalar, Other)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_files_of_pytorch_that_are_cut_or_changed(tmp_path, path):
    good = path.read_bytes()
    rng = np.random.default_rng(zlib.crc32(path.name.encode()))
    target = tmp_path / "model.pt"
    for turn in range(60):
        data = bytearray(good)
        if turn % 3 == 0:
            data = data[: int(rng.integers(len(data)))]
        else:
            for at in rng.integers(len(data), size=turn % 3):
                data[at] = rng.integers(256)
        target.write_bytes(data)
        start = time.process_time()
        try:
            fastrnn.from_torch(target)
        except ValueError as error:
            assert "model.pt" in str(error)
        assert time.process_time() - start < SECONDS
