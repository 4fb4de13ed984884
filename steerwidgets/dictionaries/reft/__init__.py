"""ReFT-r1: one matrix that detects concepts and steers with them."""
