"""The node tests that ship in the `onnx` wheel, run by fastrnn."""

import functools
import warnings

import numpy as np


@functools.cache
def cases():
    """name -> case."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {case.name: case for case in load_model_tests(kind="node")}


def operators(model):
    """The operators of a model's main graph."""
    return {node.op_type for node in model.graph.node}


def run_case(case, from_onnx):
    """Raise unless the model gives the case's outputs."""
    from onnx import TensorProto, numpy_helper

    ready = from_onnx(case.model)
    names = [value.name for value in case.model.graph.input]
    assert case.data_sets
    for inputs, expected in case.data_sets:
        inputs = [numpy_helper.to_array(one) if isinstance(one, TensorProto) else one for one in inputs]
        results = list(ready.run(dict(zip(names, inputs, strict=True))).values())
        for one, other in zip(results, expected, strict=True):
            if isinstance(other, TensorProto):
                other = numpy_helper.to_array(other)
            assert one.shape == other.shape and one.dtype == other.dtype, (one.dtype, one.shape, other.dtype,
                                                                           other.shape)
            np.testing.assert_allclose(one, other, rtol=case.rtol, atol=case.atol)
