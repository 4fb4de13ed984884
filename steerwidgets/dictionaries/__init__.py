"""Dictionaries: sets of features at one site. A kind is a folder here."""
