from .data.bpe import *
