"""All that a trainer is between two updates, as plain values and arrays, and a trainer from them."""

from ._check import check_saved_state, check_state_dict
from .checkpoint import build_model
from .metrics import find_metrics
from .trainerparts import (
    check_machine,
    generator,
    loss_name,
    machine,
    rebuild_average,
    rebuild_optimizer,
    schedule_config,
    schedule_from_config,
)

OPTIONS = ("clip_norm", "clip_value", "tbptt", "accumulate", "l2")
_STATE = (
    "model",
    "params",
    "optimizer",
    "schedule",
    "average",
    "loss",
    "metrics",
    "options",
    "order_seed",
    "rng",
    "history",
    "epoch",
    "step",
    "fit",
    "callbacks",
    "notes",
    "machine",
)


def trainer_state(trainer):
    """What `Trainer.state_dict` returns."""
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
        "loss": loss_name(trainer.loss),
        "metrics": [{"name": metric.name, "named": metric.named} for metric in trainer.metrics],
        "options": {name: getattr(trainer, name) for name in OPTIONS},
        "order_seed": trainer._order_seed,
        "rng": trainer.rng.bit_generator.state,
        "history": dict(trainer.history),
        "epoch": trainer.epoch,
        "step": trainer.step,
        "fit": trainer._fit,
        "callbacks": [{"type": type(c).__name__, "state": c.state_dict()} for c in trainer.callbacks],
        "notes": trainer.notes,
        "machine": machine(),
    }


def trainer_from_state(
    cls, state, *, model=None, loss=None, optimizer=None, schedule=None, metrics=None, average=None, callbacks=()
):
    """A trainer of class `cls` from what `trainer_state` returned; see `Trainer.resume`."""
    check_saved_state(state, _STATE)
    model = build_model(state["model"]) if model is None else model
    check_state_dict(state["params"], model.params)
    loss = state["loss"] if loss is None else loss
    if loss is None:
        raise ValueError("loss: expected the function that the checkpoint was trained with, found None")
    metrics = _metrics(metrics, state["metrics"])
    if optimizer is None:
        optimizer = rebuild_optimizer(state["optimizer"])
    optimizer.load_state_dict(state["optimizer"])
    if state["schedule"] is not None:
        if schedule is None:
            schedule = schedule_from_config(state["schedule"]["config"])
        schedule.load_state_dict(state["schedule"]["state"])
    if state["average"] is not None:
        if average is None:
            average = rebuild_average(state["average"])
        average.load_state_dict(state["average"])
    model.load_state_dict(state["params"])
    parts = {"schedule": schedule, "metrics": metrics, "average": average, "callbacks": callbacks}
    trainer = cls(model, loss, optimizer, seed=generator(state["rng"]), **parts, **state["options"])
    trainer.rng.bit_generator.state = state["rng"]
    trainer._order_seed = state["order_seed"]
    trainer.history.update(state["history"])
    trainer.epoch, trainer.step = state["epoch"], state["step"]
    trainer._fit = state["fit"]
    trainer._resumed = state["fit"] is not None
    trainer.notes = state["notes"]
    saved = list(state["callbacks"])
    for callback in trainer.callbacks:
        match = next((s for s in saved if s["type"] == type(callback).__name__), None)
        if match is not None:
            saved.remove(match)
            callback.load_state_dict(match["state"])
    check_machine(state["machine"])
    return trainer


def _metrics(metrics, saved):
    """The metrics to go on with: those given, which must be those that were saved, or these by their names."""
    names = [metric["name"] for metric in saved]
    wanted = ", ".join(names) or "none"
    if metrics is None:
        if not all(metric["named"] for metric in saved):
            raise ValueError(f"metrics: expected those that the checkpoint was trained with, {wanted}; found None")
        return names
    found = [metric.name for metric in find_metrics(metrics)]
    if found != names:
        raise ValueError(f"metrics: expected {wanted} as in the checkpoint, found {', '.join(found) or 'none'}")
    return metrics
