"""The widgets: a folder each, on one protocol."""
