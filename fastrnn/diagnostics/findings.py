"""The verdict: what the numbers of a diagnosis mean, why, and what to do."""

import math
from dataclasses import dataclass

from . import criteria

SHARE = f"1/{1 / criteria.FALL:.0f}"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes
    ----------
    kind : str
        "vanishing", "exploding", "saturated", "dead", "updates", "not finite" or "no gradient".
    where : str
        The layer, or "" for the whole model.
    steps : int or None
        For "vanishing" and "exploding", the distance from the end at which it happens.
    text : str
        What was found, and its cause.
    remedy : str
        What helps.
    """

    kind: str
    where: str
    steps: int | None
    text: str
    remedy: str

    def __str__(self):
        return f"{self.kind}: {self.where}{': ' * bool(self.where)}{self.text}\n  remedy: {self.remedy}"


def judge(diagnosis):
    """The findings of a `Diagnosis`, the gravest first."""
    if not math.isfinite(diagnosis.loss):
        remedy = "a lower learning rate and clip_norm; look for NaN and infinities in the data"
        return [Finding("not finite", "", None, f"the loss is {diagnosis.loss}", remedy)]
    found = []
    if diagnosis.layers and all(layer.decay is None for layer in diagnosis.layers):
        text = "none comes to the last recurrent layer: the loss there is flat, or what is behind the layer blocks it"
        remedy = "look for targets that are all met, weights that are all 0, units of later layers that are dead"
        found.append(Finding("no gradient", "", None, text, remedy))
    with_decay = [layer for layer in diagnosis.layers if layer.decay is not None]
    found += [_exploding(layer) for layer in with_decay if layer.decay.explodes is not None]
    found += [_vanishing(layer, with_decay) for layer in with_decay if layer.decay.vanishes is not None]
    for layer in diagnosis.layers:
        found += _saturated(layer)
    found += [_dead(layer) for layer in diagnosis.layers if layer.dead is not None and layer.dead > criteria.MOST_UNITS]
    found += _updates(diagnosis.weights)
    return found


def healthy_text(diagnosis):
    """What is to be said where there are no findings."""
    lines = []
    for layer in diagnosis.layers:
        decay = layer.decay
        if decay is None or decay.factor is None:
            continue
        low, high = decay.norms[1:].min(), decay.norms[1:].max()
        line = f"{layer.name}: over {len(decay.norms) - 1} steps the gradient stays within a factor of {high / low:.2g}"
        line += f" ({_factor(decay)})"
        for ratio, word in (criteria.FALL, f"under {SHARE}"), (criteria.RISE, f"over {criteria.RISE:.0f} times"):
            steps = decay.steps_to(ratio)
            if steps < 10 * len(decay.norms):
                line += f"; going on so it would be {word} at {steps:.0f}"
        lines.append(line)
    return "healthy" + "".join(f"\n  {line}" for line in lines)


def _factor(decay):
    return f"multiplied by {decay.factor:.3g} at each step"


def _exploding(layer):
    decay = layer.decay
    text = (
        f"from {decay.explodes} steps back the gradient is over {criteria.RISE:.0f} times that at 1 step, "
        f"{_factor(decay)}"
    )
    if layer.kind == "RNN":
        text += f"; {_matrix(layer)}"
    remedy = "clip_norm=1.0 in the Trainer (Pascanu et al. 2013), and "
    if layer.kind == "RNN":
        remedy += 'recurrent weights of norm 1: init={"recurrent": "orthogonal"}'
    else:
        remedy += "smaller recurrent weights or a lower learning rate"
    return Finding("exploding", layer.name, decay.explodes, text, remedy)


def _vanishing(layer, layers):
    decay = layer.decay
    text = (
        f"from {decay.vanishes} steps back the gradient stays under {SHARE} of that at 1 step, "
        f"{_factor(decay)}: the layer learns from nothing further back"
    )
    way = layer.name.endswith("_reverse")
    carriers = [x.name for x in layers if x.decay.vanishes is None and x.name.endswith("_reverse") == way]
    if carriers:
        text += f" ({', '.join(carriers)} may)"
    cause, remedy = _vanishing_cause(layer, len(decay.norms))
    return Finding("vanishing", layer.name, decay.vanishes, f"{text}. Cause: {cause}", remedy)


def _vanishing_cause(layer, steps):
    """(cause, remedy) by kind of layer."""
    top = max(steps - 1, 2)
    if layer.kind == "LSTM":
        mean = layer.gates["forget"].mean
        return (
            f"the forget gates, {mean:.3g} in the mean, multiply it at each step",
            f"start forget biases at log(u) and input biases at -log(u), u uniform in 1 .. {top} (Tallec and Ollivier "
            f'2018), or a larger init={{"forget_bias": ...}}: a gate that keeps half over {top} steps has '
            f"{math.log(_odds(top)):.1f}",
        )
    if layer.kind == "GRU":
        mean = layer.gates["update"].mean
        return (
            f"the update gates, {mean:.3g} in the mean, multiply it at each step",
            f"start update biases at log(u), u uniform in 1 .. {top} (Tallec and Ollivier 2018)",
        )
    if layer.kind in _OPENING:
        name = "keep" if layer.kind == "MinGRU" else "forget"
        return (
            f"the {name} gates, {layer.gates[name].mean:.3g} in the mean, multiply it at each step",
            f"start {_OPENING[layer.kind]}, u uniform in 1 .. {top} (Tallec and Ollivier 2018)",
        )
    gate = layer.gates.get("state")
    if gate is not None and gate.left + gate.right > criteria.MOST_UNITS:
        return (
            f"tanh is saturated in {gate.left + gate.right:.0%} of its values, where its slope is small",
            "inputs of mean 0 and variance 1, smaller input weights, a lower learning rate; or an LSTM or GRU",
        )
    if layer.dead is not None and layer.dead > criteria.MOST_UNITS:
        return f"{layer.dead:.0%} of the ReLU units are dead", 'a lower learning rate, clip_norm, init="irnn"'
    better = 'init={"recurrent": "orthogonal"} or, with nonlinearity="relu", init="irnn" (Le et al. 2015)'
    found = layer.spectra["state"]
    if found.norm < 1:
        return f"{_matrix(layer)}, under 1, which suffices (Pascanu et al. 2013)", f"{better}; or an LSTM or GRU"
    if found.radius < 1 - 1e-6:
        return f"{_matrix(layer)}: its powers shrink", f"{better}; or an LSTM or GRU"
    return f"the slopes of the units take away more than the matrix adds; {_matrix(layer)}", "an LSTM or GRU"


# kind -> what lets the gates of a cell without recurrent matrices start so that they hold
_OPENING = {
    "MinGRU": "update biases at -log(u)",
    "MinLSTM": "forget biases at log(u) and input biases at -log(u)",
    "SRU": "forget biases at log(u)",
    "QRNN": "forget biases at log(u)",
}


def _odds(steps):
    """f / (1 - f) of the f with f^steps = 1/2."""
    f = 0.5 ** (1 / steps)
    return f / (1 - f)


def _matrix(layer):
    found = layer.spectra["state"]
    return f"the recurrent matrix has spectral radius {found.radius:.3g}, largest singular value {found.norm:.3g}"


def _saturated(layer):
    for name, gate in layer.gates.items():
        if gate.stuck <= criteria.MOST_UNITS:
            continue
        unit = "units" if name == "state" else f"{name} gates"
        text = f"{gate.stuck:.0%} of the {unit} are stuck"
        ends = [f"{share:.0%} at {end:g}" for share, end in ((gate.shut, gate.low), (gate.open, gate.high)) if share]
        if ends:
            text += f" ({', '.join(ends)})"
        text += _MEANINGS.get((layer.kind, name, gate.shut > gate.open), "")
        remedy = "inputs of mean 0 and variance 1, smaller weights or biases at the start, a lower learning rate"
        yield Finding("saturated", layer.name, None, text, remedy)


# (kind, gate, mostly shut) -> what it does to the layer
_MEANINGS = {
    ("LSTM", "input", True): ": the cells take nothing in",
    ("LSTM", "forget", True): ": the cells remember nothing",
    ("LSTM", "forget", False): ": the cells cannot forget",
    ("LSTM", "output", True): ": the cells show nothing",
    ("GRU", "update", True): ": the units remember nothing",
    ("GRU", "update", False): ": the units take nothing in",
    ("GRU", "reset", True): ": the candidate does not see the state",
}


def _dead(layer):
    text = f"{layer.dead:.0%} of the ReLU units are 0 at every step"
    return Finding("dead", layer.name, None, text, 'a lower learning rate, clip_norm, init="irnn"')


def _updates(weights):
    for name, found in weights.items():
        if found.update is None:
            continue
        text = f"the last update was {found.update:.1e} of the parameters' norm; about 1e-3 is the rule (Hinton 2012)"
        if found.update > criteria.LARGE_UPDATE:
            yield Finding("updates", name, None, text, "a lower learning rate, or clip_norm")
        elif found.update < criteria.SMALL_UPDATE:
            yield Finding("updates", name, None, text, "a higher learning rate, if the loss is still high")
