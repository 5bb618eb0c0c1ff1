"""ONNX files changed at random, in their messages or their bytes: each opens, or a ValueError names it.

    python tests/fuzz_onnx.py --files 100000 --seed 0

Every file takes less than a second of the processor and less than 50 MB above its size. A model that opens is run, too,
unless it has a Loop, which may be meant to run for ever. File number k of a seed is always the same; ``--only k`` opens
it alone. What went wrong once is in `corpus_onnx.py`.
"""

import copy
import tempfile
from pathlib import Path

import numpy as np
from corpus_onnx import FILES
from fuzzing import Peak, attempt, change_bytes, fuzz, main
from onnx_nodes import cases

import fastrnn
from fastrnn.formats.onnx.messages import MODEL
from fastrnn.formats.onnx.ops import registry
from fastrnn.formats.onnx.wire import Message, decode, encode

NUMBERS = [-1, 0, 1, 2, 3, 7, 13, 255, 256, 2**16, 2**31 - 1, 2**31, 2**32, 2**40, 2**62, 2**63 - 1, -(2**63), -7]
FLOATS = [0.0, -0.0, 0.5, 1.0, -1.0, 1e-45, 3e38, float("inf"), float("-inf"), float("nan")]
TEXTS = ["", "x", "y", "ai.onnx", "com.microsoft", "fastrnn", "If", "Loop", "Scan", "LSTM", "GRU", "RNN", "Conv",
         "Expand", "ConvRelu", "Magnitude", "DynamicQuantizeLSTM", "Identity", "Constant", "ConstantOfShape", "axis",
         "../../x", "/etc/passwd", "\x00", "é" * 99, "reflect", "SAME_UPPER", "bidirectional", "data.bin"]  # fmt: skip
MOST_RUN = 1 << 22     # bytes of one array of a run


def corpus(folder):
    """The bytes of valid files: written by `to_onnx`, and the node tests of the `onnx` wheel that open."""
    found = []
    for model in (fastrnn.LSTM(3, 4, 2, bidirectional=True, peepholes=True), fastrnn.GRU(3, 4, layer_norm=True),
                  fastrnn.QRNN(3, 4, window=2), fastrnn.LSTM(3, 4, proj_size=2),
                  fastrnn.Sequential(fastrnn.Embedding(5, 3), fastrnn.GRU(3, 4), fastrnn.LastStep(), fastrnn.Linear(4,
                                                                                                                    2))):
        fastrnn.to_onnx(model, folder / "valid.onnx", lengths=True)
        found.append((folder / "valid.onnx").read_bytes())
    (folder / "valid.onnx").unlink()
    recurrent, others = [], []
    for name in sorted(cases()):
        data = cases()[name].model.SerializeToString()
        ops = {node.op_type for node in cases()[name].model.graph.node}
        if len(data) < 20_000:
            (recurrent if ops & {"RNN", "LSTM", "GRU", "If", "Loop", "Scan", "Conv"} else others).append(data)
    return found * 20 + recurrent * 5 + others


def parts(message):
    """All messages inside a message, itself first."""
    found = [message]
    for one in found:
        for value in one.__dict__.values():
            found += [value] if isinstance(value, Message) else \
                [item for item in value if isinstance(item, Message)] if isinstance(value, list) else []
    return found


def changed_value(value, kind, rng, everything):
    """Another value for a field of this kind."""
    if kind in ("int", "int32"):
        return rng.choice([*NUMBERS, *range(30)])
    if kind in ("float", "double"):
        return rng.choice(FLOATS)
    if kind == "string":
        names = [text for one in everything for text in (*one.__dict__.get("output", ()), *one.__dict__.get("input",
                                                                                                            ()),
                                                         one.__dict__.get("name", "")) if isinstance(text, str)]
        return rng.choice([*TEXTS, *names])
    if kind == "bytes":
        data = bytes(value)
        return rng.choice([b"", data[:-1], data + b"\x00", data * 2, bytes(rng.randrange(256) for _ in range(8))])
    same = [one for one in everything if type(one).__name__ == kind]
    return copy.deepcopy(rng.choice(same)) if same and len(everything) < 500 else value


def change_messages(data, rng):
    """The bytes of a file with fields of its messages changed."""
    model = decode(data, MODEL)
    for one in parts(model):    # memory of its own, which can be copied
        for name, value in one.__dict__.items():
            if isinstance(value, memoryview):
                one.__dict__[name] = bytes(value)
            elif isinstance(value, list):
                one.__dict__[name] = [bytes(item) if isinstance(item, memoryview) else item for item in value]
    for _ in range(rng.choice([1, 1, 1, 2, 3, 6])):
        everything = parts(model)
        one = rng.choice(everything)
        name, kind, how = rng.choice(list(type(one).fields.values()))
        if rng.random() < 0.7 and one.__dict__:     # rather a field that is there
            there = rng.choice(sorted(one.__dict__))
            name, kind, how = next(field for field in type(one).fields.values() if field[0] == there)
        value = one.__dict__.get(name)
        if how == "[]":
            one.__dict__[name] = np.array([rng.choice(range(100)) for _ in range(rng.choice([0, 1, 2, 9]))])
        elif how == "*":
            items = list(value or ())
            what = rng.randrange(5)
            if what == 0 and items:
                del items[rng.randrange(len(items))]
            elif what == 1 and items:
                items.insert(rng.randrange(len(items) + 1), copy.deepcopy(rng.choice(items)))
            elif what == 2:
                rng.shuffle(items)
            elif what == 3 and items:
                k = rng.randrange(len(items))
                items[k] = changed_value(items[k], kind, rng, everything)
            else:
                new = changed_value(None if kind not in ("bytes",) else b"", kind, rng, everything)
                items += [new] if new is not None else []
            one.__dict__[name] = items
        elif rng.random() < 0.15:
            one.__dict__.pop(name, None)
        else:
            new = changed_value(value if value is not None else b"", kind, rng, everything)
            if new is not None and (not isinstance(new, bytes) or kind == "bytes"):
                one.__dict__[name] = new
    return encode(model)


def make(data, rng):
    """A changed file."""
    for _ in range(20):
        try:
            found = change_messages(data, rng) if rng.random() < 0.85 else data
        except (RecursionError, ValueError, TypeError, OverflowError, AttributeError):
            continue    # what Python could not put together
        return change_bytes(found, rng) if found is data or rng.random() < 0.1 else found
    return data


def exercise(path):
    """Open a file in both ways, and run it on arrays of the declared shapes."""
    try:
        fastrnn.onnx_layers(path)
    except ValueError as error:
        if path.name not in str(error):
            raise AssertionError("an error that does not name the file") from error
    model = fastrnn.from_onnx(path)
    if b"Loop" in path.read_bytes():
        return
    feeds = {}
    for name, (dtype, shape) in model.inputs.items():
        sizes = [n if isinstance(n, int) else 2 for n in (shape or ())]
        if np.prod([float(max(n, 1)) for n in sizes]) > 10_000:
            return
        feeds[name] = np.ones(sizes, dtype)
    try:
        with registry.limited(MOST_RUN):
            model.run(feeds)
    except (ValueError, TypeError):
        pass


def prepare(folder):
    """The function (rng) that makes a changed file; see `fuzzing.fuzz`."""
    entries = corpus(folder)
    return lambda rng: (exercise, "onnx", ".onnx", make(rng.choice(entries), rng))


def kept():
    """Open the files that went wrong once; returns how many do again."""
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kept.onnx"
        for name, data in FILES.items():
            path.write_bytes(data)
            problem, _ = attempt(exercise, path, Peak())
            if problem:
                print(f"WRONG {name}: {problem}")
                wrong += 1
    return wrong


if __name__ == "__main__":
    main(__doc__, lambda *given: kept() + fuzz(prepare, *given))
