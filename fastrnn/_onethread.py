"""BLAS held to the calling thread while our own threads, or many small factorisations, are at work."""

import sys
import threading


class OneThread:
    """A context in which BLAS starts no threads; any number of callers may be in it, the last one out puts its setting
    back. Spinning BLAS threads slowed 256 x 256 factorisations down by 10 to 80 times on two busy cores."""

    def __init__(self):
        self._lock = threading.Lock()
        self._inside = 0
        self._limit = self._controller = self._libraries = None

    def held(self):
        return self

    def __enter__(self):
        with self._lock:
            if self._inside == 0:
                self._limit = self._current().limit(limits=1, user_api="blas")
            self._inside += 1

    def __exit__(self, *_):
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._limit.restore_original_limits()

    def _current(self):
        """The controller of the BLAS libraries loaded now; a search takes a millisecond, SciPy may bring another."""
        libraries = "scipy.linalg.cython_blas" in sys.modules
        if self._libraries != libraries:
            import threadpoolctl
            self._controller, self._libraries = threadpoolctl.ThreadpoolController(), libraries
        return self._controller


one_thread = OneThread()
