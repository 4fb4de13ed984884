"""Sparse autoencoders, of every architecture and file of the field."""
