"""The main job: train a character model on text, with checkpoints on the way, and go on after a stop."""

import hashlib
import math
import sys

from ..check.saved import check_arrays, check_text
from ..check.values import check_number, check_positive_int
from ..data.batches import LaneStream
from ..data.vocab import Vocabulary
from ..files.checkpoint import CheckpointSeries
from ..files.wholefile import check_writable, naming, remove_stale
from ..models.build import build_model
from ..models.io import save
from ..models.text import CharModel
from ..train.callbacks import Callback, ModelCheckpoint, ProgressBar
from ..train.fit.trainer import Trainer
from ..train.optim import Adam
from ..train.schedules import LinearDecay, WarmUp

# One epoch of many small updates reaches 1.84 held-out bits per character on the default text (bench/NOTES.md, Defaults
# for text).
DEFAULTS = {
    "cell": "lstm",
    "hidden": 256,
    "layers": 1,
    "epochs": None,
    "seq_len": 16,
    "batch_size": 32,
    "lr": 0.01,
    "clip": 1.0,
    "seed": 0,
}
EPOCH_CHARACTERS = 400_000  # the default number of epochs sees at least this many
MOST_EPOCHS = 20
CHECKPOINT_SECONDS = 15.0
HELD_OUT_WINDOW = 1024
BITS = 1 / math.log(2)  # of one nat


class CharProgress(ProgressBar):
    """Progress in characters, with bits per character."""

    unit = "char"

    def __init__(self, stream):
        super().__init__(delay=0.0)
        self._seen = stream.x.size
        self._updates = stream.updates(None)
        self._bits = None

    def amount(self, updates, trainer):
        epochs, rest = divmod(updates, self._updates)
        return epochs * self._seen + rest * self._seen // self._updates

    def on_step_end(self, trainer, logs):
        bits = logs["loss"] * BITS
        self._bits = bits if self._bits is None else 0.98 * self._bits + 0.02 * bits
        super().on_step_end(trainer, logs)

    def note(self, logs):
        return f"{self._bits:.3f} bits/char"


class Keeper(ModelCheckpoint):
    """Writes checkpoints beside `out` after each epoch and every few seconds, and the model after each epoch."""

    def __init__(self, out):
        super().__init__(out, every_seconds=CHECKPOINT_SECONDS)
        self.out = out

    def on_epoch_end(self, trainer, logs):
        super().on_epoch_end(trainer, logs)
        save(trainer.model, self.out)


class Report(Callback):
    """One line on standard output after each epoch."""

    def __init__(self, display, epochs):
        self.display, self.epochs = display, epochs

    def on_epoch_end(self, trainer, logs):
        self.display.display.write(
            f"epoch {trainer.epoch}/{self.epochs}: {logs['val_loss'] * BITS:.3f} bits per character held "
            f"out, {logs['loss'] * BITS:.3f} in training, {logs['seconds']:.1f} s",
            file=sys.stdout,
        )


def train(text, out, options, resume=False):
    """Train a `CharModel` on `text`, its last tenth held out, and write it to `out`.

    Checkpoints are written beside `out`. After an interrupt, model and checkpoint hold what was reached.

    Parameters
    ----------
    text : str
    out : str or path-like
    options : dict
        Those of `DEFAULTS` that are given. With `resume` the checkpoint's stand for the others.
    resume : bool
        Go on from the newest checkpoint of `out`, or start afresh where there is none.

    Returns
    -------
    CharModel

    Raises
    ------
    ValueError
        For a text that is too short, an `out` that cannot be written (an OSError too), or a checkpoint of
        another text or of other options.
    KeyboardInterrupt
        After everything is saved.
    """
    check_writable(out)
    remove_stale(out)
    found = CheckpointSeries(out).newest() if resume else None
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    options = {**DEFAULTS, **options} if found is None else _agree(options, digest, *found)
    training, held_out = split(text, options["batch_size"] * options["seq_len"])
    if options["epochs"] is None:
        options["epochs"] = min(MOST_EPOCHS, -(-EPOCH_CHARACTERS // len(training)))
    if found is None:
        model = CharModel(
            Vocabulary.build(training, level="character").symbols,
            cell=options["cell"],
            hidden_size=options["hidden"],
            num_layers=options["layers"],
            seed=options["seed"],
        )
    else:
        with naming(found[0], "a checkpoint of fastrnn train"):
            check_arrays(found[1]["params"], "params")
            model = build_model(found[1]["model"], found[1]["params"])
            if not isinstance(model, CharModel):
                raise TypeError(f"model: expected a CharModel, found {type(model).__name__}")
    stream = LaneStream(model.encode(training), options["batch_size"], options["seq_len"])
    updates = options["epochs"] * stream.updates(None)
    rise = max(1, updates // 10)
    schedule = WarmUp(LinearDecay(options["lr"], max(1, updates - rise), per="batch"), rise, start=0.1)
    display = CharProgress(stream)
    callbacks = [Report(display, options["epochs"]), Keeper(out)]
    if found is None:
        trainer = Trainer(
            model,
            "cross_entropy",
            Adam(options["lr"]),
            clip_norm=options["clip"],
            schedule=schedule,
            callbacks=callbacks,
            seed=options["seed"],
        )
    else:
        with naming(found[0], "a checkpoint of fastrnn train"):
            trainer = Trainer.from_state(found[1], model=model, schedule=schedule, callbacks=callbacks)
    trainer.notes = {"options": options, "text": digest}
    _introduce(text, held_out, model, options, found)
    left = options["epochs"] - trainer.epoch
    if left > 0:
        try:
            trainer.fit(
                stream,
                epochs=left + trainer.fit_epoch,
                progress=display,
                validation_data=LaneStream(model.encode(held_out), 1, HELD_OUT_WINDOW),
            )
        except KeyboardInterrupt:
            save(model, out)
            print(
                f"interrupted: {out} and its checkpoint hold what was reached; --resume goes on",
                file=sys.stderr,
            )
            raise
    save(model, out)
    return model


def _agree(options, digest, path, state):
    """The checkpoint's options with those given, which may change the number of epochs alone."""
    notes = state.get("notes") if isinstance(state, dict) else None
    kept = notes.get("options") if isinstance(notes, dict) else None
    if not isinstance(kept, dict) or kept.keys() != DEFAULTS.keys():
        raise ValueError(f"{path}: expected a checkpoint of fastrnn train, found one of another program")
    with naming(path, "a checkpoint of fastrnn train"):
        for name, value in kept.items():
            check_number(value, name) if name != "cell" else check_text(value, name)
        for name in ("batch_size", "seq_len", "epochs"):
            check_positive_int(kept[name], name)
    if notes.get("text") != digest:
        raise ValueError(f"--resume: expected the text that {path} was trained on, found another")
    for name, value in options.items():
        if name != "epochs" and value != kept[name]:
            raise ValueError(f"--{name.replace('_', '-')}: expected {kept[name]} as in {path}, found {value}")
    return {**kept, **options}


def split(text, window=0):
    """(the text without its last tenth, its last tenth); an error where the first has no `window` characters."""
    cut = len(text) - len(text) // 10
    least = max(20, window + 1)
    if cut < least:
        raise ValueError(
            f"text: expected at least {-(-least * 10 // 9)} characters for this batch size and sequence "
            f"length, found {len(text)}"
        )
    return text[:cut], text[cut:]


def _introduce(text, held_out, model, options, found):
    print(
        f"text: {len(text):,} characters, the last {len(held_out):,} held out; "
        f"{len(model.vocabulary)} different ones"
    )
    print(
        f"model: {model.cell}, {model.num_layers} x {model.hidden_size}, "
        f"{model.num_parameters:,} parameters, seed {options['seed']}"
    )
    if found is not None:
        print(
            f"goes on from {found[0]}: step {found[1]['step']:,}, after {found[1]['epoch']} of "
            f"{options['epochs']} epochs"
        )
    sys.stdout.flush()


def bits_per_character(model, text, progress=False):
    """Mean bits that a `CharModel` needs for each character of `text` after the first.

    Raises
    ------
    ValueError
        For a text of fewer than two characters.
    """
    if len(text) < 2:
        raise ValueError(f"text: expected at least 2 characters, found {len(text)}")
    stream = LaneStream(model.encode(text), 1, HELD_OUT_WINDOW)
    return Trainer(model).evaluate(stream, progress=progress)["loss"] * BITS
