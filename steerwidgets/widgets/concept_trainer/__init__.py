"""ConceptTrainer: from two lists of texts to a direction that steers."""
