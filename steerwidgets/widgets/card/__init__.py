"""FeatureCard: the evidence of one feature."""
