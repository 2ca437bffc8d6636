"""Which devices the backend sees."""

import keras


def device_names() -> list[str]:
    """List the backend's devices, as `keras.distribution.list_devices`, on PyTorch too.

    Returns:
        Names such as `["cpu:0"]` or `["cuda:0", "cuda:1"]`.

    Example:
        >>> len(device_names()) > 0
        True
    """
    if keras.backend.backend() != "torch":
        return keras.distribution.list_devices()
    import torch

    # Keras 3.15 has no list for PyTorch. PyTorch 2.6 raises for the accelerator that is not there.
    available = torch.accelerator.is_available()
    accelerator = torch.accelerator.current_accelerator() if available else None
    if accelerator is None:
        return ["cpu"]
    return [f"{accelerator.type}:{i}" for i in range(torch.accelerator.device_count())]
