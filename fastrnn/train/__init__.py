"""The parts of training: losses, optimizers, schedules, averages, metrics, callbacks; `fit` uses them all."""
