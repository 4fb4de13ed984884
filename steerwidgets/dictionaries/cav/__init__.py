"""Concept vectors: directions that texts, files or other tools give."""
