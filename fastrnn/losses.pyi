from .train.losses import *
