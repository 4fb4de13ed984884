"""The questions of a lab, and the lab that keeps their answers."""
