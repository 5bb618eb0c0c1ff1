"""Runners as ONNX nodes: the operators RNN, LSTM and GRU where they mean the same, else scans."""

import numpy as np

from ....nn.options import ACTIVATIONS, TAKES, check_activations
from ..ops.recurrent import NAMES, PEEPHOLES
from .scans import scanned, state_widths, width_of

THEIRS = {ours: name for name, ours in NAMES.items()}


def functions_of(runner):
    """The activations of each direction: ((name, alpha, beta), ...)."""
    cell, directions = runner._cell, 2 if getattr(runner, "bidirectional", False) else 1
    own = (runner.nonlinearity,) if runner.kind == "RNN" else cell.activations
    given = check_activations(runner.activation_functions, cell, directions)
    return given or (tuple((name, *ACTIVATIONS[name]) for name in own),) * directions


def is_operator(runner):
    """Whether an ONNX operator has the runner's equations."""
    zone = runner.zoneout if isinstance(runner.zoneout, tuple) else (runner.zoneout,)
    return runner.kind in ("RNN", "LSTM", "GRU") and not any(zone) and not getattr(runner, "proj_size", 0) \
        and not getattr(runner, "layer_norm", False)


def stacked_weights(runner, suffixes):
    """W, R, B and P of the operator, for the directions with these suffixes."""
    kind, params = runner._cell, runner.params
    symbols = [gate.symbol for gate in kind.gates]
    order = [symbols.index(symbol) for symbol in kind.orders["onnx"]]

    def theirs(name):
        blocks = np.split(params[name], len(symbols))
        return np.concatenate([blocks[k] for k in order])

    found = {"W": np.stack([theirs(f"weight_ih{one}") for one in suffixes]),
             "R": np.stack([theirs(f"weight_hh{one}") for one in suffixes])}
    if runner.bias:
        found["B"] = np.stack([np.concatenate([theirs(f"bias_ih{one}"), theirs(f"bias_hh{one}")]) for one in suffixes])
    if getattr(runner, "peepholes", False):
        found["P"] = np.stack([np.concatenate([params[f"weight_c{gate}{one}"] for gate in PEEPHOLES])
                               for one in suffixes])
    return found


def attributes_of(runner):
    """The attributes of the operator."""
    sets = functions_of(runner)
    found = {"hidden_size": runner.hidden_size, "direction": getattr(runner, "direction", "forward"),
             "activations": [THEIRS[name] for one in sets for name, _, _ in one]}
    for part, least, place in (("activation_alpha", 1, 1), ("activation_beta", 2, 2)):
        numbers = [float(one[place]) for functions in sets for one in functions if TAKES.get(one[0], 0) >= least]
        if numbers:
            found[part] = numbers
    if runner.clip is not None:
        found["clip"] = float(runner.clip)
    if runner.kind == "LSTM":
        found["input_forget"] = runner.coupled_gates
    if runner.kind == "GRU":
        found["linear_before_reset"] = runner.reset_after
    return found


def write_layers(graph, runner, prefix, x, lengths, states, suffix="_l{}"):
    """(y (T, B, D*P), final state parts) of all layers; states are names of parts (L*D, B, .), or None for zeros.

    The parts are h, and c of an LSTM, or the inputs w that a QRNN's window has seen.
    """
    count = getattr(runner, "num_layers", 1)
    ways = 2 if getattr(runner, "bidirectional", False) else 1
    finals = []
    for layer in range(count):
        suffixes = [suffix.format(layer) + way for way in ("", "_reverse")[:ways]]
        own = None if states is None else [
            part if count == 1 else graph.sliced(part, layer * ways, (layer + 1) * ways, 0) for part in states]
        width = runner.input_size if layer == 0 else ways * width_of(runner)
        write = by_operator if is_operator(runner) else by_scan
        x, final = write(graph, runner, prefix, x, width, lengths, own, suffixes)
        finals.append(final)
    return x, [graph.concatenated([final[k] for final in finals], 0) for k in range(len(finals[0]))]


def by_operator(graph, runner, prefix, x, width, lengths, states, suffixes):
    weights = stacked_weights(runner, suffixes)
    names = {key: graph.constant(array, f"{prefix}{key}{suffixes[0]}") for key, array in weights.items()}
    states = states or [None, None]
    inputs = [x, names["W"], names["R"], names.get("B"), lengths, states[0]]
    if runner.kind == "LSTM":
        inputs += [states[1], names.get("P")]
    y, *final = graph.add(runner.kind, *inputs, outputs=3 if runner.kind == "LSTM" else 2, **attributes_of(runner))
    # [T, D, B, H] as [T, B, D*H]
    y = graph.add("Squeeze", y, graph.ints(1)) if len(suffixes) == 1 else \
        graph.add("Reshape", graph.transposed(y, 0, 2, 1, 3), graph.ints(0, 0, -1))
    return y, final


def by_scan(graph, runner, prefix, x, width, lengths, states, suffixes):
    outputs, finals = [], []
    valid = None if lengths is None else graph.valid(x, lengths)
    for k, suffix in enumerate(suffixes):
        backwards = k == 1 or getattr(runner, "direction", "forward") == "reverse"
        params = {name.removesuffix(suffix): graph.constant(array, prefix + name)
                  for name, array in runner.params.items() if name.endswith(suffix)}
        source = graph.reversed(x, lengths) if backwards else x
        own = None if states is None else [graph.add("Squeeze", graph.sliced(part, k, k + 1, 0), graph.ints(0))
                                           for part in states]
        past, span = None, getattr(runner, "window", 1)
        if span > 1:
            source, past = windows(graph, source, width, span, None if own is None else own.pop())
        if own is None:
            batch = graph.sliced(graph.add("Shape", x), 1, 2, 0)
            own = [zeros(graph, batch, size) for size in state_widths(runner)]
        functions = functions_of(runner)[k] if runner.kind in ("RNN", "LSTM", "GRU") else ()
        y, final = scanned(graph, runner.kind, runner, params, functions, source, width, own, valid)
        outputs.append(graph.reversed(y, lengths) if backwards else y)
        final = [*final, graph_padded(graph, past, width * (span - 1), runner._widths[-1])] if past else final
        finals.append([graph.add("Unsqueeze", one, graph.ints(0)) for one in final])
    return graph.concatenated(outputs, -1), [graph.concatenated([one[k] for one in finals], 0)
                                             for k in range(len(finals[0]))]


def zeros(graph, batch, size):
    """Zeros (B, size)."""
    shape = graph.concatenated([batch, graph.ints(size)], 0)
    return graph.add("Expand", graph.number(0), shape)


def windows(graph, x, width, span, past):
    """(x (T, B, I) with the inputs before each beside it, the last ones (B, (k-1) I)), oldest first."""
    if past is None:
        batch = graph.sliced(graph.add("Shape", x), 1, 2, 0)
        before = graph.add("Expand", graph.number(0), graph.concatenated(
            [graph.ints(span - 1), batch, graph.ints(width)], 0))
    else:
        own = graph.sliced(past, 0, (span - 1) * width, 1)
        before = graph.transposed(graph.add("Reshape", own, graph.ints(0, span - 1, width)), 1, 0, 2)
    whole = graph.concatenated([before, x], 0)
    shifted = [graph.sliced(whole, j, j - span + 1 or 2**62, 0) for j in range(span)]
    last = graph.transposed(graph.sliced(whole, 1 - span, 2**62, 0), 1, 0, 2)
    return graph.concatenated(shifted, -1), graph.add("Reshape", last, graph.ints(0, -1))


def graph_padded(graph, x, width, wanted):
    """x (B, width) with zeros up to another width."""
    return x if width == wanted else graph.add("Pad", x, graph.ints(0, 0, 0, wanted - width))
