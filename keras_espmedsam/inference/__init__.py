"""Images in, masks out: of arrays and of files. Importing this does not import Keras."""
