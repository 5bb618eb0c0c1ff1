"""The limits that a verdict rests on; the package's docstring says what each is compared with, and whose it is."""

FALL = 1e-3  # of g(1): a gradient that stays under it has vanished
RISE = 1e3  # of g(1): one that comes over it has exploded

LEFT, RIGHT = 0.1, 0.9  # a sigmoid value under or over is saturated (Karpathy et al. 2015)
SLOPE = 0.01  # of a sigmoid or tanh, over its largest: the gradient is divided by a hundred
HOLDING_SLOPE = 0.001  # the same where a forget or update gate is open: it is meant to hold
MOST_STEPS = 0.95  # a unit with such slopes in this part of the steps is stuck
MOST_UNITS = 0.5  # a gate, or a layer, with more than this part of its units stuck or dead is at fault

LARGE_UPDATE, SMALL_UPDATE = 1e-1, 1e-5  # of the parameters' norm; 1e-3 is the rule (Hinton 2012)

BINS = 20  # of a histogram
