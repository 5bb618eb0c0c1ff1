"""A graph as programs: one plan for each set of input shapes, a list of bound calls that move values between slots.

What constants alone decide is computed once, when the graph is loaded; what the inputs' shapes decide is computed once
for these shapes. So `Shape`, the arithmetic on sizes that follows it, and an `If` on its result cost a run nothing.
"""

from collections import Counter
from operator import itemgetter

import numpy as np

from ... import memory
from .fusion import fused
from .ops import registry
from .ops.registry import ABSENT, Info, Reshaped, TooLarge

MOST_PLANS = 16         # of one program; further shapes share a plan that knows no shape
SMALL = 4096            # values of constants that a folded node may read, if it may grow
FOLDED, FOLDED_A_BYTE = 64_000_000, 2   # bytes of memory that folded constants may take, and for each byte of others
# Operators whose output is about as large as their inputs: they fold at any size.
EVEN = frozenset({
    "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split", "Cast", "Neg", "Abs",
    "Sqrt", "Exp", "Log", "Reciprocal", "Sigmoid", "Tanh", "Relu", "DequantizeLinear", "QuantizeLinear", "Concat",
    "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "Not", "Shape", "Size",
})  # fmt: skip
# Ops on ints that stand between a graph's input and what decides shapes or branches.
STEERING = frozenset({
    "Identity", "Cast", "Equal", "Not", "And", "Or", "Xor", "Less", "Greater", "LessOrEqual", "GreaterOrEqual",
    "Reshape", "Squeeze", "Unsqueeze", "Gather", "Concat", "Add", "Sub", "Mul", "Div", "Slice", "Min", "Max", "Neg",
    "Where",
})  # fmt: skip
MOST_STEERING = 16      # values of an input that a plan may be made for


class Ref:
    """A value of one trace: what is known of it, and its array."""

    __slots__ = ("info", "slot", "value")

    def __init__(self, info, value=None):
        self.info, self.value, self.slot = info, value, None


class Step:
    """A call of a trace, with the refs it reads and makes; None for an output that is left out."""

    __slots__ = ("call", "inputs", "many", "outputs", "where")

    def __init__(self, call, inputs, outputs, many, where):
        self.call, self.inputs, self.outputs, self.many, self.where = call, inputs, outputs, many, where


class Plan:
    """Steps that are ready to run."""

    def __init__(self, arguments, steps, results, owned):
        steps = _joined(_alive(_short(steps), results), results)
        self.template = []      # constants by slot, None elsewhere
        for ref in arguments:
            self.take(ref)
        last = {ref: len(steps) for ref in results}     # the last step that reads each
        for k, step in reversed(list(enumerate(steps))):
            for ref in step.inputs:
                last.setdefault(ref, k)
        free = []
        self.steps = [self.placed(step, k, last, free) for k, step in enumerate(steps)]
        for ref in results:
            if ref.slot is None:
                self.take(ref, ref.value)
        self.outputs = [ref.slot for ref in results]
        fixed = {ref for step in steps for ref in step.outputs}
        self.passed = [ref not in fixed for ref in results]     # arguments and constants
        self.owned, self.count = owned, len(arguments)

    def take(self, ref, value=None):
        ref.slot = len(self.template)
        self.template.append(value)

    def placed(self, step, k, last, free):
        """(call, what takes its arguments from the slots, the slot or slots of its outputs, words for errors)."""
        for ref in step.inputs:
            if ref is not None and ref.slot is None:
                self.take(ref, ref.value)   # a constant
        slots = [self.none() if ref is None else ref.slot for ref in step.inputs]
        for ref in {ref for ref in step.inputs if ref is not None and last[ref] == k and ref.info.known is None}:
            free.append(ref.slot)
        wanted = []
        for ref in step.outputs:
            if ref is None or ref not in last:
                wanted.append(-1)
                continue
            if free:
                ref.slot = free.pop()
            else:
                self.take(ref)
            wanted.append(ref.slot)
        getter = itemgetter(*slots) if len(slots) > 1 else itemgetter(slice(slots[0],
                                                                            slots[0] + 1) if slots else slice(0))
        return step.call, getter, tuple(wanted) if step.many else wanted[0], step.where

    def none(self):
        """A slot that holds None."""
        self.template.append(None)
        return len(self.template) - 1

    def run(self, arguments):
        """The outputs for these arguments, a list of arrays."""
        slots = self.template.copy()
        slots[: self.count] = arguments
        where = ""
        try:
            for call, getter, out, where in self.steps:     # noqa: B007  the last one names an error
                found = call(*getter(slots))
                if out.__class__ is int:
                    slots[out] = found
                else:
                    for place, value in zip(out, found):
                        if place >= 0:
                            slots[place] = value
        except Exception as error:
            raise named(error, where) from error
        results = [slots[place] for place in self.outputs]
        if self.owned:
            for k, value in enumerate(results):
                if value.__class__ is not np.ndarray or value.base is not None or self.passed[k] \
                        or not value.flags.c_contiguous:
                    results[k] = np.array(value, order="C")
        return results


def _short(steps):
    """The steps, of which each that reshapes what another reshaped reads that one's input."""
    makers = {}
    for step in steps:
        if step.call.__class__ is Reshaped:
            maker = makers.get(step.inputs[0])
            if maker is not None:
                step.inputs = [maker.inputs[0], *step.inputs[1:]]
            makers[step.outputs[0]] = step
    return steps


def _joined(steps, results):
    """The steps, of which each that only reshapes what one other step makes for it alone is a part of that one."""
    uses = Counter(ref for step in steps for ref in step.inputs)
    uses.update(results)
    makers, kept = {}, []
    for step in steps:
        maker = makers.get(step.inputs[0]) if step.call.__class__ is Reshaped else None
        if maker is not None and not maker.many and uses[step.inputs[0]] == 1:
            maker.call, maker.outputs = _then_reshaped(maker.call, step.call.shape), step.outputs
            makers[step.outputs[0]] = maker
            continue
        kept.append(step)
        makers.update((ref, step) for ref in step.outputs if ref is not None)
    return kept


def _then_reshaped(call, shape):
    return lambda *arguments: call(*arguments).reshape(shape)


def _alive(steps, results):
    """The steps that the results need."""
    wanted, kept = set(results), []
    for step in reversed(steps):
        if wanted.intersection(step.outputs):
            kept.append(step)
            wanted.update(step.inputs)
    return kept[::-1]


def named(error, where):
    """An error of a step, with the node's name before it."""
    if isinstance(error, MemoryError):
        return memory.OutOfMemoryError(f"{where}: {error}")
    text = str(error)
    return (TypeError if isinstance(error, TypeError) else ValueError)(
        text if text.startswith(("node ", "output ")) else f"{where}: {text or type(error).__name__}")


class Program:
    """A graph that runs: `run` takes arrays in the order of `names`, the graph's inputs and then the captured ones.

    Parameters
    ----------
    graph : Graph
    captured : sequence of str
        Names that the graph takes from around it, whose values follow its inputs.
    around : dict of str to array
        Names from around it whose values are known.
    owned : bool
        Whether outputs must not share memory with anything.
    """

    def __init__(self, graph, captured=(), around=None, owned=False):
        self.graph = graph
        self.names = [*(value.name for value in graph.inputs), *captured]
        self.outputs = [value.name for value in graph.outputs]
        self.owned = owned
        self.constants = {**(around or {}), **graph.constants}
        self.nodes = list(graph.nodes)
        self.plans = {}
        self.branches = {}      # graph of an `If` that a plan takes -> its nodes
        self.fold()
        self.steering = self.found_steering()

    def fold(self):
        """Compute what constants decide, put the branch of a decided `If` in its place, drop what nothing needs."""
        budget = FOLDED + FOLDED_A_BYTE * sum(array.nbytes for array in self.constants.values())
        todo, kept, renames = self.nodes[::-1], [], {}
        turn = 0
        while todo:
            node = todo.pop()
            if renames:
                node = node.renamed({name: resolved(name, renames) for name in node.uses() if name in renames})
            infos = self.infos(node)
            if node.op == "If" and not node.domain and infos[0].known is not None:
                turn += 1
                todo += reversed(self.branch(node, infos[0].known, renames, f"@{turn}"))
                continue
            if node.op == "Identity" and not node.domain and len(node.inputs) == 1 and node.inputs[0] \
                    and len(node.outputs) == 1:
                renames[node.outputs[0]] = node.inputs[0]
                continue
            call = registry.build(node, self.with_captured(node, infos))
            results = self.folded(node, infos, call, budget)
            if results is None:
                kept.append(node)
                continue
            for name, array in zip(node.outputs, results):
                if name:
                    array = np.array(array)
                    array.flags.writeable = False
                    self.constants[name] = array
                    budget -= array.nbytes
        self.outputs = [resolved(name, renames) for name in self.outputs]
        wanted, self.nodes = set(self.outputs), []
        for node in reversed(kept):
            if wanted.intersection(node.outputs):
                self.nodes.append(node)
                wanted |= node.uses()
        self.nodes = fused(self.nodes[::-1], self.outputs, self.constants)
        self.constants = {name: array for name, array in self.constants.items() if name in wanted}

    def infos(self, node):
        """What constants say of a node's inputs."""
        return [ABSENT if not name else Info(array, array.shape, array.dtype)
                if (array := self.constants.get(name)) is not None else Info() for name in node.inputs]

    def with_captured(self, node, infos):
        """The infos of the inputs and of what the graphs inside take from around them."""
        names = captured_names(node)
        if not names:
            return infos
        return [*infos, *(Info(array, array.shape, array.dtype) if (array := self.constants.get(name)) is not None
                          else Info() for name in names)]

    def branch(self, node, condition, renames, mark):
        """The nodes of the branch that a constant condition takes; its outputs get the node's names."""
        graph = chosen(node, condition)
        inner = graph.renamed({name: name + mark for name in graph.made()})
        self.constants.update(inner.constants)
        for name, value in zip(node.outputs, inner.outputs, strict=True):
            if name:
                renames[name] = value.name
        return inner.nodes

    def folded(self, node, infos, call, budget):
        """The node's outputs if its inputs are constants and the work is small, else None."""
        found = registry.find(node)
        if not all(info.known is not None or not info.present for info in infos):
            return None
        size = sum(info.known.size for info in infos if info.present)
        if node.graphs() or (size > SMALL and node.op not in EVEN):
            return None
        try:
            with registry.limited(min(budget, 1 << 22)), np.errstate(all="ignore"):
                results = call(*[info.known for info in infos])
        except (TooLarge, MemoryError):
            return None
        except Exception as error:
            raise named(error, node.where) from error
        results = results if found.many else (results,)
        return results if sum(np.asarray(one).nbytes for one in results if one is not None) <= budget else None

    def found_steering(self):
        """The places of the arguments, ints or bools, whose values decide shapes or branches."""
        makers = {name: node for node in self.nodes for name in node.outputs if name}
        dtypes = {value.name: value.dtype for value in self.graph.inputs}
        todo = []
        for node in self.nodes:
            needs = registry.find(node).needs
            places = (0,) if node.op == "If" else needs or ()
            todo += [node.inputs[k] for k in places if k < len(node.inputs) and node.inputs[k]]
        seen = set()
        while todo:
            name = todo.pop()
            if name in seen:
                continue
            seen.add(name)
            node = makers.get(name)
            if node is not None and not node.domain and node.op in STEERING:
                todo += node.inputs[:1] if node.op == "Gather" else [one for one in node.inputs if one]
        return [k for k, name in enumerate(self.names)
                if name in seen and dtypes.get(name) is not None and dtypes[name].kind in "iub"]

    def run(self, arguments):
        """The outputs for these arguments: lists of arrays."""
        key = tuple([value.shape for value in arguments])
        if self.steering:
            key += tuple(arguments[k].tobytes() if arguments[k].size <= MOST_STEERING else None for k in self.steering)
        plan = self.plans.get(key)
        if plan is not None:
            return plan.run(arguments)
        return self.first_run(key, arguments)

    def first_run(self, key, arguments):
        """As `run`, and keep a plan for these shapes; beyond `MOST_PLANS`, one for all shapes."""
        special = len(self.plans) < MOST_PLANS
        plan = None if special else self.plans.get(None)
        if plan is None:
            infos = [Info(None, np.shape(value) if special else None, value.dtype) for value in arguments]
            for k in self.steering if special else ():
                if arguments[k].size <= MOST_STEERING:
                    value = np.array(arguments[k])
                    infos[k] = Info(value, value.shape, value.dtype)
            plan = self.traced(arguments, infos)
            self.plans[key if special else None] = plan
        return plan.run(arguments)

    def traced(self, arguments, infos):
        """Run once, node by node, and return the plan of what was done."""
        refs = [Ref(info, np.asarray(value)) for info, value in zip(infos, arguments)]
        scope = {name: Ref(Info(array, array.shape, array.dtype), array) for name, array in self.constants.items()}
        scope.update(zip(self.names, refs))
        steps = []
        self.trace(self.nodes, scope, steps)
        return Plan(refs, steps, [scope[name] for name in self.outputs], self.owned)

    def trace(self, nodes, scope, steps):
        for node in nodes:
            inputs = [scope[name] if name else None for name in node.inputs]
            if node.op == "If" and not node.domain and inputs[0].info.known is not None:
                graph = chosen(node, inputs[0].info.known)
                inner = {**scope, **{name: Ref(Info(array, array.shape, array.dtype), array)
                                     for name, array in graph.constants.items()}}
                if graph not in self.branches:
                    self.branches[graph] = fused(graph.nodes, [value.name for value in graph.outputs],
                                                 {**self.constants, **graph.constants})
                self.trace(self.branches[graph], inner, steps)
                for name, value in zip(node.outputs, graph.outputs, strict=True):
                    if name:
                        scope[name] = inner[value.name]
                continue
            inputs += [scope[name] for name in captured_names(node)]
            self.trace_node(node, inputs, scope, steps)

    def trace_node(self, node, inputs, scope, steps):
        found = registry.find(node)
        infos = [ABSENT if ref is None else ref.info for ref in inputs]
        call = registry.build(node, infos)
        if call is registry.same:
            scope[node.outputs[0]] = inputs[0]
            return
        try:
            results = call(*[None if ref is None else ref.value for ref in inputs])
        except Exception as error:
            raise named(error, node.where) from error
        results = list(results) if found.many else [results]
        results = [None if one is None else np.asarray(one) for one in results[: len(node.outputs)]]
        shaped, known = _certain(node, found, infos)
        outputs = []
        for name, array in zip(node.outputs, results):
            if not name or array is None:
                outputs.append(None)
                continue
            info = Info(array if known else None, array.shape if shaped else None, array.dtype)
            scope[name] = Ref(info, array)
            outputs.append(scope[name])
        if not known:
            steps.append(Step(call, inputs, outputs, found.many, node.where))


def resolved(name, renames):
    """The name that a value has now: a branch's output may itself be another value's."""
    while name in renames:
        name = renames[name]
    return name


def _certain(node, found, infos):
    """Whether the infos decide the outputs' shapes, and their values."""
    if node.graphs():
        return False, False
    present = [info for info in infos if info.present]
    known = all(info.known is not None for info in present) and found.needs is not None
    if found.of_shape:
        return True, infos[0].shape is not None
    shaped = found.needs is not None and all(info.shape is not None for info in present) and all(
        infos[k].known is not None or not infos[k].present for k in found.needs if k < len(infos))
    return shaped, known


def captured_names(node):
    """The names that the graphs inside a node take from around it, in order."""
    graphs = node.graphs()
    return sorted(set().union(*(graph.free() for graph in graphs.values()))) if graphs else []


def chosen(node, condition):
    """The branch of an `If` for a constant condition."""
    if condition.size != 1 or condition.dtype != np.bool_:
        raise ValueError(f"{node.where}: expected one bool as the condition, found {condition.dtype} of shape "
                         f"{condition.shape}")
    graph = node.attribute("then_branch" if condition.item() else "else_branch", object)
    if graph is None or len(graph.outputs) != len(node.outputs):
        raise ValueError(f"{node.where}: expected branches with {len(node.outputs)} outputs")
    return graph
