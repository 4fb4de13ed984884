"""Whether a feature does what its label says."""
