"""SteeringPanel: baseline and steered text side by side."""
