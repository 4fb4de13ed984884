"""Mixtures of factor analysers: regions of activation space, each with a centroid and loadings."""
