"""The whole state of a trainer between two updates, as plain values and arrays, and a trainer from such a state."""

import numpy as np

from ...check.params import check_frozen, check_state_dict
from ...check.saved import (
    check_arrays,
    check_bit_generator,
    check_count,
    check_figure,
    check_figures,
    check_history,
    check_optional,
    check_same_arrays,
    check_saved_state,
    check_saved_values,
    check_text,
)
from ...check.values import check_bool, check_positive_int
from ...models.build import build_model
from ...nn.module import frozen_in, set_frozen
from ..metrics import find_metrics
from .lossparts import described_loss, loss_description
from .savedparts import (
    check_machine,
    check_options,
    generator,
    machine,
    rebuild_average,
    rebuild_optimizer,
    schedule_config,
    schedule_from_config,
)

OPTIONS = ("clip_norm", "clip_value", "tbptt", "accumulate", "l2")


def _dict(value, name):
    if not isinstance(value, dict):
        raise TypeError(f"{name}: expected a dict, found {type(value).__name__}")


def _list_of(checks):
    """The check of a list of dicts with these entries."""

    def check(value, name):
        if not isinstance(value, list):
            raise TypeError(f"{name}: expected a list, found {type(value).__name__}")
        for item in value:
            check_saved_values(item, checks)

    return check


def _seed(value, name):
    check_positive_int(value, name, 0, 2**63 - 1)


def _nested_arrays(value, name):
    """Check states: arrays and None in lists and tuples."""
    if isinstance(value, (list, tuple)):
        for item in value:
            _nested_arrays(item, name)
    elif value is not None and not (isinstance(value, np.ndarray) and value.dtype.kind == "f"):
        raise TypeError(f"{name}: expected arrays of floats, None, lists and tuples; found {type(value).__name__}")


def _states(value, name):
    if not isinstance(value, list):
        raise TypeError(f"{name}: expected a list, found {type(value).__name__}")
    _nested_arrays(value, name)


_FIT = {
    "data": _dict,
    **dict.fromkeys(("epoch", "done", "batch", "window", "updates"), check_count),
    "states": check_optional(_states),
    "order_sum": check_optional(check_count),
    "averaged": check_bool,
    "sums": check_figures,
    **dict.fromkeys(("mass", "norm", "penalty", "lr", "seconds"), check_figure),
}


def _fit(value, name):
    check_saved_values(value, _FIT)


def _loss(value, name):
    (_dict if isinstance(value, dict) else check_text)(value, name)


def _machine(value, name):
    check_saved_values(value, {"threads": check_count, "isa": check_text})


# Part of a checkpoint -> check of the values that the part does not check itself
_STATE = {
    "model": _dict,
    "params": check_arrays,
    "optimizer": _dict,
    "schedule": check_optional(_dict),
    "average": check_optional(_dict),
    "loss": check_optional(_loss),
    "metrics": _list_of({"name": check_text, "named": check_bool}),
    "options": _dict,
    "order_seed": _seed,
    "rng": check_bit_generator,
    "history": check_history,
    "epoch": check_count,
    "step": check_count,
    "fit": check_optional(_fit),
    "callbacks": _list_of({"type": check_text, "state": _dict}),
    "notes": _dict,
    "machine": _machine,
}


def trainer_state(trainer):
    """The state of a trainer, for `Trainer.state_dict`."""
    schedule = trainer.schedule and {
        "config": schedule_config(trainer.schedule),
        "state": trainer.schedule.state_dict(),
    }
    return {
        "model": trainer.model.config(),
        "params": dict(trainer.model.params),
        "optimizer": trainer.optimizer.state_dict(),
        "schedule": schedule,
        "average": trainer.average and trainer.average.state_dict(),
        "loss": loss_description(trainer.loss),
        "metrics": [{"name": metric.name, "named": metric.named} for metric in trainer.metrics],
        "options": {name: getattr(trainer, name) for name in OPTIONS},
        "order_seed": trainer._position.order_seed,
        "rng": trainer.rng.bit_generator.state,
        "history": dict(trainer.history),
        "epoch": trainer.epoch,
        "step": trainer.step,
        "fit": trainer._position.state_dict(),
        "callbacks": [{"type": type(c).__name__, "state": c.state_dict()} for c in trainer.callbacks],
        "notes": trainer.notes,
        "machine": machine(),
    }


def trainer_from_state(
    cls, state, *, model=None, loss=None, optimizer=None, schedule=None, metrics=None, average=None, callbacks=()
):
    """A trainer of class `cls` from a `trainer_state`; see `Trainer.resume`."""
    if isinstance(state, dict) and isinstance(state.get("fit"), dict):
        state = {**state, "fit": {"order_sum": None, **state["fit"]}}  # checkpoints from before have no order_sum
    check_saved_values(state, _STATE)
    params = state["params"]
    model = build_model(state["model"], params) if model is None else model
    check_state_dict(params, model.params)
    frozen = frozen_in(state["model"])
    check_frozen(frozen, model.params, "model: frozen")
    loss = described_loss(state["loss"]) if loss is None else loss
    if loss is None:
        raise ValueError("loss: expected the function that the checkpoint was trained with, found None")
    metrics = _metrics(metrics, state["metrics"], model.scores_target)
    if optimizer is None:
        optimizer = rebuild_optimizer(state["optimizer"])
    optimizer.load_state_dict(state["optimizer"])
    missed = state["optimizer"].get("missed", {})
    for slot, arrays in optimizer._slots.items():
        expected = {name: p for name, p in model.params.items() if name in arrays or name not in missed}
        check_same_arrays(arrays, expected, f"optimizer: {slot}")
    if state["schedule"] is not None:
        check_saved_state(state["schedule"], ("config", "state"))
        if schedule is None:
            schedule = schedule_from_config(state["schedule"]["config"])
        schedule.load_state_dict(state["schedule"]["state"])
    if state["average"] is not None:
        if average is None:
            average = rebuild_average(state["average"])
        average.load_state_dict(state["average"])
        if average.params:
            check_same_arrays(average.params, model.params, "average")
    options = check_options(state["options"], OPTIONS)
    model.load_state_dict(params)
    set_frozen(model, frozen, "model: frozen")
    parts = {"schedule": schedule, "metrics": metrics, "average": average, "callbacks": callbacks}
    trainer = cls(model, loss, optimizer, seed=generator(state["rng"]), **parts, **options)
    trainer.rng.bit_generator.state = state["rng"]
    trainer._position.order_seed = state["order_seed"]
    trainer._position.load_state_dict(state["fit"])
    trainer.history.update(state["history"])
    trainer.epoch, trainer.step = state["epoch"], state["step"]
    trainer.notes = state["notes"]
    saved = list(state["callbacks"])
    for callback in trainer.callbacks:
        match = next((s for s in saved if s["type"] == type(callback).__name__), None)
        if match is not None:
            saved.remove(match)
            callback.load_state_dict(match["state"])
    check_machine(state["machine"])
    return trainer


def _metrics(metrics, saved, scores_target):
    """The metrics of the resumed trainer: `metrics`, which must match the saved ones, or the saved ones by name."""
    names = [metric["name"] for metric in saved]
    wanted = ", ".join(names) or "none"
    if metrics is None:
        if not all(metric["named"] for metric in saved):
            raise ValueError(f"metrics: expected those that the checkpoint was trained with, {wanted}; found None")
        return names
    found = [metric.name for metric in find_metrics(metrics, scores_target)]
    if found != names:
        raise ValueError(f"metrics: expected {wanted} as in the checkpoint, found {', '.join(found) or 'none'}")
    return metrics
