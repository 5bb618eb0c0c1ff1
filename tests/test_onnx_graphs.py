"""Graphs as a whole: names, shapes, plans, branches, loops, streams. See `test_onnx_nodes.py` for the operators."""

import threading

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import fastrnn  # noqa: E402
from fastrnn.formats.onnx.program import MOST_PLANS  # noqa: E402

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def value(name, type_=FLOAT, shape=None):
    return helper.make_tensor_value_info(name, type_, shape)


def made(nodes, inputs, outputs, constants=None, opset=17, **options):
    """The bytes of a model; nodes are (op, inputs, outputs, attributes), values names or value infos."""
    nodes = [helper.make_node(op, given.split(), out.split(), name=f"{op}_{k}", **attributes)
             for k, (op, given, out, attributes) in enumerate(nodes)]
    graph = helper.make_graph(
        nodes, "graph", [one if not isinstance(one, str) else value(one) for one in inputs],
        [one if not isinstance(one, str) else value(one) for one in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8,
                             **options).SerializeToString()


def steps(model):
    """The operators of the last plan that was made."""
    return [step[3].rpartition("(")[2].rstrip(")") for step in list(model._program.plans.values())[-1].steps]


def test_feeds_are_matched_by_name_and_checked_against_what_the_file_declares():
    model = fastrnn.from_onnx(made([("Add", "a b", "y", {})], [value("a", FLOAT, ["n", 3]), value("b", FLOAT, ["n",
                                                                                                               3])],
                                                                                                               ["y"]))
    assert list(model.inputs) == ["a", "b"] and model.inputs["a"] == (np.float32, ("n", 3))
    a, b = np.ones((2, 3), "f"), np.full((2, 3), 2, "f")
    np.testing.assert_array_equal(model.run({"b": b, "a": a})["y"], a + b)
    for feeds, error, message in (
        ({"a": a}, ValueError, "feeds: expected arrays for 'a', 'b', found 'a'"),
        ({"a": a, "b": b, "c": b}, ValueError, "feeds: expected arrays for 'a', 'b', found 'a', 'b', 'c'"),
        ([a, b], TypeError, "feeds: expected a dict, found list"),
        ({"a": a.astype("d"), "b": b}, TypeError, "a: expected an array of float32, found 'ndarray' of float64"),
        ({"a": a[0], "b": b}, ValueError, r"a: expected shape \(n, 3\) as the file declares, found \(3,\)"),
        ({"a": a, "b": b[:, :2]}, ValueError, r"b: expected shape \(n, 3\) as the file declares, found \(2, 2\)"),
        ({"a": a, "b": b[:1]}, ValueError, r"b: expected shape \(n, 3\) with n = 2 as a has, found \(1, 3\)"),
        ({"a": "abc", "b": b}, TypeError, "a: expected an array of float32"),
    ):
        for _ in range(2):
            with pytest.raises(error, match=message):
                model.run(feeds)


def test_lists_and_numbers_become_arrays_where_that_loses_nothing():
    model = fastrnn.from_onnx(made([("Identity", "x", "y", {})], [value("x", TensorProto.UINT8)], [value("y",
                                                                                                         TensorProto.UINT8)]))
    np.testing.assert_array_equal(model.run({"x": [1, 255]})["y"], np.array([1, 255], np.uint8))
    with pytest.raises(ValueError, match=r"x: expected values that uint8 holds, found .1, 256."):
        model.run({"x": [1, 256]})
    with pytest.raises(TypeError, match=r"x: expected an array of uint8, found 1.5"):
        model.run({"x": 1.5})


def test_outputs_are_new_arrays():
    data = made([("Identity", "x", "same", {}), ("Reshape", "x s", "view", {}), ("Transpose", "x", "turned", {}),
                 ("Add", "k k", "fixed", {})], ["x"], ["same", "view", "turned", "fixed"],
                {"s": np.array([-1]), "k": np.ones(3, "f")})
    model, x = fastrnn.from_onnx(data), np.arange(6, dtype="f").reshape(2, 3)
    for _ in range(2):
        found = model.run({"x": x})
        for array in found.values():
            assert array.base is None and array.flags.writeable and array.flags.c_contiguous
            array[...] = -1
        np.testing.assert_array_equal(x, np.arange(6).reshape(2, 3))
        np.testing.assert_array_equal(model.run({"x": x})["fixed"], [2, 2, 2])


def test_constants_are_folded_dead_nodes_dropped_and_shapes_cost_a_run_nothing():
    nodes = [("Mul", "k k", "kk", {}), ("MatMul", "x kk", "p", {}), ("Shape", "x", "s", {}),
             ("Gather", "s zero", "n", {}), ("Unsqueeze", "n axes", "nn", {}), ("Concat", "nn one", "shape",
                                                                                {"axis": 0}),
             ("Reshape", "p shape", "y", {}), ("Exp", "p", "unused", {}), ("Dropout", "y", "z", {})]
    data = made(nodes, ["x"], ["z"], {"k": np.full((3, 1), 2, "f"), "zero": np.array(0), "axes": np.array([0]),
                                      "one": np.array([-1])})
    model = fastrnn.from_onnx(data)
    for n in (2, 5, 2):
        x = np.random.default_rng(n).standard_normal((n, 3)).astype("f")
        np.testing.assert_allclose(model.run({"x": x})["z"], x.sum(1, keepdims=True) * 4, rtol=1e-5)
    assert steps(model) == ["MatMul", "Dropout"]
    assert len(model._program.plans) == 2


def test_more_shapes_than_plans():
    model = fastrnn.from_onnx(made([("Shape", "x", "s", {}), ("ConstantOfShape", "s", "o", {}), ("Sub", "o x", "y",
                                                                                                 {})],
                                   ["x"], ["y"]))
    for n in (*range(1, 3 * MOST_PLANS), 1, 40):
        np.testing.assert_array_equal(model.run({"x": np.full((n, 2), n, "f")})["y"], np.full((n, 2), -n))
    assert len(model._program.plans) == MOST_PLANS + 1


def branches(name):
    """An If on `name` whose branches use values from around it."""
    def graph(op, out):
        return helper.make_graph([helper.make_node(op, ["x", "k"], [out])], "b", [], [value(out)])
    return ("If", name, "y", {"then_branch": graph("Add", "t"), "else_branch": graph("Sub", "e")})


def test_if_by_a_constant_by_a_shape_by_a_steering_input_and_by_data():
    x, k = np.arange(4, dtype="f"), {"k": np.full(4, 10, "f")}
    fixed = fastrnn.from_onnx(made([branches("c")], ["x"], ["y"], {**k, "c": np.array(False)}))
    np.testing.assert_array_equal(fixed.run({"x": x})["y"], x - 10)
    assert steps(fixed) == ["Sub"]

    by_rank = fastrnn.from_onnx(made([("Shape", "x", "s", {}), ("Size", "s", "n", {}), ("Equal", "n two", "c", {}),
                                      branches("c")], ["x"], ["y"], {**k, "two": np.array(2)}))
    np.testing.assert_array_equal(by_rank.run({"x": x})["y"], x - 10)
    np.testing.assert_array_equal(by_rank.run({"x": x[None]})["y"], x[None] + 10)
    assert steps(by_rank) == ["Add"]

    steered = fastrnn.from_onnx(made([("Equal", "rate r", "c", {}), branches("c")], ["x", value("rate", INT64, [])],
                                     ["y"],
                                     {**k, "r": np.array(16000)}))
    for rate, sign in ((16000, 1), (8000, -1), (16000, 1)):
        np.testing.assert_array_equal(steered.run({"x": x, "rate": np.array(rate)})["y"], x + sign * 10)
    assert steps(steered) == ["Sub"] and len(steered._program.plans) == 2

    by_data = fastrnn.from_onnx(made([("ReduceSum", "x", "t", {"keepdims": 0}), ("Greater", "t zero", "c", {}),
                                      branches("c")],
                                     ["x"], ["y"], {**k, "zero": np.array(0, "f")}))
    for sign in (1, -1, 1):
        np.testing.assert_array_equal(by_data.run({"x": sign * x})["y"], sign * x + sign * 10)


def test_a_steering_input_of_many_values_shares_a_plan():
    model = fastrnn.from_onnx(made([("Equal", "rate r", "c", {}), branches("c")], ["x", value("rate", INT64, [])],
                                   ["y"],
                                   {"k": np.ones(1, "f"), "r": np.array(7)}))
    for rate in range(100):
        assert model.run({"x": np.zeros(1, "f"), "rate": np.array(rate)})["y"] == (1 if rate == 7 else -1)
    assert len(model._program.plans) == MOST_PLANS + 1


def test_loop_and_scan_with_captured_values_and_growing_state():
    body = helper.make_graph(
        [helper.make_node("Concat", ["state", "x"], ["grown"], axis=0), helper.make_node("ReduceSum", ["grown"],
                                                                                         ["row"],
                                                                                        keepdims=0),
         helper.make_node("Less", ["row", "limit"], ["again"])],
        "body", [value("i", INT64, []), value("go", BOOL, []), value("state")],
        [value("again", BOOL), value("grown"), value("row")])
    model = fastrnn.from_onnx(made([("Loop", "most go x", "last rows", {"body": body})],
                                   [value("most", INT64, []), "x"], ["last", "rows"],
                                   {"go": np.array(True), "limit": np.array(100, "f")}))
    x = np.array([1, 2], "f")
    found = model.run({"most": np.array(50), "x": x})
    np.testing.assert_array_equal(found["rows"], np.arange(6, 103, 3))
    assert found["last"].shape == (68,)
    found = model.run({"most": np.array(0), "x": x})
    assert found["rows"].shape == (0,) and found["rows"].dtype == np.float32
    np.testing.assert_array_equal(found["last"], x)

    scan = helper.make_graph([helper.make_node("Add", ["h", "row"], ["sum"]), helper.make_node("Mul", ["sum", "k"],
                                                                                               ["new"]),
                              helper.make_node("Identity", ["new"], ["out"])], "scan", [value("h"), value("row")],
                             [value("new"), value("out")])
    model = fastrnn.from_onnx(made([("Scan", "h x", "last all", {"body": scan, "num_scan_inputs": 1,
                                                                   "scan_input_directions": [1]})],
                                   ["h", "x"], ["last", "all"], {"k": np.full(2, 0.5, "f")}))
    rows = np.arange(6, dtype="f").reshape(3, 2)
    h, expected = np.zeros(2), []
    for row in rows[::-1]:
        h = (h + row) * 0.5
        expected.append(h)
    found = model.run({"h": np.zeros(2, "f"), "x": rows})
    np.testing.assert_array_equal(found["all"], expected)
    np.testing.assert_array_equal(found["last"], expected[-1])


def test_functions_of_the_model_are_inlined():
    function = helper.make_function("own", "Twice", ["a"], ["b"], [
        helper.make_node("LeakyRelu", ["a"], ["t"]), helper.make_node("Add", ["t", "t"], ["b"])],
        [helper.make_opsetid("", 17)], ["alpha"])
    function.node[0].attribute.append(onnx.AttributeProto(name="alpha", ref_attr_name="alpha",
                                                          type=onnx.AttributeProto.FLOAT))
    nodes = [helper.make_node("Twice", ["x"], ["m"], domain="own", alpha=0.5),
             helper.make_node("Twice", ["m"], ["y"], domain="own")]
    graph = helper.make_graph(nodes, "g", [value("x")], [value("y")])
    model = helper.make_model(graph, functions=[function], ir_version=8,
                              opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("own", 1)])
    x = np.array([-1, 2], "f")
    np.testing.assert_allclose(fastrnn.from_onnx(model).run({"x": x})["y"], [-1 * 0.01 * 2, 8])
    function.node[1].op_type, function.node[1].domain = "Twice", "own"     # calls itself
    function.opset_import.append(helper.make_opsetid("own", 1))
    model.functions[0].CopyFrom(function)
    function.node[1].input.pop()
    model.functions[0].CopyFrom(function)
    with pytest.raises(ValueError, match="functions that do not call themselves"):
        fastrnn.from_onnx(model)


@pytest.mark.parametrize(("nodes", "message"), [
    ([("Exp", "t", "y", {}), ("Exp", "x", "t", {})], "expected inputs that an earlier node makes, found 't'"),
    ([("Exp", "y", "y", {})], "expected inputs that an earlier node makes, found 'y'"),
    ([("Exp", "x", "y", {}), ("Log", "x", "y", {})], "expected outputs that no other node makes, found 'y'"),
    ([("Exp", "x", "x", {}), ("Exp", "x", "y", {})], "expected outputs that no other node makes, found 'x'"),
    ([("Exp", "x", "t", {})], "output 'y': expected a value that a node makes, found none"),
    ([("Exp", "x x", "y", {})], "node 'Exp_0' .Exp.: expected 1 to 1 inputs and 1 to 1 outputs, found 2 and 1"),
    ([("Exq", "x", "y", {})], "node 'Exq_0' .Exq.: expected an operator that fastrnn knows, found Exq"),
    ([("Softmax", "x", "y", {"axes": 1})], "expected axis attributes in operator set 17, found .'axes'."),
    ([("Transpose", "x", "y", {"perm": [0, 0]})], "perm: expected each axis once"),
])  # fmt: skip
def test_graphs_that_are_wrong_are_refused_when_they_are_read(nodes, message):
    with pytest.raises(ValueError, match=message):
        fastrnn.from_onnx(made(nodes, ["x"], ["y"]))


def test_an_error_of_a_run_names_the_node_and_changes_nothing():
    model = fastrnn.from_onnx(made([("Reshape", "x s", "t", {}), ("MatMul", "t w", "y", {})], ["x", value("s",
                                                                                                          INT64)],
                                                                                                          ["y"],
                                   {"w": np.ones((3, 2), "f")}))
    good = {"x": np.ones(6, "f"), "s": np.array([2, 3])}
    for _ in range(2):
        np.testing.assert_array_equal(model.run(good)["y"], np.full((2, 2), 3))
        with pytest.raises(ValueError, match=r"node 'Reshape_0' \(Reshape\): cannot reshape"):
            model.run({**good, "s": np.array([4, 3])})
        with pytest.raises(ValueError, match=r"node 'MatMul_1' \(MatMul\): expected float32 of shape \(..., 3\)"):
            model.run({**good, "s": np.array([3, 2])})


def test_arrays_that_do_not_fit_into_memory_are_refused():
    for nodes, constants in (([("Expand", "x s", "y", {})], {"s": np.array([10**7, 10**7])}),
                             ([("ConstantOfShape", "s", "t", {}), ("Add", "t x", "y", {})], {"s": np.array([2**62,
                                                                                                            2**62])}),
                             ([("Tile", "x s", "y", {})], {"s": np.array([10**15])}),
                             ([("Pad", "x s", "y", {})], {"s": np.array([0, 10**15])})):
        with pytest.raises(ValueError, match=r"expected (an array that fits into memory|what fits)"):
            fastrnn.from_onnx(made(nodes, ["x"], ["y"], constants)).run({"x": np.ones(1, "f")})


def test_threads_share_a_model():
    nodes = [("Conv", "x w", "c", {"pads": [1, 1]}), ("Relu", "c", "r", {}), ("Transpose", "r", "t", {"perm": [2, 0,
                                                                                                               1]}),
             ("LSTM", "t W R", "y", {"hidden_size": 4})]
    rng = np.random.default_rng(0)
    constants = {"w": rng.standard_normal((5, 3, 3)), "W": rng.standard_normal((1, 16, 5)),
                 "R": rng.standard_normal((1, 16, 4))}
    model = fastrnn.from_onnx(made(nodes, ["x"], ["y"], {name: array.astype("f") for name, array in constants.items()}))
    inputs = [rng.standard_normal((1, 3, 5 + k % 2)).astype("f") for k in range(8)]
    expected, wrong = [model.run({"x": x})["y"] for x in inputs], []

    def work(k):
        for _ in range(200):
            if not np.array_equal(model.run({"x": inputs[k]})["y"], expected[k]):
                wrong.append(k)

    workers = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    assert not wrong


# Convolution: what is left out of the product, and the ways by size


@pytest.mark.parametrize("seed", range(120))
def test_convolution_equals_onnxruntime(seed):
    onnxruntime = pytest.importorskip("onnxruntime")
    rng = np.random.default_rng([seed, 5])
    axes, groups = int(rng.integers(1, 3)), int(rng.choice([1, 1, 1, 2, 3]))
    channels, outputs = groups * int(rng.integers(1, 4)), groups * int(rng.integers(1, 4))
    if rng.random() < 0.2:
        groups, outputs = channels, channels
    kernel, attributes = rng.integers(1, 5, axes), {"group": groups}
    attributes["strides"], attributes["dilations"] = rng.integers(1, 4, axes).tolist(), rng.integers(1, 3,
                                                                                                     axes).tolist()
    if rng.random() < 0.3:
        attributes["auto_pad"] = ["SAME_UPPER", "SAME_LOWER", "VALID"][rng.integers(3)]
        attributes["dilations"] = [1] * axes
    else:
        attributes["pads"] = rng.integers(0, 5, 2 * axes).tolist()
    least = (kernel - 1) * attributes["dilations"] + 1
    shape = [int(rng.integers(max(1, n - (2 if "pads" in attributes else 0)), n + 6)) for n in least]
    x = rng.standard_normal((int(rng.integers(1, 4)), channels, *shape)).astype("f")
    w = rng.standard_normal((outputs, channels // groups, *kernel)).astype("f")
    constants = {"w": w, "b": rng.standard_normal(outputs).astype("f")} if rng.random() < 0.7 else {"w": w}
    data = made([("Conv", " ".join(["x", *constants]), "c", attributes), ("Relu", "c", "y", {})], ["x"], ["y"],
                constants)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    try:
        expected, = session.run(None, {"x": x})
    except Exception:       # too small for the window: so it is here
        with pytest.raises(ValueError, match="Conv"):
            fastrnn.from_onnx(data).run({"x": x})
        return
    found = fastrnn.from_onnx(data)
    np.testing.assert_allclose(found.run({"x": x})["y"], expected, atol=2e-5)
    np.testing.assert_allclose(found.run({"x": x.repeat(2, 0)})["y"], expected.repeat(2, 0), atol=2e-5)
    if groups == 1:
        assert steps(found) == ["Relu"]     # one step: "Conv and Relu"


def test_a_long_convolution_is_done_in_pieces(monkeypatch):
    from fastrnn.formats.onnx.ops import convolution

    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 3, 500)).astype("f"), rng.standard_normal((4, 3, 5)).astype("f")
    data = made([("Conv", "x w", "y", {"strides": [2]})], ["x"], ["y"], {"w": w})
    expected = fastrnn.from_onnx(data).run({"x": x})["y"]
    monkeypatch.setattr(convolution, "MOST_ROWS", 100)
    np.testing.assert_allclose(fastrnn.from_onnx(data).run({"x": x})["y"], expected, atol=1e-5)


# Streams


def counter(states, declared=(1, None, 2)):
    """A model whose states, input name -> output name, each grow by x."""
    nodes = [("Add", f"{one} x", other, {}) for one, other in states.items()]
    nodes.append(("Add", f"{next(iter(states))} x", "y", {}))
    return fastrnn.from_onnx(made(nodes, ["x", *(value(one, FLOAT, declared) for one in states)], ["y",
                                                                                                   *states.values()]))


@pytest.mark.parametrize(("state", "following"), [
    ("h", "hn"), ("h", "h_n"), ("h", "h_out"), ("h", "new_h"), ("state", "stateN"), ("h0", "hn"), ("h0", "h1"),
    ("c_in", "c_out"), ("in_state", "out_state"), ("input_state", "output_state"), ("past_key", "present_key"),
    ("initial_h", "final_h"), ("prev_h", "next_h"), ("state.old", "state.new"), ("lstm_h_input", "lstm_h_output"),
])  # fmt: skip
def test_states_are_paired_by_their_names(state, following):
    stream = counter({state: following}).stream(3)
    assert stream.states == {state: following}
    x = np.full((1, 3, 2), 2, "f")
    for k in range(1, 4):
        found = stream.step({"x": x})
        assert list(found) == ["y"]
        np.testing.assert_array_equal(found["y"], k * x)
    twin = stream.copy()
    stream.reset()
    np.testing.assert_array_equal(stream.state[state], 0 * x)
    np.testing.assert_array_equal(twin.state[state], 3 * x)
    stream.state = twin.state
    np.testing.assert_array_equal(stream.step({"x": x})["y"], 4 * x)


def test_streams_refuse_what_is_not_clear_and_keep_their_state_when_they_fail():
    with pytest.raises(ValueError, match=r"states: expected one output that is the next 'h', found 'h_out' and 'hn'"):
        fastrnn.from_onnx(made([("Exp", "h", "hn", {}), ("Exp", "h", "h_out", {})], ["h"], ["hn", "h_out"])).stream()
    plain = fastrnn.from_onnx(made([("Exp", "input", "output", {})], ["input"], ["output"]))
    with pytest.raises(ValueError, match=r"give the pairs: states=.input: output."):
        plain.stream()
    with pytest.raises(ValueError, match="expected an array for 'input', whose shape None leaves more open"):
        plain.stream(states={"input": "output"})
    given = plain.stream(states={"input": "output"}, initial={"input": np.zeros(2, "f")})
    given.step({})
    np.testing.assert_allclose(given.step({}).get("output", given.state["input"]), np.e)
    with pytest.raises(ValueError, match=r"states: expected pairs of an input among 'input'"):
        plain.stream(states={"output": "input"})
    with pytest.raises(ValueError, match="initial: expected states among 'input', found 'x'"):
        plain.stream(states={"input": "output"}, initial={"x": 1})

    model = counter({"h": "hn", "c": "cn"})
    with pytest.raises(ValueError, match="expected another output for each state"):
        model.stream(states={"h": "hn", "c": "hn"})
    stream = model.stream(1)
    x = np.ones((1, 1, 2), "f")
    stream.step({"x": x})
    with pytest.raises(ValueError, match=r"hn: expected a state of shape \(1, 1, 2\)"):
        stream.step({"x": np.ones((1, 5, 2), "f")})
    with pytest.raises(ValueError, match=r"feeds: expected arrays for 'x', found 'x', 'h'"):
        stream.step({"x": x, "h": x})
    with pytest.raises(ValueError, match=r"h: expected a state of float32 and shape \(1, None, 2\), found float32"):
        stream.state = {"h": x[0], "c": x}
    np.testing.assert_array_equal(stream.state["h"], x)
    np.testing.assert_array_equal(stream.step({"x": x})["y"], 2 * x)


@pytest.mark.parametrize("square", ["constant", "node", "mul", "cube", "vector"])
@pytest.mark.parametrize("outputs", ["y", "y s"])
def test_a_magnitude_is_one_step_where_nothing_else_reads_what_it_is_made_of(square, outputs):
    exponent = np.array({"cube": 3, "vector": [2, 3, 2]}.get(square, 2), np.float32)
    power = [("Mul", f"{a} {a}", f"{a}2", {}) if square == "mul" else ("Pow", f"{a} e", f"{a}2", {}) for a in "ab"]
    told = [("Constant", "", "e", {"value": numpy_helper.from_array(exponent)})] if square == "node" else []
    model = fastrnn.from_onnx(made(
        [*told, *power, ("Add", "a2 b2", "s", {}), ("Sqrt", "s", "y", {})], ["a", "b"], outputs.split(),
        {} if square == "node" else {"e": exponent}))
    rng = np.random.default_rng(3)
    a, b = (rng.random((2, 4, 3), dtype=np.float32) for _ in "ab")
    found = model.run({"a": a, "b": b})
    power = 2 if square == "mul" else exponent
    wanted = np.sqrt(a**power + b**power)
    np.testing.assert_allclose(found["y"], wanted, rtol=1e-6)
    assert (len(steps(model)) == 1) == (outputs == "y" and square in ("constant", "node", "mul"))
    if outputs != "y":
        np.testing.assert_allclose(found["s"], wanted**2, rtol=1e-6)
    np.testing.assert_array_equal(a, np.random.default_rng(3).random((2, 4, 3), dtype=np.float32))


def test_a_step_takes_up_the_reshaping_of_its_output_unless_the_output_is_read_as_it_is():
    nodes = [("Neg", "x", "n", {}), ("Reshape", "n shape", "r", {}), ("Abs", "r", "y", {})]
    for outputs in (["y"], ["y", "n"], ["y", "r"]):
        model = fastrnn.from_onnx(made(nodes, ["x"], outputs, {"shape": np.array([3, 2])}))
        x = np.arange(6, dtype=np.float32).reshape(2, 3)
        found = model.run({"x": x})
        wanted = {"n": -x, "r": -x.reshape(3, 2), "y": x.reshape(3, 2)}
        for name in outputs:
            np.testing.assert_array_equal(found[name], wanted[name])
        assert len(steps(model)) == (3 if "n" in outputs else 2)
    # a second reader of the value
    model = fastrnn.from_onnx(made([*nodes, ("Exp", "n", "z", {})], ["x"], ["y", "z"], {"shape": np.array([3, 2])}))
    np.testing.assert_allclose(model.run({"x": x})["z"], np.exp(-x), rtol=1e-6)


@pytest.mark.parametrize(("spatial", "kernel", "dilations"), [
    ((1,), (1,), (1,)), ((5,), (5,), (1,)), ((5,), (3,), (2,)), ((3, 4), (3, 4), (1, 1)), ((3, 4), (2, 4), (2, 1)),
    ((1,), (3,), (1,)), ((1, 1), (1, 1), (1, 1)), ((2,), (3,), (1,)),
])
@pytest.mark.parametrize("relu", [True, False])
def test_convolutions_of_one_window_a_sequence(spatial, kernel, dilations, relu):
    rng = np.random.default_rng(4)
    x, w, b = (rng.normal(size=shape).astype("f") for shape in ((2, 3, *spatial), (4, 3, *kernel), (4,)))
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations)]
    missing = [extent - size for extent, size in zip(extents, spatial)]
    pads = [n // 2 for n in missing] + [n - n // 2 for n in missing]
    model = fastrnn.from_onnx(made(
        [("Conv", "x w b", "c", {"dilations": dilations, "pads": pads}), *([("Relu", "c", "y", {})] if relu else [])],
        [value("x", FLOAT, x.shape)], ["y" if relu else "c"], {"w": w, "b": b}))
    n = len(spatial)
    padded = np.pad(x, [(0, 0), (0, 0), *zip(pads[:n], pads[n:])])
    taken = padded[(..., *(slice(None, None, d) for d in dilations))]
    wanted = np.tensordot(taken, w, [range(1, n + 2)] * 2) + b
    wanted = np.maximum(wanted, 0) if relu else wanted
    for given in (x, np.asfortranarray(x)):
        (found,) = model.run({"x": given}).values()
        np.testing.assert_allclose(found, wanted.reshape(2, 4, *(1,) * n), rtol=1e-5, atol=1e-5)
