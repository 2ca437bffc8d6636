"""Convert a TensorFlow function to ONNX with tf2onnx, using far less time and memory."""

import collections
import graphlib
import logging

import keras
import numpy as np
import tensorflow as tf
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from tf2onnx import optimizer, tf_loader, tfonnx

# The latest that tf2onnx 1.17 writes.
OPSET = 18
# Larger weights bypass the conversion; smaller ones are biases and the like, which tf2onnx has to
# know as constants to move a transposition past them.
MAX_CONSTANT = 4096

# Operations that pass a tensor on unchanged, outside of training.
_PASSING = ("Identity", "StopGradient")


class _Transposes(optimizer.TransposeOptimizer):
    """Searches for the next transposition to move only among these, not among all nodes."""

    @property
    def nodes(self):
        # The same pass also folds reshapes of constants.
        return [node for node in super().nodes if node.type in ("Transpose", "Reshape")]


# In tf2onnx' own order the transpositions come first, and after each move the search restarts among
# three times as many nodes. The omitted passes find nothing in graphs of this package.
_PASSES = collections.OrderedDict(
    fold_constants=optimizer.ConstFoldOptimizer,
    merge_duplication=optimizer.MergeDuplicatedNodesOptimizer,
    reshape_optimizer=optimizer.ReshapeOptimizer,
    remove_back_to_back=optimizer.BackToBackOptimizer,
    optimize_transpose=_Transposes,
    global_pool_optimizer=optimizer.GlobalPoolOptimizer,
)
# Last, since each output of the graph is one: the pass above gives a reshape an axis too much, and
# a node after it that removes this; if the reshape is an output itself, it stays that of the graph.
_LAST = {"remove_identity": optimizer.IdentityOptimizer}


def to_onnx(function, signature, variables):
    """Convert a function of tensors, with large weights, to ONNX.

    tf2onnx copies every constant some fifty times, and most copies stay in memory until it ends.
    Here the large weights are inputs of the conversion, and become constants afterwards.

    Args:
        function: callable of tensors that returns a dict of tensors, on Keras' TensorFlow backend.
        signature: list of `tf.TensorSpec`, named; the inputs of the model.
        variables: list of `keras.Variable` that the function may read.

    Returns:
        `onnx.ModelProto`, whose outputs have the names of the dict.

    Source: tf2onnx, whose parts it combines.
    """
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    large = [one for one in variables if np.prod(one.shape) > MAX_CONSTANT]
    apart = {id(one) for one in large}
    weights = [tf.TensorSpec(one.shape, one.dtype, f"weight_{i}") for i, one in enumerate(large)]
    count = len(signature)

    small = [(one, keras.ops.convert_to_numpy(one)) for one in variables if id(one) not in apart]

    # AutoGraph would parse the source of every layer; `predict` traces without it too.
    @tf.function(input_signature=[*signature, *weights], autograph=False)
    def with_weights(*given):
        values = list(zip(large, given[count:], strict=True))
        values += [(one, tf.constant(value, one.dtype)) for one, value in small]
        with keras.StatelessScope(values):
            return function(*given[:count])

    concrete = with_weights.get_concrete_function()
    inputs = [one.name for one in concrete.inputs[: count + len(weights)]]
    outputs = {one.name: name for name, one in concrete.structured_outputs.items()}
    names = [one.name for one in signature] + _names(large)
    with tf.device("/cpu:0"):
        frozen = _frozen(concrete, inputs, list(outputs))
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(frozen, name="")
            converted = tfonnx.process_tf_graph(
                graph,
                opset=OPSET,
                input_names=inputs,
                output_names=list(outputs),
                tensors_to_rename={**dict(zip(inputs, names, strict=True)), **outputs},
            )
            # Without tf2onnx' error handling, which copies the whole graph before each pass.
            converted = optimizer.optimize_graph(converted, False, _PASSES)
            converted = optimizer.optimize_graph(converted, False, _LAST)
            model = converted.make_model("keras_espmedsam")
    _put_in(model, dict(zip(names[count:], large, strict=True)))
    return model


def _frozen(concrete, inputs, outputs):
    """Return the graph of a concrete function, with inner functions and captures inlined."""
    kept = {name.split(":")[0] for name in (*inputs, *outputs)}
    stateful = {one.type for one in concrete.graph.get_operations() if one.op_def.is_stateful}
    graph = concrete.graph.as_graph_def(add_shapes=True)
    if concrete.captured_inputs or graph.library.function:
        return _merged(tf_loader.from_function(concrete, inputs, outputs), kept, stateful)
    with tf.Graph().as_default():
        graph = _merged(graph, kept, stateful)
        tf.import_graph_def(graph, name="")
        graph = tf_loader.tf_optimize(inputs, outputs, graph)
    return _merged(graph, kept, stateful)


def _merged(graph, kept, stateful):
    """Merge equal nodes of a graph, and remove nodes that only pass a tensor on.

    With an open size, two in three nodes read a shape again, and tf2onnx makes several of each.

    Args:
        graph: `GraphDef`, which is changed.
        kept: names of nodes that stay unchanged: inputs and outputs.
        stateful: types of operations that differ even if they look equal.
    """
    nodes = {node.name: node for node in graph.node}
    depend = {name: [_source(one) for one in node.input] for name, node in nodes.items()}
    instead, known, left = {}, {}, []
    for name in graphlib.TopologicalSorter(depend).static_order():
        node = nodes[name]
        for i, one in enumerate(node.input):
            node.input[i] = _renamed(one, instead)
        if name in kept or node.op == "Placeholder" or node.op in stateful:
            left.append(node)
        elif node.op in _PASSING and len(node.input) == 1:
            instead[name] = node.input[0]
        else:
            same = known.setdefault(_key(node), name)
            if same == name:
                left.append(node)
            else:
                instead[name] = same
    merged = tf.compat.v1.GraphDef(versions=graph.versions, library=graph.library)
    merged.node.extend(left)
    return merged


def _source(tensor):
    """Return the node that `name`, `name:1` or, for a control input, `^name` refers to."""
    return tensor.removeprefix("^").partition(":")[0]


def _renamed(tensor, instead):
    source = _source(tensor)
    if source not in instead:
        return tensor
    if tensor.startswith("^"):
        return f"^{_source(instead[source])}"
    # A pass-through node has one output, any of its source's; equal nodes have equally many.
    _, colon, number = tensor.partition(":")
    new = instead[source]
    return new if ":" in new or number in ("", "0") else f"{new}{colon}{number}"


def _key(node):
    attributes = sorted(node.attr)
    values = (node.attr[name].SerializeToString(deterministic=True) for name in attributes)
    return node.op, node.device, *node.input, *zip(attributes, values, strict=True)


def _names(variables):
    """Name each variable by its path, which viewers show, with a number if two are equal."""
    seen = collections.Counter()
    names = []
    for one in variables:
        seen[one.path] += 1
        names.append(one.path if seen[one.path] == 1 else f"{one.path}_{seen[one.path]}")
    return names


def _put_in(model, weights):
    """Turn inputs into constants, and fold operations on constants that take no more space."""
    graph = model.graph
    inputs = [one for one in graph.input if one.name not in weights]
    del graph.input[:]
    graph.input.extend(inputs)
    small = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    values = {name: keras.ops.convert_to_numpy(one) for name, one in weights.items()}
    nodes = []
    for node in graph.node:
        folded = _folded(node, values, small)
        if folded is None:
            nodes.append(node)
        else:
            values |= folded
    del graph.node[:]
    graph.node.extend(nodes)
    read = {name for node in nodes for name in node.input}
    for name in list(values):
        value = values.pop(name)  # Each is freed as the next is copied.
        if name in read:
            graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))


def _folded(node, values, small):
    """Return the outputs of a node of large constants, by name, or `None`."""
    known = {**{name: small[name] for name in node.input if name in small}}
    known |= {name: values[name] for name in node.input if name in values}
    if not node.input or len(known) < len(set(node.input)) or not known.keys() & values.keys():
        return None
    outputs = ReferenceEvaluator(node).run(None, known)
    size = sum(one.nbytes for one in known.values())
    if sum(one.nbytes for one in outputs) > size:
        return None
    return dict(zip(node.output, outputs, strict=True))
