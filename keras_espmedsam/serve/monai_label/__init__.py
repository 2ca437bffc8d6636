"""The REST contract of MONAI Label, for its plugins in viewers (3D Slicer, QuPath and others)."""
