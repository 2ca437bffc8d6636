"""A TensorFlow function as an ONNX model, by tf2onnx, in a fraction of its own time and memory."""

import collections
import logging

import keras
import numpy as np
import tensorflow as tf
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from tf2onnx import optimizer, tf_loader, tfonnx

# The latest that tf2onnx 1.17 writes.
OPSET = 18
# Weights of more elements go around the conversion; smaller ones are biases and the like, which
# tf2onnx has to know as constants to move a transposition past them.
MAX_CONSTANT = 4096

# In tf2onnx' own order the transpositions come first, and each that moves starts again at the first
# of three times as many nodes. The passes left out look for what no graph of ours has.
_PASSES = collections.OrderedDict(
    fold_constants=optimizer.ConstFoldOptimizer,
    merge_duplication=optimizer.MergeDuplicatedNodesOptimizer,
    reshape_optimizer=optimizer.ReshapeOptimizer,
    remove_identity=optimizer.IdentityOptimizer,
    remove_back_to_back=optimizer.BackToBackOptimizer,
    optimize_transpose=optimizer.TransposeOptimizer,
    global_pool_optimizer=optimizer.GlobalPoolOptimizer,
)


def to_onnx(function, signature, variables):
    """Convert a function of tensors, whose weights are large, to ONNX.

    tf2onnx copies every constant some fifty times, of which most stays in memory until its end.
    Here the large weights are inputs of what it converts, and become constants afterwards.

    Args:
        function: callable of tensors that gives a dict of tensors, on Keras' TensorFlow backend.
        signature: list of `tf.TensorSpec`, named; the inputs of the model.
        variables: list of `keras.Variable` that the function may read.

    Returns:
        `onnx.ModelProto`, whose outputs have the names of the dict.

    Source: ours, of tf2onnx' parts.
    """
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    large = [one for one in variables if np.prod(one.shape) > MAX_CONSTANT]
    apart = {id(one) for one in large}
    weights = [tf.TensorSpec(one.shape, one.dtype, f"weight_{i}") for i, one in enumerate(large)]
    count = len(signature)

    small = [(one, keras.ops.convert_to_numpy(one)) for one in variables if id(one) not in apart]

    @tf.function(input_signature=[*signature, *weights])
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
            # Without catching errors: for that the whole graph is copied before each pass.
            converted = optimizer.optimize_graph(converted, False, _PASSES)
            model = converted.make_model("keras_espmedsam")
    _put_in(model, dict(zip(names[count:], large, strict=True)))
    return model


def _frozen(concrete, inputs, outputs):
    """The graph of a concrete function, without functions within and without what it captured."""
    graph = concrete.graph.as_graph_def(add_shapes=True)
    if concrete.captured_inputs or graph.library.function:
        return tf_loader.from_function(concrete, inputs, outputs)
    with tf.Graph().as_default():
        tf.import_graph_def(graph, name="")
        return tf_loader.tf_optimize(inputs, outputs, graph)


def _names(variables):
    """Of each its path, which a viewer shows; a number is added where two have the same."""
    seen = collections.Counter()
    names = []
    for one in variables:
        seen[one.path] += 1
        names.append(one.path if seen[one.path] == 1 else f"{one.path}_{seen[one.path]}")
    return names


def _put_in(model, weights):
    """Make constants of inputs, and of what is made of constants alone and takes no more space."""
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
        value = values.pop(name)  # Each is let go as the next is copied.
        if name in read:
            graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))


def _folded(node, values, small):
    """The outputs of a node of large constants, by name, or `None`."""
    known = {**{name: small[name] for name in node.input if name in small}}
    known |= {name: values[name] for name in node.input if name in values}
    if not node.input or len(known) < len(set(node.input)) or not known.keys() & values.keys():
        return None
    outputs = ReferenceEvaluator(node).run(None, known)
    size = sum(one.nbytes for one in known.values())
    if sum(one.nbytes for one in outputs) > size:
        return None
    return dict(zip(node.output, outputs, strict=True))
