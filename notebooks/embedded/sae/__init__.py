"""The sparse autoencoder: layer, activations, training, report."""
