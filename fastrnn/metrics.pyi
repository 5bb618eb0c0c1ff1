from .train.metrics import *
