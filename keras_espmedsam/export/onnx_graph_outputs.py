"""Leave outputs out of an ONNX file."""


def keep_outputs(path, names):
    """Keep only some outputs of an ONNX file, in place, in their order.

    Args:
        path: the file.
        names: of the outputs to keep.
    """
    import onnx

    model = onnx.load(str(path))
    outputs = {one.name: one for one in model.graph.output}
    del model.graph.output[:]
    model.graph.output.extend(outputs[name] for name in names)
    onnx.save(model, str(path))
