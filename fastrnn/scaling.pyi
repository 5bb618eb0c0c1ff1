from .data.scaling import *
