"""DoseResponse: what a strength does, judged beside its controls."""
