"""Keras: models, layers and their files."""
