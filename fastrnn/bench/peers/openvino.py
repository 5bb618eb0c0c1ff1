"""OpenVINO: the ONNX model, compiled for latency, with inputs and outputs in place."""

import numpy as np
import openvino

from ..onnx_graph import build_onnx, state_names
from ..work import Work


class Peer:
    version = openvino.__version__.split("-")[0]

    def __init__(self, threads):
        self._core = openvino.Core()
        self._settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "f32",
        }  # it would take bfloat16 where the CPU has it

    def works(self, cell, data):
        if cell.trains:
            return {}
        if cell.table == "step":
            return self._step(cell, data)
        works = self._sequence(cell, data, {"X": data["x"]})
        if cell.ragged:
            feeds = {"X": data["x"], "lengths": data["lengths"].astype(np.int32)}
            works = {
                **{f"padded {name}": work for name, work in works.items()},
                **{f"lengths {name}": work for name, work in self._sequence(cell, data, feeds, ragged=True).items()},
            }
        return works

    def _requests(self, count, model):
        compiled = self._core.compile_model(self._core.read_model(model), "CPU", self._settings)
        return [compiled.create_infer_request() for _ in range(count)]

    def _sequence(self, cell, data, feeds, **options):
        (request,) = self._requests(1, build_onnx(cell, data, **options))
        arrays = {**feeds, "Y": np.empty((cell.steps, 1, cell.batch, cell.hidden), np.float32)}
        _share(request, arrays)
        return _both(["request"], {"request": request, "arrays": arrays}, result="{'y': arrays['Y'][:, 0].copy()}")

    def _step(self, cell, data):
        """Two steps, whose states are in two sets of arrays: each reads what the other has written."""
        states = state_names(cell)
        there, back = self._requests(2, build_onnx(cell, data, carried=True))
        zero = np.zeros((1, 1, cell.hidden), np.float32)
        sets = [{s: zero.copy() for s in states} for _ in range(2)]
        for request, before, after in ((there, *sets), (back, *sets[::-1])):
            _share(request, {"X": data["x"], **before, **{f"{s}_out": after[s] for s in states}})

        def reset():
            for array in sets[0].values():
                array[...] = 0

        names = {"there": there, "back": back, "reset": reset, "x": data["x"], "sets": sets}
        return _both(
            ["there", "back"],
            names,
            setup="reset()",
            result="{'y': sets[0]['h'].reshape(-1).copy()}",
            calls=2,
            repeat=2,
        )


def _share(request, arrays):
    """Let a request read and write these arrays, which must outlive it."""
    for name, array in arrays.items():
        request.set_tensor(name, openvino.Tensor(array, shared_memory=True))


def _both(requests, names, **options):
    """The two ways to run requests one after another."""
    ways = {
        "infer": "{0}.infer(share_inputs=True, share_outputs=True)",
        "async": "{0}.start_async()\n{0}.wait()",
    }
    return {
        way: Work("\n".join(source.format(request) for request in requests), names, **options)
        for way, source in ways.items()
    }
