"""`Trainer` and its components: parts, data, loop, updates, evaluation, position, and the state in checkpoints."""
