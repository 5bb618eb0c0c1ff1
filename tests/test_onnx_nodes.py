"""The node tests of the `onnx` wheel: all of RNN, LSTM and GRU, and of every other operator that `from_onnx` knows."""

import collections
import re

import pytest

pytest.importorskip("onnx")
from onnx_nodes import cases, operators, run_case

import fastrnn
from fastrnn.formats.onnx.ops.registry import OPERATORS

RECURRENT = {"RNN", "LSTM", "GRU"}
# Why a case is refused. Never a wrong result: each is an error that says what is missing.
REASONS = {
    "an operator that does not surround recurrent ones": "expected an operator that fastrnn knows",
    "a type that NumPy has not": "of a type that NumPy has, found",
    "sequences and optional values": "expected a tensor, found (sequence|optional)",
    "training": "training_mode: expected",
    "an operator set before 7": "operator set: expected 7 to",
}
PARTS = 12


def test_every_recurrent_node_passes():
    found = [case for case in cases().values() if operators(case.model) & RECURRENT]
    assert len(found) >= 18
    for case in found:
        run_case(case, fastrnn.from_onnx)


@pytest.mark.parametrize("part", range(PARTS))
def test_every_known_operator_passes_and_others_are_refused(part):
    reasons, passed = collections.Counter(), 0
    pattern = "|".join(REASONS.values())
    for name in sorted(cases())[part::PARTS]:
        case = cases()[name]
        try:
            run_case(case, fastrnn.from_onnx)
        except ValueError as error:
            assert re.search(pattern, str(error)), f"{name}: {error}"
            reasons[str(error)] += 1
        except AssertionError as error:
            raise AssertionError(name) from error
        else:
            passed += 1
    assert passed > 80 and sum(reasons.values()) < 90


def test_operators_of_the_table_are_run_by_some_case():
    ours = {op for domain, op in OPERATORS if not domain}
    seen = set().union(*(operators(case.model) for case in cases().values()))
    assert ours - seen <= {"Scatter", "QLinearMatMul", "LpPool"}
