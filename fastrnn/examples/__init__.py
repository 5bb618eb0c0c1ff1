"""Examples, each one file to be read: what `fastrnn example NAME` runs.

An example is a module of this package that is named in `NAMES`. It uses what anybody can import, and defines

    the docstring       whose first line says what it shows
    TIME                about how long it takes on two cores, for example "15 s"
    PUBLISHED           the figure it is held to, and whose it is
    RESULT              what it measured, beside that figure
    OPTIONS             which of "data" and "plot" it takes
    main(args)          runs it and prints what it found; args has quick, seed, data and plot; True where it shows what
                        the docstring says, None for a quick run, which is a slice of seconds and shows nothing
"""

import ast
import importlib
from pathlib import Path

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
    """Run an example; returns the exit code: 1 where it does not show what it should.

    Parameters
    ----------
    name : str
    args : namespace
        quick (bool), seed (int), data and plot (str or None).

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
    shown = module.main(args)
    if shown is None:
        return 0
    print(f"\n{'shown' if shown else 'NOT shown'}: {title(module)}.")
    return int(not shown)


def _module(name):
    return importlib.import_module(f".{name}", __name__)
