from .data.audio import *
