"""What training is made of: losses, optimizers, schedules, averages, metrics, callbacks; `fit` puts them together."""
