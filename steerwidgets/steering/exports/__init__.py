"""A recipe in the forms of others: control vectors, steering specs, pyvene, code that runs by itself, biases."""
