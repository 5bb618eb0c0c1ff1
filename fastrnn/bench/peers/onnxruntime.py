"""ONNX Runtime: plain calls, and calls with inputs and outputs bound beforehand."""

import numpy as np
import onnxruntime

from ..onnx_graph import build_onnx, state_names
from ..work import Work


class Peer:
    version = onnxruntime.__version__

    def __init__(self, threads):
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = threads
        self._options.inter_op_num_threads = 1

    def works(self, cell, data):
        if cell.trains:
            return {}
        if cell.table == "step":
            return self._step(cell, data)
        works = self._sequence(self._session(build_onnx(cell, data)), cell, {"X": data["x"]})
        if cell.ragged:
            session = self._session(build_onnx(cell, data, ragged=True))
            feeds = {"X": data["x"], "lengths": data["lengths"].astype(np.int32)}
            works = {
                **{f"padded {name}": work for name, work in works.items()},
                **{f"lengths {name}": work for name, work in self._sequence(session, cell, feeds).items()},
            }
        return works

    def _session(self, model):
        return onnxruntime.InferenceSession(model, self._options, providers=["CPUExecutionProvider"])

    def _sequence(self, session, cell, feeds):
        binding = session.io_binding()
        for name, array in feeds.items():
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
        y = onnxruntime.OrtValue.ortvalue_from_numpy(np.empty((cell.steps, 1, cell.batch, cell.hidden), np.float32))
        binding.bind_ortvalue_output("Y", y)
        return {
            "run": Work(
                "y, = run(outputs, feeds)",
                {"run": session.run, "outputs": ["Y"], "feeds": feeds},
                result="{'y': y[:, 0]}",
            ),
            "bound": Work(
                "run(binding)",
                {"run": session.run_with_iobinding, "binding": binding, "y": y},
                result="{'y': y.numpy()[:, 0]}",
            ),
        }

    def _step(self, cell, data):
        session = self._session(build_onnx(cell, data, carried=True))
        states = state_names(cell)
        zero = np.zeros((1, 1, cell.hidden), np.float32)
        names = {"run": session.run, "outputs": [f"{s}_out" for s in states], "x": data["x"], "zero": zero}
        carried = ", ".join(states)
        feeds = ", ".join(f"'{s}': {s}" for s in states)
        return {
            "run": Work(
                f"{carried}, = run(outputs, {{'X': x, {feeds}}})",
                names,
                setup=" = ".join([*states, "zero"]),
                result="{'y': h.reshape(-1)}",
                repeat=4,
            ),
            "bound": self._bound_step(session, cell, data, states, zero),
        }

    @staticmethod
    def _bound_step(session, cell, data, states, zero):
        """Two steps, whose states are bound to two sets of arrays: each reads what the other has written."""
        make = onnxruntime.OrtValue.ortvalue_from_numpy
        sets = [{s: make(zero.copy()) for s in states} for _ in range(2)]
        bindings = []
        for before, after in (sets, sets[::-1]):
            binding = session.io_binding()
            binding.bind_ortvalue_input("X", make(data["x"]))
            for s in states:
                binding.bind_ortvalue_input(s, before[s])
                binding.bind_ortvalue_output(f"{s}_out", after[s])
            bindings.append(binding)

        def reset():
            for value in sets[0].values():
                value.update_inplace(zero)

        return Work(
            "run(there)\nrun(back)",
            {
                "run": session.run_with_iobinding,
                "there": bindings[0],
                "back": bindings[1],
                "reset": reset,
                "h": sets[0]["h"],
            },
            setup="reset()",
            result="{'y': h.numpy().reshape(-1)}",
            calls=2,
            repeat=2,
        )
