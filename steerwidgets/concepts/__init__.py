"""One concept from two lists of texts: its direction in every block, and how well each tells held-out texts apart."""
