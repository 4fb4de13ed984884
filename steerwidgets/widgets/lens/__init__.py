"""LogitLens: what every block would say next."""
