from .train.averaging import *
