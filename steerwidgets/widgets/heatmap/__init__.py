"""TokenHeatmap: a text as its tokens, coloured by features."""
