"""Ops, positions and recipes, and the hooks that carry them out."""
