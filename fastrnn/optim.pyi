from .train.optim import *
