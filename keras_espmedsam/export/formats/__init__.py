"""The formats that a task is exported to."""
