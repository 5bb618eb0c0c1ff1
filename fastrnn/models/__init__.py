"""Whole networks, character models and encoder-decoders, and `save` and `load` for every kind."""
