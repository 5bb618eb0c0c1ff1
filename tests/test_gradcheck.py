"""The gradient checker proven: it rejects the classic mistakes in BPTT."""

import re

import numpy as np
import pytest
import reference
from gradcheck import check_gradients, numerical_gradient
from problems import Problem
from tolerances import tolerance

NAMES = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
GATED = {cell: gates for cell, gates in reference.GATES.items() if gates > 1}


def rejects(problem, name, gradient):
    with pytest.raises(AssertionError, match=rf"^{re.escape(name)}: .*finite differences give"):
        check_gradients(problem.loss, {name: problem.arrays()[name]}, {name: gradient})


@pytest.fixture(params=reference.CELLS)
def problem(request):
    return Problem(request.param)


@pytest.fixture
def tape(problem):
    return problem.forward()[2]


def test_accepts_the_right_gradients(problem, tape):
    check_gradients(problem.loss, problem.arrays(), problem.backward(tape))


@pytest.mark.parametrize("shift", [1, -1])
def test_rejects_a_shifted_previous_h_in_the_recurrent_weight(problem, tape, shift):
    cell, params, masks, (steps,) = tape
    h = np.roll([cache[1] for _, _, cache in steps], shift, axis=0)
    shifted = [
        (t, valid, (cache[0], other, *cache[2:])) for (t, valid, cache), other in zip(steps, h, strict=True)
    ]
    mutated = problem.backward((cell, params, masks, [shifted]))
    rejects(problem, "weight_hh_l0", mutated["weight_hh_l0"])


@pytest.mark.parametrize("name", [*NAMES, "x", "state[0]"])
def test_rejects_a_zeroed_gradient(problem, name):
    rejects(problem, name, np.zeros_like(problem.arrays()[name]))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cell", GATED)
def test_rejects_two_swapped_gates(cell, name):
    problem = Problem(cell)
    blocks = np.split(problem.backward(problem.forward()[2])[name], GATED[cell])
    rejects(problem, name, np.concatenate([blocks[1], blocks[0], *blocks[2:]]))


def test_rejects_one_wrong_element(problem, tape):
    gradient = problem.backward(tape)["weight_hh_l0"]
    at = np.unravel_index(np.abs(gradient).argmax(), gradient.shape)
    gradient[at] *= 1 + 2 * tolerance("finite differences, relative")
    rejects(problem, "weight_hh_l0", gradient)


def test_rejects_nan_missing_names_and_wrong_shapes(problem, tape):
    gradients = problem.backward(tape)
    rejects(problem, "bias_ih_l0", np.full_like(gradients["bias_ih_l0"], np.nan))
    with pytest.raises(AssertionError, match="shape"):
        check_gradients(problem.loss, problem.arrays(), gradients | {"x": gradients["x"][:1]})
    del gradients["x"]
    with pytest.raises(AssertionError, match="!="):
        check_gradients(problem.loss, problem.arrays(), gradients)


def test_rejects_float32():
    with pytest.raises(AssertionError, match="need float64"):
        check_gradients(lambda: 0.0, {"a": np.zeros(2, np.float32)}, {"a": np.zeros(2, np.float32)})


def test_numerical_gradient_is_exact_on_a_quartic_and_restores_its_array():
    a = np.array([[0.5, -1.25], [2.0, 0.0]])
    kept = a.copy()
    gradient = numerical_gradient(lambda: float(np.sum(a**4)), a)
    np.testing.assert_array_equal(a, kept)
    np.testing.assert_allclose(gradient, 4 * a**3, rtol=1e-10, atol=1e-10)
