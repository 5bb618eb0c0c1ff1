"""Examples, each one file to be read: what `fastrnn example NAME` runs.

An example is a module of this package that is named in `NAMES`. It uses what anybody can import, and defines

    the docstring       whose first line says what it shows
    TIME                about how long it takes on two cores, for example "15 s"
    PUBLISHED           the figure it is held to, and whose it is
    RESULT              what it measured, beside that figure
    OPTIONS             which of "data" and "plot" it takes
    main(args)          runs it, prints what it found and returns its figures, a dict of name -> number; args has
                        quick, seed, data and plot
    shown(figures)      whether the figures, or their means over several seeds, are what the docstring says; a quick
                        run is a slice of seconds and shows nothing
"""

import ast
import copy
import importlib
from pathlib import Path

import numpy as np

from fastrnn.diagnostics.plot import check_plot

NAMES = (
    "gradients", "adding", "search", "character", "names", "sentiment", "music", "digits", "strings", "forecasting",
    "anomaly", "addition", "translation", "captions", "long",
)


def listing():
    """Two lines for each example: name and what it shows; what it measured and how long that takes.

    The files are read and not imported, as what an example needs may not be installed.
    """
    width = max(map(len, NAMES))
    lines = []
    for name in NAMES:
        tree = ast.parse(Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8"))
        said = {node.targets[0].id: ast.literal_eval(node.value) for node in tree.body if _says(node)}
        lines.append(f"{name:{width}}  {_first(ast.get_docstring(tree))}")
        lines.append(f"{'':{width}}  {said['RESULT']}; {said['TIME']}")
    return "\n".join(lines)


def _says(node):
    """Whether a statement sets TIME or RESULT."""
    return isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) in ("TIME", "RESULT")


def _first(docstring):
    return docstring.partition("\n")[0].rstrip(".")


def title(module):
    """The first line of an example's docstring."""
    return _first(module.__doc__)


def run(name, args):
    """Run an example, once for each seed; returns the exit code: 1 where it does not show what it should.

    Parameters
    ----------
    name : str
    args : namespace
        quick (bool), seed and seeds (int; runs are of seed, seed + 1, ...), data and plot (str or None; the first run
        is drawn).

    Raises
    ------
    ValueError
        For another name, or an option that the example does not take.
    """
    if name not in NAMES:
        raise ValueError(f"NAME: expected one of {', '.join(NAMES)}; found {name!r}")
    module = _module(name)
    for option in ("data", "plot"):
        if getattr(args, option) is not None and option not in module.OPTIONS:
            raise ValueError(f"--{option}: expected none with {name}, found {getattr(args, option)!r}")
    if args.plot is not None:
        check_plot(args.plot, "--plot")
    print(f"{title(module)}.\nPublished: {module.PUBLISHED}\n", flush=True)
    figures = {}
    for seed in range(args.seed, args.seed + args.seeds):
        one = copy.copy(args)
        one.seed, one.plot = seed, args.plot if seed == args.seed else None
        if args.seeds > 1:
            print(f"{'' if seed == args.seed else chr(10)}Seed {seed}", flush=True)
        figures[seed] = module.main(one)
    if args.seeds > 1:
        print(f"\n{table(figures)}")
    if args.quick:
        return 0
    shown = module.shown({key: float(np.mean([one[key] for one in figures.values()])) for key in figures[args.seed]})
    print(f"\n{'shown' if shown else 'NOT shown'}: {title(module)}.")
    return int(not shown)


def table(figures):
    """A line for each seed, then mean, lowest and highest, of a dict of seed -> (dict of name -> number).

    What no seed changes, as what the figures stand beside, is left out where anything is changed.
    """
    names = list(next(iter(figures.values())))
    names = [name for name in names if len({one[name] for one in figures.values()}) > 1] or names
    rows = {str(seed): [one[name] for name in names] for seed, one in figures.items()}
    values = np.array(list(rows.values()), np.float64)
    rows |= {"mean": values.mean(axis=0), "lowest": values.min(axis=0), "highest": values.max(axis=0)}
    widths = [max(len(name), 8) for name in names]
    lines = [("seed", names), *((name, [f"{value:.4f}" for value in row]) for name, row in rows.items())]
    return "\n".join(f"{name:>7}" + "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths))
                     for name, cells in lines)


def _module(name):
    return importlib.import_module(f".{name}", __name__)
