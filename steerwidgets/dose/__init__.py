"""Dose and response: what a strength does, judged over prompts and seeds, beside its controls."""
