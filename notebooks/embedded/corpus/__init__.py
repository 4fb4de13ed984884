"""The texts that the embedded dictionaries were trained on."""
