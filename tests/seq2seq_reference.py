"""Plain NumPy encoder-decoder with attention, one source and one target at a time; imports no fastrnn.

`params` has the names of `Seq2Seq`'s parts, "<part>.<name>"; the recurrent layers are those of `reference`.
"""

import numpy as np
from reference import CELLS, forward

KINDS = {"gru": "gru_reset_after", "lstm": "lstm", "rnn": "rnn_tanh"}


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def attend(p, kind, q, memory):
    """e_s = v . tanh(W_q q + W_k m_s + b), q . m_s, or (W_q q) . m_s;  a = softmax(e);  (sum_s a_s m_s, a)"""
    if len(memory) == 0:
        return np.zeros(memory.shape[1]), np.zeros(0)
    if kind == "additive":
        keys = memory @ p["keys.weight"].T + p["keys.bias"]
        e = np.tanh(p["attention.weight_query"] @ q + keys) @ p["attention.score"]
    elif kind == "general":
        e = memory @ (p["attention.weight_query"] @ q)
    else:
        e = memory @ q
    a = softmax(e)
    return a @ memory, a


def part(p, name):
    return {key[len(name) + 1 :]: value for key, value in p.items() if key.startswith(name + ".")}


def embedded(p, name, ids, size):
    return p[name + ".weight"][ids] if name + ".weight" in p else np.eye(size)[ids]


def layers_of(p):
    """For each layer of the decoder its weights by their bare names."""
    weights = part(p, "decoder")
    found = []
    while f"weight_ih_l{len(found)}" in weights:
        suffix = f"_l{len(found)}"
        found.append({name.removesuffix(suffix): w for name, w in weights.items() if name.endswith(suffix)})
    return found


def encode(p, cell, source, layers, sizes):
    """memory [S, W], summary [.]"""
    if "encoder.weight_ih_l0" not in p:
        return source, source.mean(axis=0)
    x = embedded(p, "source_embedding", source, sizes[0])
    y, state, _ = forward(KINDS[cell], part(p, "encoder"), x[:, None])
    directions = len(state[0]) // layers
    return y[:, 0], np.concatenate([s[-directions + d, 0] for s in state for d in range(directions)])


def logits(p, cell, kind, at, source, target, sizes, bos):
    """[n + 1, V] for a target of n ids, and the weights [n + 1, S]; sizes: number of source and of target ids"""
    layers = layers_of(p)
    memory, summary = encode(p, cell, source, len(layers), sizes)
    start = np.tanh(p["bridge.weight"] @ summary + p["bridge.bias"])
    start = start.reshape(-1, len(layers), 1, len(layers[0]["weight_hh"][0]))
    states = [tuple(s[k] for s in start) for k in range(len(layers))]
    rows, weights = [], []
    for e in embedded(p, "target_embedding", np.append([bos], target).astype(int), sizes[1]):
        x, context = e, []
        if kind is not None and at == "input":
            c, a = attend(p, kind, states[-1][0][0], memory)
            x, context = np.concatenate([e, c]), [c]
        for k, w in enumerate(layers):
            states[k], _ = CELLS[KINDS[cell]][0](w, x[None], states[k], states[k][0])
            x = states[k][0][0]
        if kind is not None and at == "output":
            c, a = attend(p, kind, x, memory)
            context = [c]
        r = np.concatenate([x, *context, e])
        if "readout.weight" in p:
            r = np.tanh(p["readout.weight"] @ r + p["readout.bias"])
        rows.append(p["output.weight"] @ r + p["output.bias"])
        weights.append(a if kind is not None else [])
    return np.stack(rows), np.stack(weights)
