"""The text of a model's config.pbtxt, from its description."""

_TYPES = {"uint8": "TYPE_UINT8", "int32": "TYPE_INT32", "float32": "TYPE_FP32"}


def config_text(description):
    """Return the configuration of a model for Triton.

    Images differ in size, so that Triton cannot put them into one batch: `max_batch_size` is 0.
    Triton chooses a GPU where there is one.

    Args:
        description: dict with `name`, `inputs` and `outputs`; `None` in a shape is open.

    Example:
        >>> image = {"image": {"dtype": "uint8", "shape": [None, None, 3]}}
        >>> masks = {"masks": {"dtype": "uint8", "shape": [None, None]}}
        >>> print(config_text({"name": "eye", "inputs": image, "outputs": masks}))
        name: "eye"
        backend: "onnxruntime"
        max_batch_size: 0
        input [ { name: "image" data_type: TYPE_UINT8 dims: [ -1, -1, 3 ] } ]
        output [ { name: "masks" data_type: TYPE_UINT8 dims: [ -1, -1 ] } ]
        <BLANKLINE>

    Source: Triton's `model_config.proto`.
    """
    lines = [f'name: "{description["name"]}"', 'backend: "onnxruntime"', "max_batch_size: 0"]
    for field, key in (("input", "inputs"), ("output", "outputs")):
        for name, tensor in description[key].items():
            dims = ", ".join("-1" if side is None else str(side) for side in tensor["shape"])
            lines.append(
                f'{field} [ {{ name: "{name}" data_type: {_TYPES[tensor["dtype"]]} '
                f"dims: [ {dims} ] }} ]"
            )
    return "\n".join(lines) + "\n"
