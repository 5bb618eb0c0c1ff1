"""The node tests that ship in the `onnx` wheel, run by fastrnn."""

import dataclasses
import functools
import warnings
from pathlib import Path

import numpy as np


@functools.cache
def cases():
    """name -> case."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {case.name: case for case in load_model_tests(kind="node")}
    return {name: case if case.model is not None else from_folder(case) for name, case in found.items()}


def from_folder(case):
    """A case of an older wheel, which has its model and arrays in files."""
    import onnx

    def arrays(folder, kind):
        paths = [folder / f"{kind}_{k}.pb" for k in range(len(list(folder.glob(f"{kind}_*.pb"))))]
        return [onnx.TensorProto.FromString(path.read_bytes()) for path in paths]

    folder = Path(case.model_dir)
    data = [(arrays(one, "input"), arrays(one, "output")) for one in sorted(folder.glob("test_data_set_*"))]
    return dataclasses.replace(case, model=onnx.load(folder / "model.onnx"), data_sets=data)


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
