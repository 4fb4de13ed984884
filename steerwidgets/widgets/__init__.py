"""The widgets: one file each, on one protocol."""
