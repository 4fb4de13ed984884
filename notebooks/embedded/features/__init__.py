"""What the features do on the corpus: examples, histograms, neighbours."""
