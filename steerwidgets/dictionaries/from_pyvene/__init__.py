"""What pyvene's interventions learned, read without running them."""
