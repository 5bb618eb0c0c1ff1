"""One training step of the translation example's network, here and in PyTorch: `python bench/seq2seq.py [THREADS]`.

A bidirectional GRU, additive attention, a GRU that reads the context, tanh readout; forward, loss, BPTT, clipping,
Adam. Both have the same weights and inputs, without dropout; logits and gradients are compared before timing.
PyTorch's encoder takes packed sequences; its decoder is nn.GRUCell step by step, its output layer takes all of them.
"""

import os
import sys
import time

import numpy as np

import fastrnn
from fastrnn import Adam, Seq2Seq, losses

SOURCE, TARGET, WIDTH, BATCH, SMOOTHING, RATE, STEPS = 7856, 5920, 256, 64, 0.1, 1e-3, 15


def problem():
    """Sources and targets of about one length, as in a bucket of Multi30k."""
    rng = np.random.default_rng(0)
    X = [rng.integers(3, SOURCE, rng.integers(12, 16)) for _ in range(BATCH)]
    return X, [rng.integers(3, TARGET, rng.integers(9, 17)) for _ in range(BATCH)]


def ours(X, y):
    """(a function that makes one update, one that returns logits and gradients, the model)."""
    model = Seq2Seq(SOURCE, TARGET, embedding_dim=WIDTH, hidden_size=WIDTH, readout_size=WIDTH, seed=0)
    optimizer = Adam(RATE)

    def gradients():
        logits, _, tape = model.forward(X, target=y)
        model.zero_grad()
        _, gradient = losses.cross_entropy(logits, model.targets(y), label_smoothing=SMOOTHING)
        model.backward(tape, gradient)
        return logits, model.grads

    def update():
        gradients()
        fastrnn.clip_grad_norm(model.grads, 1.0)
        optimizer.step(model.params, model.grads)

    return update, gradients, model


def theirs(X, y, params, threads):
    """The same two functions of PyTorch, with these parameters."""
    import torch
    from torch import nn
    from torch.nn.functional import cross_entropy, embedding, linear

    torch.set_num_threads(threads)
    encoder = nn.GRU(WIDTH, WIDTH, bidirectional=True, batch_first=True)
    cell = nn.GRUCell(3 * WIDTH, WIDTH)
    # the layers' own weights by their names, all others as they are
    own = {f"encoder.{name}": p for name, p in encoder.named_parameters()}
    own |= {f"decoder.{name}_l0": p for name, p in cell.named_parameters()}
    p = {name: own[name] if name in own else nn.Parameter(torch.empty(array.shape)) for name, array in params.items()}
    with torch.no_grad():
        for name, array in params.items():
            p[name].copy_(torch.from_numpy(array))
    optimizer = torch.optim.Adam(p.values(), RATE)
    pad = nn.utils.rnn.pad_sequence
    lengths = torch.tensor([len(ids) for ids in X])
    x = pad([torch.tensor(ids) for ids in X], batch_first=True)
    fed = pad([torch.tensor([0, *ids]) for ids in y], batch_first=True)
    wanted = pad([torch.tensor([*ids, 1]) for ids in y], batch_first=True, padding_value=-1)
    outside = torch.arange(x.shape[1]) >= lengths[:, None]

    def logits():
        packed = nn.utils.rnn.pack_padded_sequence(embedding(x, p["source_embedding.weight"]), lengths,
                                                   batch_first=True, enforce_sorted=False)
        memory, h = encoder(packed)
        memory, _ = nn.utils.rnn.pad_packed_sequence(memory, batch_first=True)
        h = torch.tanh(linear(torch.cat([h[0], h[1]], 1), p["bridge.weight"], p["bridge.bias"]))
        keys = linear(memory, p["keys.weight"], p["keys.bias"])
        e, states, contexts = embedding(fed, p["target_embedding.weight"]), [], []
        for t in range(e.shape[1]):
            scores = torch.tanh(keys + linear(h, p["attention.weight_query"])[:, None]) @ p["attention.score"]
            weights = torch.softmax(scores.masked_fill(outside, -torch.inf), 1)
            context = torch.bmm(weights[:, None], memory)[:, 0]
            h = cell(torch.cat([e[:, t], context], 1), h)
            states.append(h)
            contexts.append(context)
        read = torch.cat([torch.stack(states, 1), torch.stack(contexts, 1), e], 2)
        read = torch.tanh(linear(read, p["readout.weight"], p["readout.bias"]))
        return linear(read, p["output.weight"], p["output.bias"])

    def gradients():
        optimizer.zero_grad()
        found = logits()
        loss = cross_entropy(found.flatten(0, 1), wanted.flatten(), ignore_index=-1, label_smoothing=SMOOTHING)
        loss.backward()
        return found[wanted >= 0].detach().numpy(), {name: value.grad.numpy() for name, value in p.items()}

    def update():
        gradients()
        nn.utils.clip_grad_norm_(p.values(), 1.0)
        optimizer.step()

    return update, gradients


def compare(found, expected):
    """Worst relative error of logits and gradients."""
    pairs = [(found[0], expected[0]), *((found[1][name], expected[1][name]) for name in expected[1])]
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)


def main():
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    os.environ["OMP_NUM_THREADS"] = str(threads)
    fastrnn.set_num_threads(threads)
    X, y = problem()
    update, gradients, model = ours(X, y)
    peer, peer_gradients = theirs(X, y, model.state_dict(), threads)
    error = compare(gradients(), peer_gradients())
    print(f"logits and gradients agree within {error:.1e}")
    assert error < 1e-4
    times = {}
    for name, one in (("fastrnn", update), ("PyTorch", peer)):  # one after another: idle threads of a pool may spin
        for _ in range(3):
            one()
        taken = []
        for _ in range(STEPS):
            started = time.perf_counter()
            one()
            taken.append(time.perf_counter() - started)
        times[name] = 1000 * float(np.median(taken))
    print(f"{threads} threads, one update: " + ", ".join(f"{name} {ms:.0f} ms" for name, ms in times.items())
          + f"; ratio {times['PyTorch'] / times['fastrnn']:.2f}")


if __name__ == "__main__":
    main()
