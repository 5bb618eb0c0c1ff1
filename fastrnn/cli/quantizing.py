"""`fastrnn quantize`: a model's file with fewer bits a weight, and what that costs."""

import math
import os
import time
from pathlib import Path

import numpy as np

import fastrnn

from ..files.wholefile import check_writable
from ..models.text import CharModel, read_text
from .textjob import bits_per_character

TURNS = 5  # measurements of each speed, taken in turn
SHOWN_STEPS = 2000  # characters at most of which outputs are compared and speeds measured


def quantize(source: str, *, weight_format: str = "int8", out: "str | None" = None, data: "str | None" = None,
             report: bool = False, max_loss: "float | None" = None, encoding: str = "utf-8") -> "list[str]":
    """Write the model in `source` with weights of this format; return lines that tell what was done.

    Parameters
    ----------
    source, out : str
        By default `out` is `source` with the format before its ending.
    data : str, optional
        What to compare on: a text file for a character model, else an .npy file of inputs.
    report : bool
        Whether to tell errors, sizes and speeds.
    max_loss : float, optional
        Most percent by which a character model may need more bits a character; for others, the worst error of an
        output in percent of the largest output.

    Raises
    ------
    ValueError
        Where the loss is larger: nothing is then written. Also if `report` or `max_loss` is asked for without data.
    """
    if data is None and (report or max_loss is not None):
        raise ValueError("--calibrate: expected data to compare on, with --report and --max-loss; found none")
    out = out or str(Path(source).with_suffix("")) + f"-{weight_format}.safetensors"
    check_writable(out)
    model = fastrnn.load(source)
    made = fastrnn.quantize(model, weight_format)
    lines = []
    if data is not None:
        loss, lines = _compared(model, made, data, encoding, report)
        if max_loss is not None and not loss <= max_loss:
            raise ValueError(f"--max-loss: expected a loss of at most {max_loss:g} %, found {loss:.3g} %; {out} was "
                             "not written")
    fastrnn.save(made, out)
    sizes = [os.path.getsize(path) for path in (source, out)]
    written = f"{out}: {weight_format}, {sizes[1]:,} bytes; {source}: {sizes[0]:,} bytes"
    return [*lines, written]


def _compared(model, made, data, encoding, report):
    """The loss in percent, and the lines of the report if there is to be one."""
    if isinstance(model, CharModel):
        text = read_text([data], encoding)
        bits = [bits_per_character(one, text, progress=True) for one in (model, made)]
        x = model.encode(text)[:SHOWN_STEPS, None]
        lines = [f"bits per character: {bits[0]:.4f} before, {bits[1]:.4f} after ({_percent(bits):+.2f} %)"]
        loss = _percent(bits)
    else:
        x = _inputs(data)
        lines, loss = [], None
    outputs = [_first(one(x)) for one in (model, made)]
    error, largest = np.abs(outputs[1] - outputs[0]), float(np.abs(outputs[0]).max(initial=0))
    if loss is None:
        loss = 100 * float(error.max(initial=0)) / largest if largest else 0.0 if not error.any() else math.inf
    if not report:
        return loss, []
    lines.append(f"outputs: worst error {error.max(initial=0):.3g}, mean {error.mean() if error.size else 0:.3g}, "
                 f"largest output {largest:.3g}")
    times = _times([lambda one=one: one(x) for one in (model, made)])
    lines.append(f"speed: {times[0] * 1e3:.3g} ms before, {times[1] * 1e3:.3g} ms after, "
                 f"{times[0] / times[1]:.2f} times as fast ({fastrnn.get_num_threads()} threads)")
    return loss, lines


def _percent(bits):
    return 100 * (bits[1] / bits[0] - 1) if bits[0] else 0.0


def _inputs(path):
    if Path(path).suffix.lower() != ".npy":
        raise ValueError(f"--calibrate: expected an .npy file of inputs for a model that is no character model, found "
                         f"{path!r}")
    try:
        x = np.load(path, allow_pickle=False)
    except EOFError:
        raise ValueError(f"{path}: expected an .npy file, found an empty one") from None
    if not isinstance(x, np.ndarray) or not x.size:
        raise ValueError(f"{path}: expected inputs, found none")
    return x


def _first(result):
    """The output, without states."""
    return _first(result[0]) if isinstance(result, tuple) else result


def _times(calls):
    """The median seconds of each call, measured in turn."""
    taken = [[] for _ in calls]
    for _ in range(TURNS):
        for call, own in zip(calls, taken):
            start = time.perf_counter()
            call()
            own.append(time.perf_counter() - start)
    return [float(np.median(own)) for own in taken]
