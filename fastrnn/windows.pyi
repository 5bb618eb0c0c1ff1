from .data.windows import *
