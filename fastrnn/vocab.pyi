from .data.vocab import *
