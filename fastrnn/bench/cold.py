"""What a new process pays: time to import a library, time until its first sequence is done, and memory."""

import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from .cells import Cell
from .peers import OURS, PEERS
from .problem import build_problem
from .workers import environment, last_line

CELL = Cell("sequence", "LSTM", 128, batch=1, steps=50, inputs=64)
FIGURES = {"import": "s", "import and first sequence": "s", "peak memory": "MiB"}

# library -> (imports, first sequence); numpy is there as a yardstick
PROGRAMS = {
    "numpy": ("import numpy as np", "np.zeros(1)"),
    "fastrnn": (
        "import fastrnn",
        "import numpy as np\nfastrnn.LSTM(64, 128)(np.zeros((50, 1, 64), np.float32))",
    ),
    "torch": (
        "import torch",
        "with torch.inference_mode():\n    torch.nn.LSTM(64, 128)(torch.zeros(50, 1, 64))",
    ),
    "onnxruntime": (
        "import onnxruntime",
        "import numpy as np\n"
        "session = onnxruntime.InferenceSession(model, providers=['CPUExecutionProvider'])\n"
        "session.run(None, {'X': np.zeros((50, 1, 64), np.float32)})",
    ),
    "openvino": (
        "import openvino",
        "import numpy as np\n"
        "compiled = openvino.compile_model(model, 'CPU')\n"
        "compiled(np.zeros((50, 1, 64), np.float32))",
    ),
    "jax": (
        "import jax",
        """
import jax.numpy as jnp
def gates(state, x):
    h, c = state
    i, f, g, o = jnp.split(x @ w_ih + h @ w_hh + b, 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (h, c), h
w_ih, w_hh, b = jnp.ones((64, 512)), jnp.ones((128, 512)), jnp.ones(512)
run = jax.jit(lambda x: jax.lax.scan(gates, (jnp.zeros((1, 128)),) * 2, x)[1])
run(jnp.zeros((50, 1, 64))).block_until_ready()""",
    ),
}
FRAME = """
import sys, time
model = sys.argv[1]
start = time.perf_counter()
{imports}
imported = time.perf_counter() - start
{first}
done = time.perf_counter() - start
try:
    with open("/proc/self/status") as file:
        peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024
except OSError:
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(imported, done, peak)
"""


def measure_cold(peers, rounds, threads):
    """Run each library's program in turn, in new processes.

    Returns
    -------
    list of dict
        A record for each of `FIGURES`, as the driver makes them.
    """
    found = {name: [] for name in ["numpy", *peers]}
    failed = {}
    with TemporaryDirectory() as folder:
        model = Path(folder) / "model.onnx"
        if not PEERS["onnxruntime"].missing() or not PEERS["openvino"].missing():
            from .onnx_graph import build_onnx

            model.write_bytes(build_onnx(CELL, build_problem(CELL)))
        for _ in range(rounds):
            for name in found:
                if name not in failed:
                    try:
                        found[name].append(_once(name, model, threads))
                    except ValueError as error:
                        failed[name] = str(error)
    if OURS in failed:
        raise ValueError(failed[OURS])
    records = []
    for k, (figure, unit) in enumerate(FIGURES.items()):
        medians = {
            name: statistics.median(row[k] for row in rows) for name, rows in found.items() if name not in failed
        }
        results = {name: {"variant": name, "median": median} for name, median in medians.items() if name != "numpy"}
        records.append(
            {
                "table": "start",
                "name": figure,
                "unit": unit,
                "threads": threads,
                "results": results,
                "failed": failed,
                "numpy": medians["numpy"],
            }
        )
    return records


def _once(name, model, threads):
    imports, first = PROGRAMS[name]
    done = subprocess.run(
        [sys.executable, "-c", FRAME.format(imports=imports, first=first), str(model)],
        env=environment(threads, PEERS[name].environment if name in PEERS else None),
        text=True,
        capture_output=True,
    )
    if done.returncode:
        raise ValueError(f"process ended with code {done.returncode}: {last_line(done.stderr)}")
    return [float(word) for word in done.stdout.split()[-3:]]
