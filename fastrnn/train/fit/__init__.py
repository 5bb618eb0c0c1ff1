"""`Trainer`: its loop, its parts, the data that it reads and the state that checkpoints hold."""
