"""The formats of files that images and masks are read from."""
