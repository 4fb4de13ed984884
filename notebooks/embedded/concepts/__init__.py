"""Concept vectors, ReFT-r1 concepts and the mixture, and the texts they were made from."""
