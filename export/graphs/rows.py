"""How the rows of a traced graph's values go on: where one of them is picked, and whether several
images can share a run.
"""

import numpy as np
import onnx
from onnx import helper

from export.graphs.graph import Graph
from export.graphs.products import MOVES, Products, options
from export.graphs.skeleton import TracedGraph

# The name of a value's one row.
ROW = ".row"
ELEMENTWISE = {"Add", "Cast", "Div", "Gelu", "Mul", "Neg", "Relu", "Sigmoid", "Sub", "Tanh"}
# The axis of nodes that don't name one.
AXES = {"Concat": 0, "Gather": 0, "LayerNormalization": -1, "Softmax": -1, "Split": 0}


def picked(traced: TracedGraph) -> TracedGraph:
    """The same graph, in which the row that goes on is picked behind the last attention: no other
    one matters there. Values of that row alone are named by ROW.
    """
    last = next((node for node in reversed(traced.nodes) if _picks(node, traced)), None)
    if last is None:
        return traced
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in traced.nodes:
        for name in node.input:
            users.setdefault(name, []).append(node)
    alone = [last]
    wanted = {last.input[0]}
    for node in reversed(traced.nodes):
        name = node.output[0]
        if name in wanted and row_by_row(node, traced) and all(u in alone for u in users[name]):
            alone.append(node)
            wanted |= {name for name in node.input if not traced.is_constant(name)}
    shapes = {name + ROW: (1, 1, *traced.shapes[name][2:]) for name in wanted}
    place, first = f"{last.output[0]}.place", f"{last.output[0]}.first"
    index = int(traced.constant(last.input[1]))
    nodes = []
    for node in traced.nodes:
        inputs = [name + ROW if name in wanted else name for name in node.input]
        if node is last:
            inputs[1] = first
            nodes.append(helper.make_node("Gather", inputs, node.output, axis=1))
        elif node in alone:
            outputs = [name + ROW for name in node.output]
            nodes.append(helper.make_node(node.op_type, inputs, outputs, **options(node)))
        else:
            nodes.append(node)
            nodes += [
                helper.make_node("Gather", [name, place], [name + ROW], axis=1)
                for name in node.output
                if name in wanted
            ]
    shapes |= {place: (1,), first: ()}
    constants = {place: lambda: np.array([index]), first: lambda: np.array(0)}
    return traced.changed(nodes, shapes, constants)


def _picks(node: onnx.NodeProto, traced: TracedGraph) -> bool:
    shape = traced.shapes[node.input[0]]
    return (
        node.op_type == "Gather"
        and len(shape) == 3
        and shape[1] > 1
        and options(node).get("axis", 0) == 1
        and traced.is_constant(node.input[1])
        and traced.shapes[node.input[1]] == ()
    )


def row_by_row(node: onnx.NodeProto, traced: TracedGraph) -> bool:
    """Whether each row of [..., d] comes from that row of the inputs [..., k]."""
    first, constants, others = _inputs(node, traced)
    shape = traced.shapes[node.output[0]]
    if len(shape) < 3 or any(other[:-1] != shape[:-1] for other in others):
        return False
    if node.op_type == "MatMul":
        return first and [len(constant) for constant in constants] == [2]
    norm = node.op_type == "LayerNormalization" and _axis(node, len(shape)) == len(shape) - 1
    known = norm or node.op_type in ELEMENTWISE
    return known and all(len(constant) < 2 for constant in constants)


def apart(node: onnx.NodeProto, traced: TracedGraph) -> bool:
    """Whether a node gives each of several images its own result, if they lie one behind the other
    in the first axis of its inputs. It was traced with one; constant inputs of attention and Concat
    are repeated for each.
    """
    shape = traced.shapes[node.output[0]]
    first, constants, others = _inputs(node, traced)
    rank = len(traced.shapes[node.input[0]])
    if node.op_type == "MultiHeadAttention":
        return all(part[0] == 1 for part in (*constants, *others))
    if node.op_type == "Transpose":
        return bool(options(node)["perm"][0] == 0)
    if node.op_type in ("Slice", "ReduceMean"):
        axes = traced.constant(node.input[3 if node.op_type == "Slice" else 1])
        return 0 not in axes % rank
    if node.op_type in AXES:
        return _axis(node, rank) != 0 and all(part[0] == shape[0] for part in others)
    if node.op_type == "MatMul" and rank == 2 and (constants == [] or not first):
        return False
    return (
        node.op_type in (*ELEMENTWISE, "MatMul")
        and all(len(part) == len(shape) and part[0] == shape[0] for part in others)
        and all(len(part) < len(shape) or part[0] == 1 for part in constants)
    )


def repeated(
    graph: Graph, traced: TracedGraph, node: onnx.NodeProto, inputs: list[str]
) -> list[str]:
    """A node's inputs in the new graph, constants once for each image."""
    known = [traced.is_constant(name) for name in node.input]
    images = graph.op("Shape", inputs[known.index(False)], start=0, end=1) if any(known) else ""
    for i in np.flatnonzero(known):
        rest = graph.constant(np.array(traced.shapes[node.input[i]][1:]))
        inputs[i] = graph.op("Expand", inputs[i], graph.op("Concat", images, rest, axis=0))
    return inputs


def self_attention(found: Products) -> dict[str, onnx.NodeProto]:
    """Attention whose queries, keys and values are the thirds of a product that nothing else sees,
    by the product's result.
    """
    result = {}
    for node in found.nodes:
        if node.op_type != "MultiHeadAttention" or options(node).keys() != {"num_heads"}:
            continue
        views = [found.view(name) for name in node.input]
        base = views[0][0]
        if base not in found.products or len(found.groups[found.products[base].x]) > 1:
            continue
        thirds = np.arange(found.shapes[base][-1]).reshape(-1, *views[0][1].shape[2:])
        if len(views) == len(thirds) == 3 and all(
            other == base
            and places.ndim == 3
            and np.array_equal(np.asarray(found.columns(base, places)), third)
            for (other, places), third in zip(views, thirds, strict=True)
        ):
            moved = [base]
            users = [user for name in moved for user in _moves_to(found, name, moved)]
            if all(user is node for user in users):
                result[base] = node
    return result


def _moves_to(found: Products, name: str, moved: list[str]) -> list[onnx.NodeProto]:
    """What sees a value, but for moves, whose results are added to those to look at."""
    users = found.users.get(name, [])
    moved += [output for user in users if user.op_type in MOVES for output in user.output]
    return [user for user in users if user.op_type not in MOVES]


def _inputs(
    node: onnx.NodeProto, traced: TracedGraph
) -> tuple[bool, list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Whether the first input depends on the pixels, and the shapes of those that don't and do."""
    names = [name for name in node.input if name]
    known = [traced.shapes[name] for name in names if traced.is_constant(name)]
    others = [traced.shapes[name] for name in names if not traced.is_constant(name)]
    return not traced.is_constant(names[0]), known, others


def _axis(node: onnx.NodeProto, rank: int) -> int:
    return int(options(node).get("axis", AXES[node.op_type])) % rank
