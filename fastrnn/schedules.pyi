from .train.schedules import *
