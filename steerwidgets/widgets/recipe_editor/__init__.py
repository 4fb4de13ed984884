"""Finding features and setting their strengths: what the panel and the picker share."""
