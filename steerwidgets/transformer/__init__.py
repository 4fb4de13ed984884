"""A loaded model: its parts, its tokens, its residual streams. Nothing here knows of features."""
