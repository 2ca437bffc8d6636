"""Random changes of how an image looks, a file for each; its mask stays as it is."""
