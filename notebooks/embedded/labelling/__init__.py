"""Labels of the features: sheets for readers, tests, scores, steering."""
