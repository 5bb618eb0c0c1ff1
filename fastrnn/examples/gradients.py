"""Over 200 steps gradients vanish or explode in tanh networks, and live in gated and in identity ones.

Each network reads noise; the loss is of its last step alone. Printed is the norm of the loss's gradient with respect to
the state at a distance back, over that at distance 1. What counts is how a network starts: gates that are half open
multiply the gradient by about a half at each step, and an LSTM or GRU with such gates vanishes like any other.
"""

import numpy as np

from fastrnn import GRU, LSTM, RNN, LastStep, Linear, Sequential
from fastrnn.diagnostics import decay_table, diagnose, plot_decays

TIME = "2 s"
PUBLISHED = (
    "vanishing: Hochreiter 1991; both: Pascanu et al. 2013; LSTM: Hochreiter and Schmidhuber 1997;\n"
    "orthogonal: Saxe et al. 2014; identity (IRNN): Le et al. 2015; gates that start open: Tallec and Ollivier 2018"
)
RESULT = "the gradient 199 steps back over that at 1: tanh 0 or 2e13, identity 0.2, gates that start open 0.02 and 0.25"
OPTIONS = ("plot",)
STEPS, HIDDEN, FEATURES = 200, 64, 2


def networks(seed):
    """dict of name -> runner: the same cell from different starts."""

    def rnn(**options):
        return RNN(FEATURES, HIDDEN, seed=seed, **options)

    normal = {"recurrent": ("normal", 2 / HIDDEN**0.5)}  # spectral radius about 2
    return {
        "tanh, uniform": rnn(init="pytorch"),
        "tanh, large normal": rnn(init=normal),
        "tanh, orthogonal": rnn(),
        "ReLU, identity": rnn(nonlinearity="relu", init="irnn"),
        "LSTM, uniform": LSTM(FEATURES, HIDDEN, seed=seed, init="pytorch"),
        "LSTM, forget bias 1": LSTM(FEATURES, HIDDEN, seed=seed),
        "LSTM, gates for 200 steps": remember(LSTM(FEATURES, HIDDEN, seed=seed), STEPS, seed),
        "GRU, half open": GRU(FEATURES, HIDDEN, seed=seed),
        "GRU, gates for 200 steps": remember(GRU(FEATURES, HIDDEN, seed=seed), STEPS, seed),
    }


def remember(runner, steps, seed):
    """Start a runner's gates so that its units remember for 1 to `steps` steps (Tallec and Ollivier 2018).

    A gate of value f = sigmoid(b) keeps a memory for about 1 / (1 - f) = 1 + exp(b) steps.
    """
    hidden = runner.hidden_size
    bias = np.log(np.random.default_rng(seed).uniform(1, steps - 1, hidden))
    gates = runner.params["bias_ih_l0"].reshape(-1, hidden)  # LSTM: i f g o; GRU: r z n
    gates[1] = bias
    if runner.kind == "LSTM":
        gates[0] = -bias
    return runner


def main(args):
    rng = np.random.default_rng(args.seed)
    count = 4 if args.quick else 32
    noise, targets = 0.5 * rng.standard_normal((count, STEPS, FEATURES)), rng.standard_normal((count, 1))
    found = {}
    for name, runner in networks(args.seed).items():
        model = Sequential(runner, LastStep(), Linear(HIDDEN, 1, seed=args.seed))
        found[name] = diagnose(model, noise, targets, loss="mse")
    decays = {name: diagnosis.layers[0].decay for name, diagnosis in found.items()}
    print(decay_table(decays, "network"))
    for name, diagnosis in found.items():
        print(f"\n{name}: {diagnosis.verdict}")
    if args.plot is not None:
        plot_decays(decays, args.plot)
        print(f"\nsaved {args.plot}")
    carry = "ReLU, identity", "LSTM, gates for 200 steps", "GRU, gates for 200 steps"
    vanishes = decays["tanh, uniform"].vanishes
    return {
        "uniform tanh vanishes within": np.inf if vanishes is None else vanishes,
        "normal tanh explodes": decays["tanh, large normal"].explodes is not None,
        "carry": not any(found[name].kinds & {"vanishing", "exploding"} for name in carry),
    }


def shown(figures):
    return figures["uniform tanh vanishes within"] < 30 and figures["normal tanh explodes"] == figures["carry"] == 1
