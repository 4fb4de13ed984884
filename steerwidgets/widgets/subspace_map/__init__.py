"""Features on a map, the tokens of a component, and a target that steers."""
