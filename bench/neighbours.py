"""What fastrnn and its neighbours in a process cost each other: NumPy's products in turn with our calls, and denormals.

    python bench/neighbours.py [threads]

Prints for each size the median time of (a NumPy product, then our call) over the sum of the medians of each alone, and
the time of a sequence whose values are denormal over that of an ordinary one.
"""

import sys
import time
from statistics import median

import numpy as np
from threadpoolctl import threadpool_limits

import fastrnn

ROUNDS, REPEATS = 7, 40
SIZES = [("LSTM", 128, 8, 50), ("LSTM", 256, 32, 50), ("GRU", 128, 16, 50), ("RNN", 256, 64, 50)]  # kind, H, B, T


def timed(*functions):
    """Seconds of one turn of the functions, one after another."""
    start = time.perf_counter()
    for _ in range(REPEATS):
        for function in functions:
            function()
    return (time.perf_counter() - start) / REPEATS


def in_turn(product, call):
    """Seconds of a turn of both over the sum of each alone: medians of rounds that take turns themselves."""
    alone_product, alone_call, both = [], [], []
    for _ in range(ROUNDS):
        alone_product.append(timed(product))
        alone_call.append(timed(call))
        both.append(timed(product, call))
    return median(both) / (median(alone_product) + median(alone_call))


def main(threads):
    fastrnn.set_num_threads(threads)
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 384, 384), np.float32)
    for kind, hidden, batch, steps in SIZES:
        rnn = getattr(fastrnn, kind)(hidden, hidden, seed=0)
        x = rng.standard_normal((batch, steps, hidden), np.float32)
        tiny = np.full_like(x, 1e-40)
        dy = rng.standard_normal((batch, steps, hidden), np.float32)

        def update(rnn=rnn, x=x, dy=dy):
            rnn.backward(rnn.forward(x)[2], dy)

        ratios = [in_turn(lambda: a @ b, call) for call in (lambda rnn=rnn, x=x: rnn(x), update)]
        times = [timed(lambda rnn=rnn, x=x: rnn(x)) for x in (tiny, x) * ROUNDS]
        denormal = median(times[::2]) / median(times[1::2])
        print(f"{kind} H={hidden} B={batch} T={steps}, {threads} threads: in turn with products {ratios[0]:.2f} "
              f"(inference), {ratios[1]:.2f} (training); denormals {denormal:.2f}")


if __name__ == "__main__":
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else fastrnn.get_num_threads()
    with threadpool_limits(threads):
        main(threads)
