"""`Trainer`, and what it has: its parts, data, loop, updates, evaluation, position, and the state in checkpoints."""
