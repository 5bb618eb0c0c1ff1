"""Inputs of networks from texts, series and sounds: windows, scales, vocabularies, batches."""
