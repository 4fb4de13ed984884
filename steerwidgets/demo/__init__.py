"""The embedded default: a small model, and dictionaries and labels made for it, that need no account and no GPU."""
