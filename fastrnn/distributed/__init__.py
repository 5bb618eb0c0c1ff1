"""Training by several processes together, on one machine or many, over MPI (``pip install "fastrnn[mpi]"``).

`DistributedTrainer` is a `Trainer` whose batches are shared out. Start the program with
``mpiexec -n 2 python -m fastrnn.distributed train.py``: then the others outlive a process that dies for long enough
to save what has been reached.
"""

from .ranks import RankError, Ranks
from .trainer import DistributedTrainer

__all__ = ["DistributedTrainer", "RankError", "Ranks"]
