"""If, Loop and Scan: nodes with graphs inside."""

import numpy as np

from .ops.registry import axis_of, operator
from .program import Program, captured_names

MOST_TURNS = 2**31


def program(node, name, infos):
    """(the program of one of a node's graphs, the places among the captured values of those it takes)."""
    graph = node.attribute(name, object)
    if graph is None or not hasattr(graph, "nodes"):
        raise ValueError(f"{node.where}: {name}: expected a graph, found "
                         f"{'none' if graph is None else 'another value'}")
    names = captured_names(node)
    captured = dict(zip(names, infos[len(node.inputs) :]))
    around = {one: info.known for one, info in captured.items() if info.known is not None}
    key = name, *sorted((one, id(array)) for one, array in around.items())
    if key not in node.memos:
        free = graph.free()
        taken = [one for one in names if one not in around and one in free]
        node.memos[key] = Program(graph, taken, {one: array for one,
                                                 array in around.items() if one in free}), around, taken
    made, _, taken = node.memos[key]
    return made, [names.index(one) for one in taken]


def is_true(value, where):
    value = np.asarray(value)
    if value.size != 1 or value.dtype != np.bool_:
        raise ValueError(f"{where}: expected one bool as the condition, found {value.dtype} of shape {value.shape}")
    return bool(value.reshape(()))


@operator("If", 1, outputs=2**31, needs=None)
def build_if(node, infos):
    branches = {name: program(node, f"{name}_branch", infos) for name in ("then", "else")}
    for name, (made, _) in branches.items():
        if len(made.outputs) != len(node.outputs):
            raise ValueError(f"{node.where}: {name}_branch: expected {len(node.outputs)} outputs, found "
                             f"{len(made.outputs)}")

    def call(condition, *captured):
        made, places = branches["then" if is_true(condition, node.where) else "else"]
        return made.run([captured[k] for k in places])
    return call


def stacked(rows, value, axis=0):
    """What a body put out in each turn, along a new axis; of no turns, an empty array as the graph describes it."""
    if rows:
        return np.stack(rows, axis)
    shape = [n if isinstance(n, int) else 0 for n in value.shape or ()]
    shape.insert(axis if axis >= 0 else axis + len(shape) + 1, 0)
    return np.zeros(shape, value.dtype or np.float32)


@operator("Loop", 2, 2**31, outputs=2**31, needs=None)
def build_loop(node, infos):
    body, places = program(node, "body", infos)
    carried = len(node.inputs) - 2
    scans = len(body.outputs) - 1 - carried
    if len(body.graph.inputs) != carried + 2 or scans < 0 or len(node.outputs) != carried + scans:
        raise ValueError(f"{node.where}: expected a body with {carried + 2} inputs and an output for each of the "
                         "node's and "
                         f"the condition, found {len(body.graph.inputs)} and {len(body.outputs)}")

    def call(most, condition, *rest):
        states, captured = list(rest[:carried]), [rest[carried + k] for k in places]
        turns = MOST_TURNS if most is None else int(np.asarray(most).reshape(()))
        going, rows, turn = condition is None or is_true(condition, node.where), [[] for _ in range(scans)], 0
        while going and turn < turns:
            again, *found = body.run([np.array(turn, np.int64), np.array(True), *states, *captured])
            states = found[:carried]
            for kept, one in zip(rows, found[carried:]):
                kept.append(one)
            going = is_true(again, node.where)
            turn += 1
        return (*(one.view() for one in states),
                *(stacked(kept, value) for kept, value in zip(rows, body.graph.outputs[1 + carried :])))
    return call


@operator("Scan", 1, 2**31, outputs=2**31, needs=None, since=8)
def build_scan(node, infos):
    if node.version < 9:
        return build_batched_scan(node, infos)
    body, places = program(node, "body", infos)
    count = node.int("num_scan_inputs", 0, 1, len(node.inputs))
    carried = len(node.inputs) - count
    scans = len(body.outputs) - carried
    if len(body.graph.inputs) != len(node.inputs) or scans < 0 or len(node.outputs) != carried + scans:
        raise ValueError(f"{node.where}: expected a body with the node's {len(node.inputs)} inputs and "
                         f"{len(node.outputs)} "
                         f"outputs, found {len(body.graph.inputs)} and {len(body.outputs)}")
    options = {}
    for name, n, highest in (("scan_input_directions", count, 1), ("scan_output_directions", scans, 1),
                             ("scan_input_axes", count, 31), ("scan_output_axes", scans, 31)):
        options[name] = node.ints(name, (0,) * n)
        if len(options[name]) != n or max(options[name], default=0) > highest:
            raise ValueError(f"{node.where}: {name}: expected {n} ints, found {options[name]}")

    def call(*inputs):
        states, captured = list(inputs[:carried]), [inputs[len(node.inputs) + k] for k in places]
        sources = [np.moveaxis(x, axis_of(axis, x.ndim, node.where), 0)[:: -1 if backwards else 1] for x, axis,
                   backwards in
                   zip(inputs[carried : len(node.inputs)], options["scan_input_axes"],
                       options["scan_input_directions"])]
        turns = {len(x) for x in sources}
        if len(turns) != 1:
            raise ValueError(f"{node.where}: expected scan inputs of one length, found {sorted(turns)}")
        rows = [[] for _ in range(scans)]
        for turn in range(turns.pop()):
            found = body.run([*states, *(x[turn] for x in sources), *captured])
            states = found[:carried]
            for kept, one in zip(rows, found[carried:]):
                kept.append(one)
        return (*(one.view() for one in states),
                *(stacked(kept[:: -1 if backwards else 1], value, axis) for kept, value, axis, backwards in
                  zip(rows, body.graph.outputs[carried:], options["scan_output_axes"],
                      options["scan_output_directions"])))
    return call


def build_batched_scan(node, infos):
    """Scan of operator set 8: all inputs have a batch axis first, then a scan's steps; sequence_lens cuts them."""
    body, places = program(node, "body", infos)
    count = node.int("num_scan_inputs", 0, 1, len(node.inputs) - 1)
    carried = len(node.inputs) - 1 - count
    directions = node.ints("directions", (0,) * count)
    if len(body.graph.inputs) != carried + count or len(body.outputs) != len(node.outputs) or len(directions) != count:
        raise ValueError(f"{node.where}: expected a body with {carried + count} inputs, {len(node.outputs)} outputs "
                         "and "
                         f"{count} directions, found {len(body.graph.inputs)}, {len(body.outputs)} and "
                         f"{len(directions)}")

    def one(b, length, inputs, captured):
        states = [x[b] for x in inputs[:carried]]
        sources = [x[b][:length][:: -1 if backwards else 1] for x, backwards in zip(inputs[carried:], directions)]
        rows = []
        for values in zip(*sources, strict=True):
            states, row = _parted(body.run([*states, *values, *captured]), carried)
            rows.append(row)
        longest = inputs[carried].shape[1]
        scans = [stacked([row[k] for row in rows], value) for k, value in enumerate(body.graph.outputs[carried:])]
        return [*states, *(np.concatenate([x, np.zeros((longest - len(x), *x.shape[1:]), x.dtype)]) for x in scans)]

    def call(lengths, *rest):
        inputs, captured = rest[: carried + count], [rest[carried + count + k] for k in places]
        batch, steps = inputs[-1].shape[:2]
        lengths = [steps] * batch if lengths is None else lengths.tolist()
        return tuple(map(np.stack, zip(*(one(b, n, inputs, captured) for b, n in enumerate(lengths)))))
    return call


def _parted(values, at):
    return values[:at], values[at:]
