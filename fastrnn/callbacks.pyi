from .train.callbacks import *
