"""Making dictionaries from texts."""
