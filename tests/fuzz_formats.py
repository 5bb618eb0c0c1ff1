"""Files of other systems, changed at random: each opens, or a ValueError names it. Members get a right checksum.

    python tests/fuzz_formats.py --files 100000 --seed 0

Every file takes less than a second of the processor and less than 50 MB above its size. File number k of a seed is
always the same; ``--only k`` opens it alone. ``--keep`` is a folder for files that are not treated as they should be;
what was found goes into tests/corpus_formats.
"""

import functools
import io
import itertools
import json
import pickletools
import struct
import zipfile
from pathlib import Path

import numpy as np
from fuzz_files import change_state
from fuzzing import change_bytes, fuzz, main

import fastrnn
from fastrnn.formats.pytorch.writer import write_torch

HERE = Path(__file__).parent
GOLDEN, CORPUS = HERE / "golden", HERE / "corpus_formats"
OPCODES = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]
TEXTS = ["weight", "weight_ih_l0", "bias", "LSTM", "GRU", "Linear", "units", "layers", "class_name", "config", "name",
         "float32", "tanh", "hard_sigmoid", "Sequential", "_modules", "storage", "0"]


def sources(folder):
    """(opener, ending, bytes) of files that open."""
    for path in sorted(GOLDEN.glob("torch_*.pt")):
        yield fastrnn.from_torch, ".pt", path.read_bytes()
    model = fastrnn.Sequential(fastrnn.Embedding(5, 3), fastrnn.LSTM(3, 4, 2, bidirectional=True, proj_size=2),
                               fastrnn.LayerNorm(4), fastrnn.Linear(4, 2))
    state = fastrnn.to_torch(model)
    write_torch(folder / "a.pt", state)
    yield fastrnn.from_torch, ".pt", (folder / "a.pt").read_bytes()
    for save in np.savez, np.savez_compressed:
        memory = io.BytesIO()
        save(memory, **state)
        yield fastrnn.from_torch, ".npz", memory.getvalue()
    from safetensors.numpy import save

    yield fastrnn.from_torch, ".safetensors", save(state)
    try:
        import h5py  # noqa: F401
    except ImportError:
        return
    for path in sorted(GOLDEN.glob("keras_*")):
        yield fastrnn.from_keras, path.suffix, path.read_bytes()


def change_pickle(data, rng):
    """Opcodes and their arguments taken out, put in, doubled or moved."""
    try:
        cuts = [0, *(place for _, _, place in pickletools.genops(data)), len(data)]
    except ValueError:  # of a member that was changed before
        return change_bytes(data, rng)
    parts = [data[a:b] for a, b in itertools.pairwise(cuts)]
    for _ in range(rng.choice([1, 1, 2, 4, 30])):
        at, choice = rng.randrange(len(parts)), rng.randrange(7)
        if choice == 0:
            parts[at:at + rng.choice([1, 2, 20])] = []
        elif choice == 1:
            parts.insert(at, rng.choice(OPCODES) + rng.choice([b"", b"\x00", b"\x05", b"\xff\xff\xff\xff", b"0\n"]))
        elif choice == 2:
            parts[at:at] = parts[at:at + rng.choice([1, 5, 40])] * rng.choice([1, 2, 1000])
        elif choice == 3:
            other = rng.randrange(len(parts))
            parts[at], parts[other] = parts[other], parts[at]
        elif choice == 4:
            number = rng.choice([0, 1, -1, 3, 2**31, 2**62, 2**63, -2**40, 10**30])
            size = (number.bit_length() + 8) // 8
            parts[at] = b"\x8a" + bytes([size]) + number.to_bytes(size, "little", signed=True)
        elif choice == 5:
            text = rng.choice(TEXTS).encode()
            parts[at] = b"X" + struct.pack("<I", len(text)) + text
        else:
            parts[at] = change_bytes(parts[at], rng) if parts[at] else b"."
        if not parts:
            return b"."
    return b"".join(parts)


def change_json(data, rng):
    try:
        state = json.loads(data)
    except (ValueError, RecursionError):
        return change_bytes(data, rng)
    for _ in range(rng.choice([1, 1, 2, 5])):
        state = change_state(state, rng, TEXTS)
    try:
        return json.dumps(state).encode()
    except (TypeError, ValueError, RecursionError):
        return b"{}"


def change_member(name, data, rng):
    if not data:
        return b"?"
    if rng.random() < 0.1:
        return change_bytes(data, rng)
    if name.endswith("data.pkl"):
        return change_pickle(data, rng)
    if name.endswith(".json"):
        return change_json(data, rng)
    return change_bytes(data, rng)


def change_zip(data, rng):
    """A member or two changed, left out or renamed, with right checksums."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {entry.filename: (archive.read(entry), entry.compress_type) for entry in archive.infolist()}
    names = list(members)
    telling = [name for name in names if name.endswith(("data.pkl", "config.json", ".npy"))]
    for _ in range(rng.choice([1, 1, 2])):
        name = rng.choice(telling) if rng.random() < 0.8 else rng.choice(names)
        if name not in members:
            continue
        inside, kind = members[name]
        choice = rng.random()
        if choice < 0.9:
            members[name] = change_member(name, inside, rng), kind
        elif choice < 0.95:
            del members[name]
        else:
            members[rng.choice(names)] = inside, rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name, (inside, kind) in members.items():
            archive.writestr(name, inside, kind)
    return memory.getvalue()


def changed(ending, data, rng):
    choice = rng.random()
    if ending == ".safetensors" and choice < 0.7:
        length = int.from_bytes(data[:8], "little")
        text = change_json(data[8:8 + length], rng)
        return struct.pack("<Q", len(text)) + text + data[8 + length:]
    if data[:2] == b"PK" and choice < 0.85:
        return change_zip(data, rng)
    return change_bytes(data, rng)


def prepare(folder):
    """The function (rng) that makes a changed file; see `fuzzing.fuzz`."""
    entries = list(sources(folder))
    for opener, ending, data in entries:
        (folder / f"good{ending}").write_bytes(data)
        opener(folder / f"good{ending}")    # loads what is needed, so that no file is said to have

    def make_one(rng):
        opener, ending, data = rng.choice(entries)
        return opener, ending, ending, changed(ending, data, rng)

    return make_one


if __name__ == "__main__":
    main(__doc__, functools.partial(fuzz, prepare))
