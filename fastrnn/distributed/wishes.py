"""What one rank wishes and all do: that a fit stop, or be interrupted."""


class Wishes:
    """Wishes for a stop and an interrupt: taken in on any rank, granted on all once their counts are summed.

    Attributes
    ----------
    stop, interrupt : bool
        Granted.
    """

    def __init__(self):
        self.clear()

    def clear(self):
        """Forget all wishes, as a fit begins."""
        self.stop = self.interrupt = False
        self._wanted = {"stop": False, "interrupt": False}

    def want(self, name):
        """Wish for a "stop" or an "interrupt" on this rank."""
        self._wanted[name] = True

    def counts(self):
        """This rank's wishes as numbers, which all ranks add up."""
        return [float(wanted) for wanted in self._wanted.values()]

    def heed(self, counts):
        """Grant what any of the ranks wishes."""
        stop, interrupt = counts
        self.stop = self.stop or stop > 0
        self.interrupt = self.interrupt or interrupt > 0
