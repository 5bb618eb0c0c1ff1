"""Schedules against their formulas and against torch, exact resumption, and bad input."""

import json
import math

import numpy as np
import pytest
from saver import Saver

from fastrnn import LSTM, SGD, LaneStream, Linear, Sequential, Trainer, schedules
from fastrnn.files.checkpoint import read_checkpoint

SCHEDULES = {
    "constant": lambda: schedules.Constant(0.1),
    "step": lambda: schedules.StepDecay(0.1, 3, gamma=0.5),
    "exponential": lambda: schedules.ExponentialDecay(0.1, 0.9),
    "cosine": lambda: schedules.CosineDecay(0.1, 12, min_lr=0.01),
    "linear": lambda: schedules.LinearDecay(0.1, 12, min_lr=0.01),
    "one-cycle": lambda: schedules.OneCycle(0.1, 20),
    "warm-up": lambda: schedules.WarmUp(schedules.CosineDecay(0.1, 10), 5),
    "plateau": lambda: schedules.ReduceOnPlateau(0.1, factor=0.5, patience=1),
    "exponential, held": lambda: schedules.ExponentialDecay(0.1, 0.9, hold=4),
    "piecewise": lambda: schedules.PiecewiseConstant([3, 7], [0.1, 0.3, 0.05]),
    "lambda": lambda: schedules.Lambda(0.1, lambda step: 1 / (step + 1)),
    "joined": lambda: schedules.Join(
        [0.1, schedules.ReduceOnPlateau(0.2, 0.5, 1), schedules.LinearDecay(1, 9)], [2, 9]),
    "product": lambda: schedules.Product([schedules.ReduceOnPlateau(0.2, 0.5, 1), schedules.WarmUp(1.0, 4), 0.3]),
    "nested": lambda: schedules.WarmUp(schedules.Join([
        schedules.Product([schedules.StepDecay(1.0, 2), schedules.ReduceOnPlateau(0.3, patience=0)]), 0.01], [8]), 2),
    "warm-up, plateau": lambda: schedules.WarmUp(schedules.ReduceOnPlateau(0.1, factor=0.5, patience=1), 3),
}
METRICS = [
    3.0,
    2.0,
    2.5,
    2.0,
    1.9,
    1.95,
    math.nan,
    1.93,
    1.2,
    1.2,
    1.2,
    1.2,
    1.2,
    1.1,
    1.0,
    1.0,
    1.0,
    1.0,
    1.0,
    1.0,
]

# name -> (schedule, the rate at a step)
FORMULAS = {
    "constant": (schedules.Constant(0.1), lambda k: 0.1),
    "step": (schedules.StepDecay(0.1, 3, gamma=0.5), lambda k: 0.1 * 0.5 ** (k // 3)),
    "exponential": (schedules.ExponentialDecay(0.1, 0.9), lambda k: 0.1 * 0.9**k),
    "cosine": (
        schedules.CosineDecay(0.1, 12, min_lr=0.01),
        lambda k: 0.01 + 0.045 * (1 + math.cos(math.pi * k / 12)) if k < 12 else 0.01,
    ),
    "warm-up": (
        schedules.WarmUp(schedules.StepDecay(0.2, 4), 5, start=0.5),
        lambda k: 0.2 * (0.5 + 0.1 * k) if k < 5 else 0.2 * 0.1 ** ((k - 5) // 4),
    ),
    "exponential, held": (schedules.ExponentialDecay(1.0, 0.5, hold=4), lambda k: 1.0 if k < 4 else 0.5 ** (k - 3)),
    "joined, as held": (
        schedules.Join([1.0, schedules.ExponentialDecay(0.5, 0.5)], [4]), lambda k: 1.0 if k < 4 else 0.5 ** (k - 3)),
    "lambda": (schedules.Lambda(0.2, lambda k: (k % 3) / 2), lambda k: 0.2 * (k % 3) / 2),
    "piecewise": (
        schedules.PiecewiseConstant([2, 3, 9], [0.4, 0.0, 0.2, 0.1]),
        lambda k: 0.4 if k < 2 else 0.0 if k < 3 else 0.2 if k < 9 else 0.1,
    ),
    "one piece": (schedules.PiecewiseConstant([], [0.4]), lambda k: 0.4),
    "joined": (
        schedules.Join([schedules.LinearDecay(0.1, 4), 0.3, schedules.ExponentialDecay(0.2, 0.9)], [3, 7]),
        lambda k: 0.1 * (1 - k / 4) if k < 3 else 0.3 if k < 7 else 0.2 * 0.9 ** (k - 7),
    ),
    "product": (
        schedules.Product([schedules.StepDecay(0.4, 4, 0.5), schedules.WarmUp(1.0, 5, start=0.0), 3]),
        lambda k: 1.2 * 0.5 ** (k // 4) * min(k / 5, 1),
    ),
    "warm-up to a constant": (schedules.WarmUp(0.2, 4, start=0.0), lambda k: 0.2 * min(k / 4, 1)),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas(name):
    schedule, formula = FORMULAS[name]
    assert schedule.lr == schedule.lr_at(0) == pytest.approx(formula(0), rel=1e-14)
    for k in range(1, 25):
        assert schedule.lr_at(k) == pytest.approx(formula(k), rel=1e-14)
        assert schedule.step(1.0) == schedule.lr == schedule.lr_at(k)


def test_one_cycle():
    schedule = schedules.OneCycle(0.5, 100, rise=0.25, start_factor=10, end_factor=100)
    rates = [schedule.lr_at(k) for k in range(100)]
    assert rates[0] == pytest.approx(0.05)
    assert rates[24] == max(rates) == pytest.approx(0.5)
    assert rates[99] == min(rates) == pytest.approx(0.0005)
    assert np.all(np.diff(rates[:25]) > 0) and np.all(np.diff(rates[24:]) < 0)
    assert schedule.lr_at(1000) == rates[99]
    assert schedules.OneCycle(0.5, 2).lr_at(1) == pytest.approx(0.5 / 25 / 1e4)
    assert schedules.OneCycle(0.5, 10, rise=0.1).lr_at(0) == 0.5


def test_plateau():
    schedule = schedules.ReduceOnPlateau(1.0, factor=0.5, patience=2, threshold=0.1, cooldown=2, min_lr=0.2)
    steps = [
        (10.0, 1.0),
        (9.5, 1.0),  # not by a tenth: the first bad step
        (8.9, 1.0),  # better than 10 by more than a tenth
        (8.9, 1.0),
        (8.9, 1.0),
        (8.9, 0.5),  # the third bad step
        (8.9, 0.5),  # two of cooldown
        (8.9, 0.5),
        (math.nan, 0.5),
        (8.9, 0.5),
        (8.9, 0.25),
        (8.0, 0.25),
        (5.0, 0.25),
        *[(5.0, 0.25)] * 2,
        (5.0, 0.2),  # not below min_lr
        *[(5.0, 0.2)] * 10,
    ]
    for k, (metric, rate) in enumerate(steps):
        assert schedule.step(metric) == schedule.lr == rate, k


def test_plateau_of_scores_and_of_negative_losses():
    scores = schedules.ReduceOnPlateau(1.0, patience=0, threshold=0.01, mode="max")
    assert [scores.step(m) for m in (0.5, 0.6, 0.603, 0.7)] == pytest.approx([1.0, 1.0, 0.1, 0.1])
    losses = schedules.ReduceOnPlateau(1.0, patience=0, threshold=0.1)
    assert [losses.step(m) for m in (-10.0, -12.0, -13.0, -14.0)] == pytest.approx([1.0, 1.0, 0.1, 0.1])


@pytest.mark.parametrize("monitor, rates", [
    ("val_f1", [1.0, 1.0, 0.1, 0.1]), ("accuracy", [1.0, 1.0, 0.1, 0.1]), ("val_loss", [1.0, 0.1, 0.01, 0.001]),
])  # fmt: skip
def test_plateau_goes_by_the_name_of_its_figure(monitor, rates):
    schedule = schedules.ReduceOnPlateau(1.0, patience=0, threshold=0.01, monitor=monitor)
    assert [schedule.step(m) for m in (0.5, 0.6, 0.603, 0.7)] == pytest.approx(rates)
    assert schedules.WarmUp(schedule, 2).monitor == monitor


def test_a_rate_below_min_lr_is_not_raised():
    schedule = schedules.ReduceOnPlateau(0.001, patience=0, min_lr=0.01)
    assert [schedule.step(1.0) for _ in range(3)] == [0.001] * 3


def test_warm_up_before_a_plateau():
    schedule = schedules.WarmUp(schedules.ReduceOnPlateau(1.0, factor=0.5, patience=0), 2, start=0.5)
    rates = [schedule.lr, *[schedule.step(m) for m in (5.0, 9.0, 9.0, 9.0, 8.0)]]
    assert rates == [0.5, 0.75, 1.0, 1.0, 0.5, 0.5]


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("stop", [0, 2, 4, 11])
def test_resuming_is_exact(name, stop):
    whole, resumed = SCHEDULES[name](), SCHEDULES[name]()
    for metric in METRICS[:stop]:
        whole.step(metric)
    resumed.load_state_dict(json.loads(json.dumps(whole.state_dict())))
    assert resumed.lr == whole.lr
    assert [resumed.step(m) for m in METRICS[stop:]] == [whole.step(m) for m in METRICS[stop:]]
    assert resumed.state_dict() == whole.state_dict()


@pytest.mark.parametrize("per", ["epoch", "batch"])
@pytest.mark.parametrize("name", ["exponential, held", "piecewise", "lambda", "joined", "product", "nested"])
def test_a_fit_goes_on_with_its_schedule(name, per, tmp_path):
    def make(checkpoint=None):
        schedule = _per_batch(SCHEDULES[name]()) if per == "batch" else SCHEDULES[name]()
        model = Sequential(LSTM(2, 3, seed=1), Linear(3, 2, seed=2))
        callbacks = [Saver(checkpoint, 7)] if checkpoint else []
        return Trainer(model, "mse", SGD(1.0), schedule=schedule, callbacks=callbacks, seed=0)

    stream = LaneStream(np.sin(np.arange(66.0)).reshape(33, 2), 2, 5)
    whole = make(tmp_path / "c")
    whole.fit(stream, epochs=6, progress=False)
    if name == "lambda":
        with pytest.raises(ValueError, match="schedule: expected the Lambda that the checkpoint was trained with, fou"):
            Trainer.resume(tmp_path / "c")
        resumed = Trainer.resume(tmp_path / "c", schedule=make().schedule)
    else:
        resumed = Trainer.resume(tmp_path / "c")
        assert repr(resumed.schedule) == repr(whole.schedule)
    resumed.fit(stream, epochs=6, progress=False)
    assert resumed.history["lr"] == whole.history["lr"] and len(set(whole.history["lr"])) > 1
    assert resumed.history["loss"] == whole.history["loss"]
    assert resumed.schedule.state_dict() == whole.schedule.state_dict()


def _per_batch(schedule):
    """The same, a step for each batch."""
    arguments = schedule._values()
    for key, value in arguments.items():
        if isinstance(value, schedules.Schedule):
            arguments[key] = _per_batch(value)
        elif isinstance(value, tuple):
            arguments[key] = [_per_batch(v) if isinstance(v, schedules.Schedule) else v for v in value]
    return type(schedule)(**{**arguments, "per": "batch"})


def test_checkpoints_from_before_are_read(tmp_path):
    """They know neither a hold nor the order of batches."""
    stream = LaneStream(np.sin(np.arange(66.0)).reshape(33, 2), 2, 5)
    model = Sequential(LSTM(2, 3, seed=1), Linear(3, 2, seed=2))
    whole = Trainer(model, "mse", SGD(1.0), schedule=schedules.ExponentialDecay(1.0, 0.5), seed=0,
                    callbacks=[Saver(tmp_path / "c", 5)])
    whole.fit(stream, epochs=3, progress=False)
    state = read_checkpoint(tmp_path / "c")
    assert state["schedule"]["config"].pop("hold") == 1 and state["fit"].pop("order_sum") is None
    resumed = Trainer.from_state(state)
    resumed.fit(stream, epochs=3, progress=False)
    assert resumed.history["loss"] == whole.history["loss"] and resumed.history["lr"] == [1.0, 0.5, 0.25]


def test_per():
    assert schedules.Join([0.1, schedules.OneCycle(0.1, 30)], [3]).per == "batch"
    assert schedules.Product([0.1, 0.2], per="batch").schedules[1].per == "batch"
    assert schedules.StepDecay(0.1, 3).per == "epoch"
    assert schedules.OneCycle(0.1, 30).per == "batch"
    assert schedules.WarmUp(schedules.OneCycle(0.1, 30), 3).per == "batch"
    assert schedules.WarmUp(0.1, 3, per="batch").per == "batch"


TWICE = schedules.Constant(0.1)
BAD = {
    "lr": (
        lambda: schedules.StepDecay(-1, 3),
        ValueError,
        r"^lr: expected a finite number at least 0, found -1\.0$",
    ),
    "every": (
        lambda: schedules.StepDecay(0.1, 0),
        ValueError,
        r"^every: expected an int of at least 1, found 0$",
    ),
    "every a float": (
        lambda: schedules.StepDecay(0.1, 1.5),
        TypeError,
        r"^every: expected an int, found 1\.5$",
    ),
    "gamma": (
        lambda: schedules.ExponentialDecay(0.1, 0),
        ValueError,
        r"^gamma: expected a finite number above 0",
    ),
    "total": (
        lambda: schedules.OneCycle(0.1, 1),
        ValueError,
        r"^total: expected an int of at least 2, found 1$",
    ),
    "rise": (
        lambda: schedules.OneCycle(0.1, 9, rise=1.0),
        ValueError,
        r"^rise: .* above 0 and below 1, found 1\.0$",
    ),
    "steps": (
        lambda: schedules.WarmUp(0.1, 0),
        ValueError,
        r"^steps: expected an int of at least 1, found 0$",
    ),
    "start": (lambda: schedules.WarmUp(0.1, 3, start=2), ValueError, r"^start: .* at most 1, found 2\.0$"),
    "factor": (
        lambda: schedules.ReduceOnPlateau(0.1, factor=1),
        ValueError,
        r"^factor: .* below 1, found 1\.0$",
    ),
    "mode": (
        lambda: schedules.ReduceOnPlateau(0.1, mode="up"),
        ValueError,
        r"^mode: expected one of 'auto', 'min', 'max'; found 'up'$",
    ),
    "monitor": (
        lambda: schedules.ReduceOnPlateau(0.1, monitor="val_quality"),
        ValueError,
        r"^monitor: expected mode='min' or mode='max' with it, .*; found 'val_quality'$",
    ),
    "monitor set later": (
        lambda: setattr(schedules.ReduceOnPlateau(0.1), "monitor", "lr"),
        ValueError,
        r"^monitor: expected mode='min' or mode='max' with it, .*; found 'lr'$",
    ),
    "monitor a number": (
        lambda: schedules.ReduceOnPlateau(0.1, monitor=3),
        TypeError,
        r"^monitor: expected the name of a figure, found int$",
    ),
    "per": (
        lambda: schedules.Constant(0.1, per="step"),
        ValueError,
        r"^per: expected one of 'epoch', 'batch'; found 'step'$",
    ),
    "hold": (
        lambda: schedules.ExponentialDecay(0.1, 0.5, hold=0), ValueError, r"^hold: expected an int of at least 1"),
    "as many boundaries as rates": (
        lambda: schedules.PiecewiseConstant([1, 2], [0.1, 0.2]), ValueError, r"^boundaries: .*one fewer than rates"),
    "boundaries that go back": (
        lambda: schedules.PiecewiseConstant([2, 2], [0.1, 0.2, 0.3]), ValueError, r"^boundaries: expected ascending"),
    "a boundary of 0": (
        lambda: schedules.Join([0.1, 0.2], [0]), ValueError, r"^boundaries\[0\]: expected an int of at least 1"),
    "a rate below 0": (
        lambda: schedules.PiecewiseConstant([1], [0.1, -0.2]), ValueError, r"^rates\[1\]: expected a finite number at"),
    "rates": (lambda: schedules.PiecewiseConstant([1], 0.1), TypeError, r"^rates: expected a sequence of numbers"),
    "no rates": (lambda: schedules.PiecewiseConstant([], []), ValueError, r"^boundaries: .* there are 0"),
    "no schedules": (lambda: schedules.Product([]), ValueError, r"^schedules: expected at least one"),
    "a schedule twice": (
        lambda: schedules.Join([TWICE, TWICE], [3]), ValueError, r"^schedules: expected at least one, each only once"),
    "two units": (
        lambda: schedules.Product([TWICE, schedules.OneCycle(0.1, 9)]), ValueError, r"^schedules: expected one unit"),
    "two figures": (
        lambda: schedules.Join([schedules.ReduceOnPlateau(0.1, monitor="val_loss"), schedules.Product([
            schedules.WarmUp(schedules.ReduceOnPlateau(0.1), 3)])], [3]),
        ValueError, r"^schedules: expected one monitor, found 'val_loss', None$"),
    "no schedule": (lambda: schedules.Join(["x"], []), TypeError, r"^schedules\[0\]: expected a number, found 'x'"),
    "no function": (lambda: schedules.Lambda(0.1, 0.5), TypeError, r"^function: expected a function of the step"),
    "a function's rate": (
        lambda: schedules.Lambda(0.1, lambda step: -1.0).lr, ValueError, r"^function\(0\): expected a finite"),
    "a function's word": (
        lambda: schedules.Lambda(0.1, lambda step: "x").lr, TypeError, r"^function\(0\): expected a number"),
    "no metric": (
        lambda: schedules.ReduceOnPlateau(0.1).step(),
        ValueError,
        r"^metric: expected the step's metric, found None$",
    ),
    "state": (
        lambda: schedules.Constant(0.1).load_state_dict({"best": 1}),
        ValueError,
        r"^state: expected keys count; found best$",
    ),
    "state a list": (
        lambda: schedules.Constant(0.1).load_state_dict([1]),
        TypeError,
        r"^state: expected a dict, found list$",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    call, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        call()


def test_the_figure_of_a_part_is_that_of_the_whole():
    plateau = schedules.ReduceOnPlateau(0.1, monitor="val_loss")
    schedule = schedules.Join([0.1, schedules.Product([schedules.StepDecay(1.0, 3), plateau])], [4])
    assert schedule.monitor == "val_loss" and schedules.Join([0.1, 0.2], [3]).monitor is None
    schedule.check(("loss", "val_loss"))
    with pytest.raises(ValueError, match=r"schedule: expected as monitor one of the figures of each epoch, loss;"):
        schedule.check(("loss",))


def test_a_failed_load_changes_nothing():
    schedule = SCHEDULES["joined"]()
    for metric in METRICS[:5]:
        schedule.step(metric)
    before = json.dumps(schedule.state_dict())
    for part in ({"count": -1}, {"count": 3, "best": 1}, 5):
        state = json.loads(before)
        state["schedules"][0]["count"], state["schedules"][2] = 9, part
        with pytest.raises((TypeError, ValueError)):
            schedule.load_state_dict(state)
        assert json.dumps(schedule.state_dict()) == before
    with pytest.raises(ValueError, match=r"state\['schedules'\]: expected 3 states"):
        schedule.load_state_dict({"count": 3, "schedules": []})


@pytest.mark.parametrize("name", [name for name in SCHEDULES if name != "lambda"])
def test_what_is_printed_makes_the_schedule_again(name):
    schedule = SCHEDULES[name]()
    again = eval(repr(schedule), vars(schedules).copy())
    assert repr(again) == repr(schedule)
    assert [again.step(m) for m in METRICS] == [schedule.step(m) for m in METRICS]


def test_arguments_may_be_set_again():
    schedule = schedules.PiecewiseConstant([2], [0.1, 0.2])
    schedule.rates = [1, 2]
    assert (schedule.rates, schedule.lr) == ((1.0, 2.0), 1.0)
    with pytest.raises(ValueError, match="boundaries: expected ascending"):
        schedule.boundaries = [1, 2]
    assert schedule.boundaries == (2,)


def test_torch_agrees():
    torch = pytest.importorskip("torch")
    theirs = torch.optim.lr_scheduler

    def compare(ours, make, metrics=None):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=ours.base_lr)
        reference = make(optimizer)
        for k in range(19):
            assert ours.lr == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12), k
            optimizer.step()
            reference.step(*([metrics[k]] if metrics else []))
            ours.step(metrics[k] if metrics else None)

    compare(schedules.StepDecay(0.1, 4, 0.3), lambda o: theirs.StepLR(o, 4, 0.3))
    compare(schedules.ExponentialDecay(0.1, 0.8), lambda o: theirs.ExponentialLR(o, 0.8))
    compare(schedules.CosineDecay(0.1, 19, 0.01), lambda o: theirs.CosineAnnealingLR(o, 19, 0.01))
    compare(schedules.OneCycle(0.1, 20), lambda o: theirs.OneCycleLR(o, 0.1, 20, cycle_momentum=False))
    compare(schedules.WarmUp(0.1, 6, start=0.25), lambda o: theirs.LinearLR(o, 0.25, 1.0, 6))
    compare(schedules.Lambda(0.1, lambda k: 1 / (1 + k)), lambda o: theirs.LambdaLR(o, lambda k: 1 / (1 + k)))
    compare(
        schedules.Join([schedules.ExponentialDecay(0.1, 0.9), schedules.StepDecay(0.1, 3)], [5]),
        lambda o: theirs.SequentialLR(o, [theirs.ExponentialLR(o, 0.9), theirs.StepLR(o, 3)], [5]),
    )
    compare(
        schedules.ReduceOnPlateau(0.1, 0.5, patience=1, cooldown=2),
        lambda o: theirs.ReduceLROnPlateau(o, factor=0.5, patience=1, cooldown=2),
        METRICS,
    )


def test_linear_decay_is_a_straight_line_to_its_end():
    schedule = schedules.LinearDecay(0.1, 4, min_lr=0.02)
    assert [schedule.lr_at(k) for k in range(7)] == pytest.approx([0.1, 0.08, 0.06, 0.04, 0.02, 0.02, 0.02])
