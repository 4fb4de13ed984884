"""Makes what the embedded dictionaries are trained on and shown with: the corpus and the labelled texts."""
