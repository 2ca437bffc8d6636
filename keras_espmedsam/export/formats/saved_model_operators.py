"""Check a SavedModel's operators before it is loaded: only mathematics is allowed.

TensorFlow's operators read and write files, start Python functions and call other machines, and
loading a SavedModel already runs some of its functions.
"""

from pathlib import Path

from keras_espmedsam._shown import shown
from keras_espmedsam.errors import InputError
from keras_espmedsam.export.formats.refusal import refuse_unknown

# Numbers in, numbers out: those of this package's exports, and similar ones for other encoders.
_MATHEMATICS = frozenset(
    """
    Abs Acos Acosh Add AddN AddV2 All Angle Any ApproximateEqual ArgMax ArgMin Asin Asinh Atan Atan2
    Atanh AvgPool BatchMatMul BatchMatMulV2 BatchMatMulV3 BatchToSpaceND BiasAdd BiasAddV1 Bincount
    Bitcast BitwiseAnd BitwiseOr BitwiseXor BroadcastArgs BroadcastTo Bucketize Cast Ceil
    CheckNumerics ClipByValue Concat ConcatV2 Const Conv2D Conv2DBackpropInput Conv3D Cos Cosh Cross
    Cumprod Cumsum DepthToSpace DepthwiseConv2dNative Dequantize Diag DiagPart Div DivNoNan Einsum
    Elu EnsureShape Equal Erf Erfc Erfinv Exp ExpandDims Expm1 ExtractImagePatches Fill Floor
    FloorDiv FloorMod FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 Gather GatherNd GatherV2
    Greater GreaterEqual GuaranteeConst Identity IdentityN Inv Invert IsFinite IsInf IsNan L2Loss
    LRN LeakyRelu LeftShift Less LessEqual Lgamma LinSpace Log Log1p LogSoftmax LogicalAnd
    LogicalNot LogicalOr MatMul MatrixBandPart MatrixDiag MatrixDiagV3 Max MaxPool MaxPoolV2 Maximum
    Mean Min Minimum MirrorPad Mod Mul MulNoNan Neg NoOp NotEqual OneHot OnesLike Pack Pad PadV2
    Placeholder PlaceholderWithDefault Pow PreventGradient Prod QuantizeAndDequantizeV2
    QuantizeAndDequantizeV3 QuantizeV2 Range Rank ReadVariableOp RealDiv Reciprocal Relu Relu6
    Reshape ResizeBicubic ResizeBilinear ResizeNearestNeighbor ResourceGather ResourceGatherNd
    Reverse ReverseV2 RightShift Rint Roll Round Rsqrt ScatterNd Select SelectV2 Selu Shape ShapeN
    Sigmoid Sign Sin Sinh Size Slice Snapshot Softmax Softplus Softsign SpaceToBatchND SpaceToDepth
    Split SplitV Sqrt Square SquaredDifference Squeeze StopGradient StridedSlice Sub Sum Tan Tanh
    TensorScatterUpdate Tile TopKV2 Transpose TruncateDiv TruncateMod Unpack Where Xdivy Xlogy
    ZerosLike
    """.split()
)
_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
# TensorFlow adds these to save and restore variables. Neither loading nor calling runs them; in a
# function that can be called they would read and write any file.
_SAVING = frozenset(
    """
    AssignVariableOp DisableCopyOnRead MergeV2Checkpoints RestoreV2 SaveV2 ShardedFilename
    StaticRegexFullMatch StringJoin VarHandleOp VarIsInitializedOp
    """.split()
)
_OBJECTS = frozenset(
    {"user_object", "variable", "function", "bare_concrete_function", "constant", "captured_tensor"}
)
_MAX_OPERATIONS = 5_000_000


def check_saved_model(path):
    """Raise for a SavedModel with operators, or parts that loading runs, beyond mathematics.

    Args:
        path: the folder.

    Raises:
        InputError: for these, and for one that TensorFlow would load by older rules.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    if (Path(path) / "saved_model.cpb").exists():  # TensorFlow would read it instead.
        raise _unlike(path, "is split into parts")
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((Path(path) / "saved_model.pb").read_bytes())
    graphs = saved.meta_graphs
    if len(graphs) != 1 or not graphs[0].HasField("object_graph_def"):
        raise _unlike(path, "is not one of TensorFlow 2")
    graph, objects = graphs[0].graph_def, graphs[0].object_graph_def
    functions = {one.signature.name: one for one in graph.library.function}
    called = _called(path, functions, objects.concrete_functions)
    refuse_unknown(path, "SavedModel", _unfit(graph, functions, called, objects))


def _unfit(graph, functions, called, objects):
    """Yield names of everything that is not mathematics."""
    for node in graph.node:
        if node.op not in _MATHEMATICS | _CALLS | _SAVING:
            yield node.op
    for name, function in functions.items():
        operators = {node.op for node in function.node_def}
        # A function that can replace another can be called.
        saves = name not in called and not any("api" in key for key in function.attr)
        yield from operators - _MATHEMATICS - _CALLS - (_SAVING if saves else frozenset())
    for one in objects.nodes:
        if one.WhichOneof("kind") not in _OBJECTS:
            yield f"object {one.WhichOneof('kind')}"
        if one.saveable_objects or one.registered_saver:
            yield "object with functions that save it"


def _called(path, functions, first):
    """Return names of functions that can be called, also inside others; none calls itself."""
    counts = {}

    def count(name, above):
        if name in above:
            raise _unlike(path, "has a function that calls itself")
        if len(above) > 200:
            raise _unlike(path, "has functions nested too deeply")
        if name not in counts:
            nodes = functions[name].node_def if name in functions else ()
            within = [inner for node in nodes for inner in _functions_of(node)]
            counts[name] = len(nodes) + sum(count(inner, {*above, name}) for inner in within)
            if counts[name] > _MAX_OPERATIONS:
                raise _unlike(path, f"has more than {_MAX_OPERATIONS:,} operations")
        return counts[name]

    for name in first:
        count(name, frozenset())
    return set(counts)


def _functions_of(node):
    for value in node.attr.values():
        if value.HasField("func"):
            yield value.func.name
        yield from (one.name for one in value.list.func)


def _unlike(path, why):
    return InputError(
        f"The SavedModel {shown(Path(path))} {why}, unlike those of this package. If you trust "
        "who made it, run it with --trust on the command line, or trust=True in Python."
    )
