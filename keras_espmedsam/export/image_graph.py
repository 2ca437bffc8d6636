"""Put what is done before and after a model into its ONNX graph: images of any size in.

The graph needs ONNX' standard operators alone. It resizes by products with matrices of weights,
because ONNX Runtime's own resizing with antialiasing does not give Pillow's numbers: they differ by
up to 11 of 255 grey levels in an image of noise.
"""

import numpy as np

from keras_espmedsam.export.target_planes import labels_by_group, num_planes
from keras_espmedsam.imaging.placement import SIZE_MULTIPLE
from keras_espmedsam.imaging.probability_calibration import OPTIONS

INPUTS = ("image", "modality")
FURTHER = {"quality": "quality", "scope_score": "scope_score"}
_CORE = "model_"
# A mirror of `Placement.of`: in float64, and rounded to the nearest even number.
_PLACED = """
    size_d = Cast<to=11>(size)
    canvas_d = Cast<to=11>(canvas)
    ratios = Div(canvas_d, size_d)
    ratio = ReduceMin<keepdims=1>(ratios)
    scaled = Mul(size_d, ratio)
    rounded = Round(scaled)
    whole = Cast<to=7>(rounded)
    least = Max(whole, ones)
    inner = Min(least, canvas)"""
_STRETCHED = "\n    inner = Identity(canvas)"
_BEFORE = """
agraph (uint8[height, width, 3] image, int32[1] modality) => (float[1, rows, columns, 3] images) {{
    size = Shape<start=0, end=2>(image)
    ones = Constant<value_ints=[1, 1]>()
    {canvas}{place}
    {across}
    {down}
    pixels = Cast<to=1>(image)
    planes = Transpose<perm=[2, 0, 1]>(pixels)
    narrow = MatMul(planes, across)
    small = MatMul(down, narrow)
    centred = Sub(small, mean)
    normal = Div(centred, divisor)
    beyond = Sub(canvas, inner)
    none = Constant<value_ints=[0, 0, 0, 0]>()
    pads = Concat<axis=0>(none, beyond)
    padded = Pad(normal, pads)
    last = Transpose<perm=[1, 2, 0]>(padded)
    zero = Constant<value_ints=[0]>()
    images = Unsqueeze(last, zero)
}}"""
_AFTER = """
agraph (float[1, rows, columns, channels] model_masks, int32[1] modality, int64[2] size,
        int64[2] inner) => (uint8[height, width, planes] masks,
                            float[height, width, planes] probabilities) {{
    after_zero = Constant<value_ints=[0]>()
    logits = Squeeze(model_masks, after_zero)
    all_first = Transpose<perm=[2, 0, 1]>(logits)
    three_zeros = Constant<value_ints=[0, 0, 0]>()
    kept = Concat<axis=0>(num_planes, inner)
    first = Slice(all_first, three_zeros, kept)
    on_canvas = Sigmoid(first)
    {back_across}
    {back_down}
    tall = MatMul(back_down, on_canvas)
    p = MatMul(tall, back_across)
    {probabilities}
    {masks}
    {outputs}
}}"""


def image_graph(core, targets, canvases, normalization, resize_mode="pad", calibration=None):
    """Build the graph of an image of any size around a model of normalised images.

    Its results are those of `segment` with `postprocess=False`, but that probabilities of targets
    that a modality does not have are 0.

    Args:
        core: `onnx.ModelProto` of the flavor `logits`: `images` and, for several modalities,
            `modalities`, in; `masks` and further outputs out.
        targets: the model's `Targets`.
        canvases: for each modality the (height, width) of the model's images; `None` for the
            image's own size, padded to a multiple of 32.
        normalization: mean and divisor of 8-bit values, each of three channels.
        resize_mode: one of `keras_espmedsam.imaging.placement.RESIZE_MODES`.
        calibration: the model's `probability_calibration`.

    Returns:
        `onnx.ModelProto` with the inputs `image`, uint8 `(height, width, 3)`, and, if the model
        takes modalities, `modality`, int32 `(1,)`; and the outputs `masks`, uint8 0 and 1, and
        `probabilities`, float32, both `(height, width)` or, for several targets,
        `(height, width, targets)`; `quality` `(channels,)` and `scope_score` `(1,)` if the model
        has them.

    Source: Pillow's `Image.resize` with its bilinear filter, for the weights of pixels.
    """
    import onnx
    from onnx import compose, helper, numpy_helper, parser

    several = any(one.name == "modalities" for one in core.graph.input)
    tables = _tables(targets, canvases, normalization, calibration)
    before = parser.parse_graph(_before(canvases, resize_mode))
    after = parser.parse_graph(_after(targets, calibration))
    opset = [one for one in core.opset_import if one.domain in ("", "ai.onnx")]
    # Of the model, so that no name of one part is one of another.
    core = compose.add_prefix(core, _CORE)
    nodes = list(before.node)
    nodes.append(helper.make_node("Identity", ["images"], [f"{_CORE}images"]))
    inputs, outputs = list(before.input), list(after.output)
    if several:
        nodes.append(helper.make_node("Identity", ["modality"], [f"{_CORE}modalities"]))
    else:
        inputs = inputs[:1]
        tables["modality"] = np.zeros(1, "int32")
    nodes += [*core.graph.node, *after.node]
    if _planes(targets) == 1:
        shape = ["height", "width"]
        outputs = [
            helper.make_tensor_value_info(one.name, one.type.tensor_type.elem_type, shape)
            for one in outputs
        ]
    for output in core.graph.output:
        name = output.name.removeprefix(_CORE)
        if name in FURTHER:
            nodes += _further(name, tables)
            length = 1 if name == "scope_score" else targets.num_channels
            outputs.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [length]))
    read = {name for node in nodes for name in node.input}
    constants = [
        numpy_helper.from_array(value, name) for name, value in tables.items() if name in read
    ]
    graph = helper.make_graph(
        nodes, core.graph.name, inputs, outputs, [*core.graph.initializer, *constants]
    )
    model = helper.make_model(graph, opset_imports=opset, ir_version=core.ir_version)
    model.producer_name = "keras_espmedsam"
    onnx.checker.check_model(model, full_check=False)
    return model


def _further(name, tables):
    from onnx import helper

    if name == "scope_score":
        return [helper.make_node("Identity", [f"{_CORE}{name}"], [name])]
    tables |= {"lowest": np.float32(0), "highest": np.float32(1), "rows_axis": np.array([0])}
    return [
        helper.make_node("Squeeze", [f"{_CORE}{name}", "rows_axis"], ["own_quality"]),
        helper.make_node("Clip", ["own_quality", "lowest", "highest"], [name]),
    ]


def _planes(targets):
    """Return the number of masks, 1 only if the model has one channel, as in other exports."""
    return num_planes(targets) if targets.num_channels > 1 else 1


def _before(canvases, resize_mode):
    if canvases[0] is None:
        canvas = """thick = Constant<value_ints=[31, 31]>()
    thirty_two = Constant<value_ints=[32, 32]>()
    more = Add(size, thick)
    steps = Div(more, thirty_two)
    canvas = Mul(steps, thirty_two)"""
        assert SIZE_MULTIPLE == 32
        place = "\n    inner = Identity(size)"
    else:
        canvas = """row = Gather<axis=0>(canvases, modality)
    row_axis = Constant<value_ints=[0]>()
    canvas = Squeeze(row, row_axis)"""
        place = _STRETCHED if resize_mode == "stretch" else _PLACED
    return _BEFORE.format(
        canvas=canvas,
        place=place,
        across=_weights("across", "size", "inner", 1),
        down=_weights("down", "size", "inner", 0),
    )


def _after(targets, calibration):
    nested = any(targets.nested.values())
    lines, name = [], "p"

    def then(*nodes):
        nonlocal name
        name = f"p{len(lines)}"
        lines.extend(one.replace("$", name) for one in nodes)

    def nest():
        for _ in range(_depth(targets)):
            before = name
            then(f"$_outer = Gather<axis=0>({before}, outer)", f"$ = Min({before}, $_outer)")

    lines += ["own_row = Gather<axis=0>(own, modality)"]
    lines += ["own_column = Transpose<perm=[1, 0]>(own_row)"]
    lines += ["axis_two = Constant<value_ints=[2]>()"]
    lines += ["is_own = Unsqueeze(own_column, axis_two)"]
    if nested:
        lines += ["outer_row = Gather<axis=0>(outers, modality)"]
        lines += ["outer = Squeeze(outer_row, after_zero)"]
        nest()
    if calibration:
        before = name
        for option in ("temperature", "bias"):
            lines += [
                f"{option}_row = Gather<axis=0>({option}s, modality)",
                f"{option}_column = Transpose<perm=[1, 0]>({option}_row)",
                f"{option} = Unsqueeze({option}_column, axis_two)",
            ]
        then(
            f"$_cut = Clip({before}, smallest, largest)",
            "$_log = Log($_cut)",
            "$_rest = Sub(one, $_cut)",
            "$_log_rest = Log($_rest)",
            "$_logits = Sub($_log, $_log_rest)",
            "$_cooled = Div($_logits, temperature)",
            "$_moved = Add($_cooled, bias)",
            "$_found = Sigmoid($_moved)",
            # As `calibrated`, which leaves the others as they are.
            "$_same_temperature = Equal(temperature, one)",
            "$_same_bias = Equal(bias, nought)",
            "$_same = And($_same_temperature, $_same_bias)",
            f"$ = Where($_same, {before}, $_found)",
        )
        if nested:
            nest()
    before = name
    then(f"$ = Where(is_own, {before}, nought)")
    return _AFTER.format(
        back_across=_weights("back_across", "inner", "size", 1),
        back_down=_weights("back_down", "inner", "size", 0),
        probabilities="\n    ".join(lines),
        masks="\n    ".join(_masks(targets, name)),
        outputs="\n    ".join(_outputs(targets, name)),
    )


def _masks(targets, p):
    """Return the nodes that make masks `m` of probabilities: as `target_masks`, without rules."""
    lines = [f"m0 = GreaterOrEqual({p}, half)"]
    number = 0
    for group in range(len(labels_by_group(targets))):
        lines += [
            f"g{group}_row = Gather<axis=0>(group_{group}, modality)",
            f"g{group}_column = Transpose<perm=[1, 0]>(g{group}_row)",
            f"g{group} = Unsqueeze(g{group}_column, axis_two)",
            f"g{group}_of = Greater(g{group}, nought)",
            f"g{group}_p = Where(g{group}_of, {p}, minus_one)",
            f"g{group}_best = ReduceMax<keepdims=1>(g{group}_p, after_zero)",
            f"g{group}_is_best = Equal(g{group}_p, g{group}_best)",
            f"g{group}_labels = Where(g{group}_is_best, g{group}, many)",
            f"g{group}_first = ReduceMin<keepdims=1>(g{group}_labels, after_zero)",
            f"g{group}_wins = Equal(g{group}, g{group}_first)",
            f"g{group}_free = Not(g{group}_of)",
            f"g{group}_keeps = Or(g{group}_wins, g{group}_free)",
            f"m{number + 1} = And(m{number}, g{group}_keeps)",
        ]
        number += 1
    for _ in range(_depth(targets)):
        lines += [
            f"m{number}_outer = Gather<axis=0>(m{number}, outer)",
            f"m{number + 1} = And(m{number}, m{number}_outer)",
        ]
        number += 1
    # Without padding of a number that no target has.
    return [*lines, f"own_masks = And(m{number}, is_own)"]


def _outputs(targets, p):
    if _planes(targets) == 1:
        return [
            "byte = Cast<to=2>(own_masks)",
            "masks = Squeeze(byte, after_zero)",
            f"probabilities = Squeeze({p}, after_zero)",
        ]
    return [
        "byte = Cast<to=2>(own_masks)",
        "masks = Transpose<perm=[1, 2, 0]>(byte)",
        f"probabilities = Transpose<perm=[1, 2, 0]>({p})",
    ]


def _depth(targets):
    """Return how many targets lie around the innermost one."""

    def outside(pairs, name):
        return 1 + outside(pairs, pairs[name]) if name in pairs else 0

    return max(
        (outside(pairs, name) for pairs in targets.nested.values() for name in pairs), default=0
    )


def _weights(name, source, target, axis):
    """Return the nodes that compute weights of a resized axis: Pillow's triangles, in float64.

    Args:
        name: of the result: `(target, source)` for rows, transposed for columns.
        source, target: names of the (height, width) before and after.
        axis: 0 for rows, 1 for columns.
    """
    lines = f"""
    $axis = Constant<value_int={axis}>()
    $begin = Constant<value_int=0>()
    $step = Constant<value_int=1>()
    $from = Gather<axis=0>({source}, $axis)
    $to = Gather<axis=0>({target}, $axis)
    $from_d = Cast<to=11>($from)
    $to_d = Cast<to=11>($to)
    $scale = Div($from_d, $to_d)
    $width = Max($scale, one_d)
    $new = Range($begin, $to, $step)
    $new_d = Cast<to=11>($new)
    $new_middle = Add($new_d, half_d)
    $centres = Mul($new_middle, $scale)
    $old = Range($begin, $from, $step)
    $old_d = Cast<to=11>($old)
    $old_middle = Add($old_d, half_d)
    $first = Constant<value_ints=[0]>()
    $second = Constant<value_ints=[1]>()
    $old_line = Unsqueeze($old_middle, $first)
    $centre_line = Unsqueeze($centres, $second)
    $offset = Sub($old_line, $centre_line)
    $distance = Abs($offset)
    $share = Div($distance, $width)
    $slope = Sub(one_d, $share)
    $triangle = Max($slope, nought_d)
    $total = ReduceSum<keepdims=1>($triangle, $second)
    $exact = Div($triangle, $total)
    $single = Cast<to=1>($exact)
    """
    perm = "[1, 0]" if axis else "[0, 1]"
    return f"{lines}{name} = Transpose<perm={perm}>($single)".replace("$", f"{name}_").strip()


def _tables(targets, canvases, normalization, calibration):
    """Return the constants: of each modality its canvas and, of each plane, what is done to it."""
    planes = _planes(targets)
    names = [targets.of(modality) for modality in targets.modalities]
    own = np.zeros((len(names), planes), bool)
    outers = np.tile(np.arange(planes), (len(names), 1))
    options = {key: np.full(own.shape, value, "float32") for key, value in OPTIONS.items()}
    for i, modality in enumerate(targets.modalities):
        own[i, : len(names[i])] = True
        for inner, outer in targets.nested.get(modality, {}).items():
            outers[i, names[i].index(inner)] = names[i].index(outer)
        for name, values in ((calibration or {}).get(modality) or {}).items():
            for key, value in values.items():
                options[key][i, names[i].index(name)] = value
    groups = labels_by_group(targets).transpose(0, 2, 1).astype("float32")
    mean, divisor = (np.reshape(np.float32(one), (3, 1, 1)) for one in normalization)
    found = {
        "own": own,
        "outers": outers,
        **{f"{key}s": values for key, values in options.items()},
        **{f"group_{number}": table for number, table in enumerate(groups)},
        "mean": mean,
        "divisor": divisor,
        "num_planes": np.array([planes]),
        "smallest": np.float32(1e-7),
        "largest": np.float32(1 - 1e-7),
        "half": np.float32(0.5),
        "one": np.float32(1),
        "nought": np.float32(0),
        "minus_one": np.float32(-1),
        "many": np.float32(1e6),
        "nought_d": np.float64(0),
        "half_d": np.float64(0.5),
        "one_d": np.float64(1),
    }
    if canvases[0] is not None:
        found["canvases"] = np.array(canvases, "int64")
    return {name: np.asarray(value) for name, value in found.items()}
