"""What several tests share: tiny models, tiny tokenizers, and reference formulas that use nothing of steerwidgets."""
