"""Import torchvision beside a PyTorch that it was not built for.

A torchvision for CUDA beside PyTorch for CPUs lacks its compiled operators, and fails on import
where it describes them to the compiler. Encoders use none of them.
"""

import importlib
import sys
import types


def import_torchvision():
    """Import torchvision, without the description of operators that are not there."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in [one for one in sys.modules if one.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        name = "torchvision._meta_registrations"
        sys.modules[name] = types.ModuleType(name)
        importlib.import_module("torchvision")
