"""Dictionaries: sets of features at one site. A new kind is one new file."""
