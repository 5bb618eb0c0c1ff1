"""The compiled engine. The modules inside are private; their Cython sources lie in ``src/fastrnn/engine``."""
