"""Images as arrays: values, sizes and their undoing. NumPy and Pillow only, no Keras."""
