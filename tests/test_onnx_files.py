"""ONNX files as bytes: the wire format, tensors and their data files, and files that are damaged or hostile."""

import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import fastrnn
from fastrnn.formats.onnx.messages import ATTRIBUTE, GRAPH, MODEL, NODE, OPSET, TENSOR
from fastrnn.formats.onnx.tensors import DataFiles, to_array, to_tensor
from fastrnn.formats.onnx.wire import decode, encode
from fastrnn.formats.onnx.writing.graph import Graph, value_info


def model(nodes=(), constants=(), inputs=("x",), outputs=("y",), **fields):
    """A ModelProto message."""
    info = [value_info(name, np.float32, ("n",)) for name in inputs]
    graph = GRAPH(name="g", node=list(nodes), initializer=list(constants), input=info,
                  output=[value_info(name, np.float32, ("n",)) for name in outputs])
    return MODEL(**{"ir_version": 8, "graph": graph, "opset_import": [OPSET(domain="", version=17)], **fields})


def add(*inputs):
    return NODE(op_type="Add", name="add", input=list(inputs), output=["y"])


def refused(data, message, **kind):
    with pytest.raises(ValueError, match=message):
        fastrnn.from_onnx(data if isinstance(data, bytes) else encode(data), **kind)


# The wire format


def test_messages_come_back_and_are_those_of_the_onnx_package():
    onnx = pytest.importorskip("onnx")
    attributes = [ATTRIBUTE(name="f", type=1, f=0.5), ATTRIBUTE(name="i", type=2, i=-3), ATTRIBUTE(name="s", type=3,
                                                                                                   s=b"ab"),
                  ATTRIBUTE(name="fs", type=6, floats=np.array([1, 2.5], "f")), ATTRIBUTE(name="is", type=7, ints=[1,
                                                                                                                   -(2**63)]),
                  ATTRIBUTE(name="ss", type=8, strings=[b"x", b""]), ATTRIBUTE(name="zero", type=2, i=0)]
    made = model([NODE(op_type="Op", input=["x", "", "é"], output=["y"], attribute=attributes)],
                 [to_tensor(np.arange(3), "é")])
    data = encode(made)
    theirs = onnx.ModelProto.FromString(data)
    node = theirs.graph.node[0]
    assert [onnx.helper.get_attribute_value(one) for one in node.attribute] == [
        0.5, -3, b"ab", [1, 2.5], [1, -(2**63)], [b"x", b""], 0]
    assert list(node.input) == ["x", "", "é"] and theirs.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "n"
    for again in (decode(data, MODEL), decode(theirs.SerializeToString(), MODEL)):
        assert encode(again) == data
        found = {one.name: one for one in again.graph.node[0].attribute}
        assert found["is"].ints == [1, -(2**63)] and found["fs"].floats.tolist() == [1, 2.5]


@pytest.mark.parametrize(("data", "message"), [
    (b"\x08", "found one that is longer or cut off"),
    (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", "found one that is longer or cut off"),
    (b"\x08" + b"\x80" * 11 + b"\x01", "found one that is longer or cut off"),
    (b"\x3a\x05ab", "ModelProto: expected 5 bytes at byte 2, found 2"),
    (b"\x3b\x05", "ModelProto: expected a known wire type at byte 1, found 3"),
    (b"\x0a\x00", "ModelProto.ir_version: expected wire type 0, found 2"),
    (b"\x08\x01\x08\x02", "ModelProto.ir_version: expected it once, found it twice"),
    (b"\x00\x01", "ModelProto: expected a field number at byte 1, found 0"),
    (b"\x12\x01\xff", "ModelProto.producer_name: expected UTF-8 text"),
    (b"\x3a\x00\x3a\x00", "ModelProto.graph: expected it once, found it twice"),
    (b"", "expected an ONNX model, found one without a graph"),
    (b"garbage of another kind", "expected an ONNX model"),
])  # fmt: skip
def test_bytes_that_are_no_model(data, message):
    refused(data, message)


def test_every_cut_and_every_changed_byte_opens_or_is_refused_in_little_time():
    data = encode(model([add("x", "k")], [to_tensor(np.ones(2, "f"), "k")]))
    assert fastrnn.from_onnx(data).run({"x": np.ones(2, "f")})["y"].tolist() == [2, 2]
    begun = time.process_time()
    opened = 0
    for changed in [*(data[:k] for k in range(len(data))),
                    *(data[:k] + bytes([byte]) + data[k + 1 :] for k in range(len(data)) for byte in (0, 1, 127, 255))]:
        try:
            fastrnn.from_onnx(changed)
            opened += 1
        except ValueError:
            pass
    assert opened > 10 and time.process_time() - begun < 30


def test_unknown_fields_are_skipped_and_packed_numbers_may_come_in_either_form():
    assert decode(b"\xfa\x3f\x02ab" + encode(model()), MODEL).graph.name == "g"
    assert decode(b"\x08\x02\x08\x03", TENSOR).dims == decode(b"\x0a\x02\x02\x03", TENSOR).dims == [2, 3]
    single = decode(b"\x38\x02\x38\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", TENSOR).int64_data
    packed = decode(b"\x3a\x0b\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", TENSOR).int64_data
    assert single.tolist() == packed.tolist() == [2, -1]
    with pytest.raises(ValueError, match="packed numbers or single ones, found both"):
        decode(b"\x38\x02\x3a\x01\x02", TENSOR)
    with pytest.raises(ValueError, match="at most 64 bits"):
        decode(b"\x3a\x0b" + b"\xff" * 10 + b"\x01", TENSOR)


def test_long_packed_numbers_equal_numpy():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.integers(-(2**63), 2**63 - 1, 30_000), rng.integers(0, 130, 100_000)])
    rng.shuffle(values)
    again = decode(encode(TENSOR(int64_data=values)), TENSOR).int64_data
    np.testing.assert_array_equal(again, values)


def nested(depth):
    """An If in an If in an If ..."""
    graph = GRAPH(name="g", node=[NODE(op_type="Identity", input=["x"], output=["y0"])], output=[
        value_info("y0", np.float32, ("n",))])
    for k in range(1, depth):
        branches = [ATTRIBUTE(name=name, type=5, g=graph) for name in ("then_branch", "else_branch")]
        graph = GRAPH(name="g", node=[NODE(op_type="If", input=["c"], output=[f"y{k}"], attribute=branches[:1])],
                      output=[value_info(f"y{k}", np.float32, ("n",))])
    return graph


def test_files_that_would_fill_the_memory_or_the_stack():
    refused(model([NODE(op_type="If", input=["c"], output=["y"], attribute=[
        ATTRIBUTE(name="then_branch", type=5, g=nested(35))])]), "messages inside each other")
    for part in (b"\x0a\x00", b"\x2a\x00", b"\x0a\x02\x0a\x00"):       # nodes, initializers, nodes with an empty input
        data = b"\x3a" + b"\x80\x80\x80\x01" + (part * (1 << 20))[: 1 << 21]
        tracemalloc.start()
        refused(data, "parts that take little more memory|expected (an operator|a name)")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 50_000_000 + 4 * len(data)
    huge = TENSOR(dims=[2**40, 2**40], data_type=1, name="k", raw_data=b"")
    refused(model([add("x", "k")], [huge]), r"initializer 'k': expected a tensor that fits into memory")
    empty = TENSOR(dims=[0, 2**62], data_type=1, name="k")
    refused(model([add("x", "k")], [empty]), r"initializer 'k': expected a tensor that fits into memory")
    empty = TENSOR(dims=[0, 2**30], data_type=1, name="k")
    assert list(fastrnn.from_onnx(encode(model([add("x", "x")], [empty]))).inputs) == ["x"]


def doubling(times):
    """Nodes that would double a constant again and again."""
    nodes = [NODE(op_type="Concat", input=[f"k{k}"] * 2, output=[f"k{k + 1}"], attribute=[ATTRIBUTE(name="axis",
                                                                                                    type=2, i=0)])
             for k in range(times)]
    return model([*nodes, add("x", f"k{times}")], [to_tensor(np.ones(1000, "f"), "k0")])


def test_constants_that_grow_are_not_computed_when_a_file_is_read():
    tracemalloc.start()
    fastrnn.from_onnx(encode(doubling(60)))
    outer = [NODE(op_type="Unsqueeze", input=["k", "a"], output=["row"]), NODE(op_type="Unsqueeze", input=["k", "b"],
                                                                             output=["column"])]
    graph = model([*outer, NODE(op_type="Mul", input=["row", "column"], output=["big"]), add("x", "big")],
                  [to_tensor(np.ones(30_000, "f"), "k"), to_tensor(np.array([0]), "a"), to_tensor(np.array([1]), "b")])
    fastrnn.from_onnx(encode(graph))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200_000_000


def test_functions_that_call_each_other_without_end_or_make_too_many_nodes():
    from fastrnn.formats.onnx.messages import FUNCTION

    def function(k, calls):
        nodes = [NODE(op_type=f"F{k + 1}", domain="own", input=["a"],
                      output=[f"b{j}" if j else "b"]) for j in range(calls)]
        return FUNCTION(name=f"F{k}", domain="own", input=["a"], output=["b"], node=nodes,
                        opset_import=[OPSET(domain="", version=17), OPSET(domain="own", version=1)])

    opsets = [OPSET(domain="", version=17), OPSET(domain="own", version=1)]
    call = NODE(op_type="F0", domain="own", input=["x"], output=["y"])
    end = FUNCTION(name="F12", domain="own", input=["a"], output=["b"], node=[
        NODE(op_type="Neg", input=["a"], output=["b"])], opset_import=opsets)
    laughs = [function(k, 10) for k in range(12)]
    refused(model([call], functions=[*laughs, end], opset_import=opsets), "expected calls of functions that make at "
                                                                          "most")
    endless = [function(0, 1)]
    endless[0].node[0].op_type = "F0"
    refused(model([call], functions=endless, opset_import=opsets), "functions that do not call themselves")
    short = [function(k, 1) for k in range(12)]
    found = fastrnn.from_onnx(encode(model([call], functions=[*short, end], opset_import=opsets)))
    assert found.run({"x": np.ones(2, "f")})["y"].tolist() == [-1, -1]


# Tensors


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"])
@pytest.mark.parametrize("raw", [True, False])
def test_tensors_of_every_type_equal_the_onnx_packages(dtype, raw):
    onnx = pytest.importorskip("onnx")
    rng = np.random.default_rng(0)
    info = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else None
    array = rng.integers(info.min, info.max, (3, 4), dtype, endpoint=True) if info else \
        (rng.standard_normal((3, 4)) > 0 if dtype == "?" else rng.standard_normal((3, 4)).astype(dtype))
    theirs = onnx.numpy_helper.from_array(array) if raw else onnx.helper.make_tensor(
        "t", onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), array.shape, array.reshape(-1).tolist())
    assert bool(theirs.raw_data) == raw
    found = to_array(decode(theirs.SerializeToString(), TENSOR), DataFiles(None), "t")
    assert found.dtype == array.dtype and not found.flags.writeable
    np.testing.assert_array_equal(found, array)
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(onnx.TensorProto.FromString(encode(to_tensor(array,
                                                                                                          "t")))),
                                                                                                          array)


@pytest.mark.parametrize(("tensor", "message"), [
    (TENSOR(dims=[3], data_type=1, raw_data=bytes(8)), r"expected 12 bytes for shape .3.* of float32, found 8"),
    (TENSOR(dims=[2], data_type=1, float_data=np.ones(3, "f")), "expected 8 bytes .* found 12"),
    (TENSOR(dims=[-1], data_type=1), "sizes of at least 0"),
    (TENSOR(dims=[1] * 33, data_type=1, raw_data=bytes(4)), "at most 32 sizes"),
    (TENSOR(dims=[1], data_type=8, string_data=[b"x"]), "of a type that NumPy has, found string"),
    (TENSOR(dims=[1], data_type=16, raw_data=b"xx"), "of a type that NumPy has, found bfloat16"),
    (TENSOR(dims=[1], data_type=99, raw_data=b"x"), "of a type that NumPy has, found type 99"),
    (TENSOR(dims=[1], data_type=9, raw_data=b"\x02"), "bools of 0 or 1, found 2"),
    (TENSOR(dims=[1], data_type=3, int32_data=np.array([128])), "values of int8, found 128 .. 128"),
    (TENSOR(dims=[1], data_type=1, segment=b"\x08\x01", raw_data=bytes(4)), "a whole tensor, found a segment"),
])  # fmt: skip
def test_tensors_that_are_wrong(tensor, message):
    tensor.name = "k"
    refused(model([add("x", "k")], [tensor]), f"initializer 'k': .*{message}")


# Data files


def external(place, **more):
    from fastrnn.formats.onnx.messages import ENTRY

    entries = [ENTRY(key="location", value=place), *(ENTRY(key=key, value=str(one)) for key, one in more.items())]
    return TENSOR(dims=[4], data_type=1, name="k", data_location=1, external_data=entries)


def test_data_files_beside_the_model(tmp_path):
    values = np.arange(12, dtype="f")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "weights.bin").write_bytes(values.tobytes())
    path = tmp_path / "model.onnx"
    for more, expected in (({"offset": 16, "length": 16}, values[4:8]), ({}, values[:4]), ({"offset": 32}, values[8:])):
        path.write_bytes(encode(model([add("x", "k")], [external("inner/weights.bin", **more)])))
        np.testing.assert_array_equal(fastrnn.from_onnx(path).run({"x": np.zeros(4, "f")})["y"], expected)
    refused(path.read_bytes(), "expected the path of a model whose data lie in the file 'inner/weights.bin', found "
                               "bytes")


@pytest.mark.parametrize(("location", "more", "message"), [
    ("../secret.bin", {}, "expected a data file in the model's folder"),
    ("inner/../../secret.bin", {}, "expected a data file in the model's folder"),
    ("link.bin", {}, "expected a data file in the model's folder"),
    ("folder_link/secret.bin", {}, "expected a data file in the model's folder"),
    ("", {}, "expected a data file in the model's folder"),
    (".", {}, "expected a data file in the model's folder"),
    ("a\x00b", {}, "expected a data file in the model's folder"),
    ("none.bin", {}, "none.bin: no such file"),
    ("fifo", {}, "expected a regular file, found a fifo"),
    ("data.bin", {"offset": 8}, "expected 16 bytes at 8 of 'data.bin', found a file of 16"),
    ("data.bin", {"offset": 2**70}, "expected a number of bytes as offset"),
    ("data.bin", {"offset": -1}, "expected a number of bytes as offset"),
    ("data.bin", {"length": 12}, "expected 16 bytes for its shape, found length 12"),
    ("data.bin", {"location": "x"}, "expected the location of its data file once"),
])  # fmt: skip
def test_data_files_that_are_refused(location, more, message, tmp_path):
    import os

    (tmp_path / "secret.bin").write_bytes(bytes(16))
    home = tmp_path / "home"
    home.mkdir()
    (home / "data.bin").write_bytes(bytes(16))
    (home / "link.bin").symlink_to(tmp_path / "secret.bin")
    (home / "folder_link").symlink_to(tmp_path)
    os.mkfifo(home / "fifo")
    (home / "model.onnx").write_bytes(encode(model([add("x", "k")], [external(location, **more)])))
    for name in (location, str(tmp_path / "secret.bin") if location == "../secret.bin" else location):
        (home / "model.onnx").write_bytes(encode(model([add("x", "k")], [external(name, **more)])))
        with pytest.raises(ValueError, match=message):
            fastrnn.from_onnx(home / "model.onnx")


# Models


@pytest.mark.parametrize(("fields", "message"), [
    ({"opset_import": [OPSET(domain="", version=6)]}, "operator set: expected 7 to 28, found 6"),
    ({"opset_import": [OPSET(domain="", version=99)]}, "operator set: expected 7 to 28, found 99"),
    ({"opset_import": [OPSET(domain="", version=17), OPSET(domain="ai.onnx", version=16)]}, "expected one version, "
                                                                                            "found 17"),
    ({"opset_import": []}, "node 'add' .Add.: expected the version of its operator set, found none"),
])  # fmt: skip
def test_operator_sets(fields, message):
    refused(model([add("x", "x")], **fields), message)


def test_errors_name_the_file(tmp_path):
    path = tmp_path / "some.onnx"
    with pytest.raises(FileNotFoundError, match=r"some\.onnx: no such file"):
        fastrnn.from_onnx(path)
    path.write_bytes(b"x")
    with pytest.raises(ValueError, match=r"some\.onnx: expected an ONNX model, found one that does not fit"):
        fastrnn.from_onnx(path)
    for wrong in (3, None, ["x"]):
        with pytest.raises(TypeError, match="path: expected a str or path-like"):
            fastrnn.from_onnx(wrong)


def test_nothing_heavy_is_imported():
    code = """
import sys, numpy as np, fastrnn, tempfile, pathlib
path = pathlib.Path(tempfile.mkdtemp()) / "m.onnx"
fastrnn.to_onnx(fastrnn.LSTM(3, 4), path)
fastrnn.from_onnx(path).run({"x": np.zeros((2, 1, 3), "f")})
print({name.partition(".")[0] for name in sys.modules} & {"onnx", "onnxruntime", "google", "torch", "scipy"})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_few_hundred_changed_files_and_those_that_went_wrong_once():
    pytest.importorskip("onnx")
    script = Path(__file__).parent / "fuzz_onnx.py"
    done = subprocess.run([sys.executable, script, "--files", "600"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert " 0 wrong" in done.stdout


def test_a_graph_of_ones_own_making():
    graph = Graph("float32")
    x = graph.input("x", np.float32, ("n", 3))
    graph.output(graph.affine(x, graph.constant(np.ones((2, 3), "f")), graph.number(1)), "y", np.float32, ("n", 2))
    found = fastrnn.from_onnx(encode(graph.model("own", "0")))
    assert found.run({"x": np.ones((4, 3), "f")})["y"].tolist() == [[4, 4]] * 4
