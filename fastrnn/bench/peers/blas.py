"""fastrnn with FASTRNN_BLAS=1, which the process has: every product by SciPy's BLAS."""

import fastrnn

from .fastrnn import Peer as Own


class Peer(Own):
    def __init__(self, threads):
        super().__init__(threads)
        found = set(fastrnn.show_config()["blas"].values())
        if found != {"forward and BPTT"}:
            raise RuntimeError(f"FASTRNN_BLAS: expected forward and BPTT by BLAS, found {', '.join(sorted(found))}")
