"""PatchGrid: which block and token carry the answer."""
