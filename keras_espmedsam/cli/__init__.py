"""The command line, `espmedsam`. Keras is imported by the commands that need it, not here."""
