"""The command line, `espmedsam`. Only the commands that need Keras import it."""
