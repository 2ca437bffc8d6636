"""Several devices that share a batch."""
