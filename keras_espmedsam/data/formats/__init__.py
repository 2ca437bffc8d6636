"""The file formats of images and masks."""
