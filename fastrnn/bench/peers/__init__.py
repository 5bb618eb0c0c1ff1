"""The libraries that are compared. Each has a file of its name here with a class `Peer`:

    Peer(threads)           imports the library and limits its threads
    .version
    .works(cell, data)      dict of variant -> Work: its ways to do the cell's work, of which the fastest
                            counts; empty if it has none

`data` is from `problem.build_problem`; outcomes have its names and layouts: y (T, B, H), dx, and d_<weight>
for gradients, loss for the training loop. Weights are converted, and inputs are in the library's own arrays,
before anything is timed.
"""

import importlib.util
from dataclasses import dataclass, field

OURS = "fastrnn"
BLAS = "blas"  # fastrnn with all products by SciPy's BLAS: no peer, measured where asked for


@dataclass(frozen=True)
class Source:
    """What a library needs: packages to import, and settings of its process that have no other switch."""

    packages: tuple
    environment: dict = field(default_factory=dict)
    affinity: bool = False  # its thread pool is as large as the CPUs that the process may use

    def missing(self):
        """Packages that are not installed."""
        return [name for name in self.packages if importlib.util.find_spec(name) is None]


PEERS = {
    OURS: Source(("fastrnn",)),
    "torch": Source(("torch",)),
    "onnxruntime": Source(("onnxruntime", "onnx")),
    "openvino": Source(("openvino", "onnx"), {"OPENVINO_TELEMETRY_DISABLED": "1"}),
    BLAS: Source(("fastrnn",), {"FASTRNN_BLAS": "1"}),
    "jax": Source(("jax", "jaxlib"), {"JAX_PLATFORMS": "cpu"}, affinity=True),
}


def installed(names=None):
    """(names of the peers to measure, ours first; lines about those that are not installed)."""
    found, lines = [], []
    for name in [name for name in PEERS if name != BLAS] if names is None else [OURS, *names]:
        missing = PEERS[name].missing()
        if missing:
            lines.append(f"{name}: skipped, not installed (pip install {' '.join(missing)})")
        else:
            found.append(name)
    return found, lines
