"""PyTorch: modules, state dicts and their files."""
