"""Baseline and steered text, as rows of one batch that share their sampling noise."""
