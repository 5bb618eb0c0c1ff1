"""The grid: what is measured. One `Cell` is one piece of work that every library does."""

from dataclasses import asdict, dataclass

TABLES = {
    "step": "single step from Python, B=1, I=H, carried state",
    "sequence": "sequence inference, T=50, I=H",
    "training": "forward + BPTT, T=50, I=64",
    "ragged": "ragged inference, I=64",
    "ragged training": "ragged forward + BPTT, I=64",
    "loop": "training loop of a character model, one update: E=64, B=32, T=100, clip 5, Adam",
    "start": "import, first sequence and memory of a new process",
}
KINDS = ("LSTM", "GRU", "RNN")
SYMBOLS = 98  # of the character model: those in Python's documentation


@dataclass(frozen=True)
class Cell:
    """One row of a table: I inputs, H hidden, B sequences of T steps, on so many threads."""

    table: str
    kind: str
    hidden: int
    batch: int = 1
    steps: int = 1
    inputs: int = 0
    threads: int = 1

    @property
    def name(self):
        batch = "" if self.table in ("step", "loop") else f" B={self.batch}"
        steps = f" T={self.steps}" if self.ragged else ""
        return f"{self.kind} H={self.hidden}{batch}{steps}"

    @property
    def ragged(self):
        return self.table.startswith("ragged")

    @property
    def trains(self):
        return self.table in ("training", "ragged training", "loop")

    def to_dict(self):
        return {**asdict(self), "name": self.name}


def grid(quick, threads, tables=None):
    """The cells to measure with these numbers of threads, in order of threads and tables.

    The single step takes one thread, ragged work the highest number given, the others each.
    """
    shapes = QUICK if quick else FULL
    return [
        Cell(table, *shape, threads=count)
        for count in sorted({1, *threads})
        for table, rows in shapes.items()
        if tables is None or table in tables
        if count in _counts(table, threads)
        for shape in rows
    ]


def _counts(table, threads):
    if table == "step":
        return (1,)
    if table.startswith("ragged"):
        return (max(threads),)
    return threads


# table -> (kind, H, B, T, I)
FULL = {
    "step": [(kind, h, 1, 1, h) for kind in KINDS for h in (24, 32, 64, 128, 256, 512)],
    "sequence": [(kind, h, b, 50, h) for kind in KINDS for h in (128, 256, 512, 1024) for b in (1, 8, 32, 64)],
    "training": [(kind, h, b, 50, 64) for kind in KINDS for h in (32, 128, 256, 512) for b in (16, 64)],
    "ragged": [(kind, h, 32, 500, 64) for kind in KINDS for h in (128, 256)],
    "ragged training": [(kind, h, 32, 500, 64) for kind in KINDS for h in (128, 256)],
    "loop": [("LSTM", 256, 32, 100, 64)],
}
QUICK = {
    "step": [(kind, h, 1, 1, h) for kind in KINDS for h in (32, 256)],
    "sequence": [
        ("LSTM", 256, 1, 50, 256),
        ("LSTM", 256, 32, 50, 256),
        ("GRU", 128, 8, 50, 128),
        ("RNN", 128, 64, 50, 128),
    ],
    "training": [("LSTM", 128, 32, 50, 64), ("GRU", 128, 16, 50, 64)],
    "ragged": [("LSTM", 128, 32, 200, 64)],
    "ragged training": [("LSTM", 128, 32, 200, 64)],
    "loop": [("LSTM", 256, 32, 100, 64)],
}
