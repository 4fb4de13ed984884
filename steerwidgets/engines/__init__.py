"""Models that run elsewhere: what is asked of them here, and who carries it there."""
