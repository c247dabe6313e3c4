"""Models: how they are built, loaded, asked and told apart."""
