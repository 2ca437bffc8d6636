"""Formats of files that images and masks are read from.

An entry is a class derived from `keras_espmedsam.data.FileFormat`, made without arguments. The
last one is asked first whether a file is of its format, so that another package's goes before
ours.
"""

from keras_espmedsam.registries.registry import Registry

_PACKAGE = "keras_espmedsam.data.formats"

file_formats = Registry(
    "file_formats",
    "file format",
    {
        "raster": f"{_PACKAGE}.raster:RasterFormat",
        "nifti": f"{_PACKAGE}.nifti:NiftiFormat",
        "tiff": f"{_PACKAGE}.tiff:TiffFormat",
        # Asked before TIFF: its free preamble may hold a TIFF header, so that TIFF viewers open it.
        "dicom": f"{_PACKAGE}.dicom:DicomFormat",
    },
)
