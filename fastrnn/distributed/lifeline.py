"""One TCP connection from every rank to rank 0, over which it is seen at once that a process has ended.

MPI itself does not tell: a collective operation whose partner was killed just never completes. The operating system
does: it closes the connections of a process that ends, however it ends. Rank 0 passes on what it sees.
"""

import hmac
import json
import os
import secrets
import selectors
import socket
import time

PATIENCE = 30.0  # seconds that the connections may take when a run starts
KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}  # a host that vanishes: noticed in 30 s


class Lifeline:
    """What this rank knows of the others' ends.

    Parameters
    ----------
    rank, size : int
    broadcast : callable
        Takes rank 0's bytes on rank 0 and anything elsewhere; returns rank 0's bytes on every rank.
    local : bool
        Whether all ranks are on one host; then nothing is open to others.

    Attributes
    ----------
    ended : dict of rank -> str
        How each rank came to an end, as far as it is known; those that said goodbye not among them.
    left : set of int
        Ranks that have said goodbye.
    failed : dict of rank -> (int, str)
        The work in which each rank failed last, by number, and its error.
    """

    def __init__(self, rank, size, broadcast, local):
        self.rank, self.size = rank, size
        self.ended, self.left, self.failed = {}, set(), {}
        self._peers = {}  # rank -> socket
        self._unread = {}  # rank -> bytes of a message that is not whole
        self._selector = selectors.DefaultSelector()
        try:
            self._connect(broadcast, local)
        except OSError:
            self.close()
            raise
        if hasattr(os, "register_at_fork"):  # a copy held by a child would hide our end
            os.register_at_fork(after_in_child=self.close)

    def _connect(self, broadcast, local):
        token = secrets.token_hex(16)
        if self.rank == 0:
            try:
                server = socket.create_server(("127.0.0.1" if local else "", 0), backlog=self.size)
            except OSError:
                broadcast(b"null")
                raise
            with server:
                names = ["127.0.0.1"] if local else [socket.getfqdn(), socket.gethostname(), *_addresses()]
                broadcast(json.dumps([names, server.getsockname()[1], token]).encode())
                self._accept(server, token)
        else:
            address = json.loads(broadcast(b""))
            if address is None:
                raise OSError("rank 0 cannot listen")
            names, port, token = address
            peer = _reach(names, port)
            peer.sendall(f"{token} {self.rank:12d}".encode())
            self._peers[0] = peer
        for rank, peer in self._peers.items():
            self._unread[rank] = b""
            self._selector.register(peer, selectors.EVENT_READ, rank)
            peer.setblocking(False)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for option, value in KEEPALIVE.items():
                if hasattr(socket, option):
                    peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)

    def _accept(self, server, token):
        deadline = time.monotonic() + PATIENCE
        while len(self._peers) < self.size - 1:
            server.settimeout(max(deadline - time.monotonic(), 1e-3))
            peer, _ = server.accept()
            greeting = _receive(peer, len(token) + 13)
            if hmac.compare_digest(greeting[: len(token)], token.encode()):
                self._peers[int(greeting[len(token) :])] = peer
            else:
                peer.close()  # a stranger

    def tell(self, kind, work=0, text=""):
        """Send to all: "failed" with the number of the work and the error, or "bye"."""
        if kind == "bye":
            self.left.add(self.rank)
        self._send({"kind": kind, "rank": self.rank, "work": work, "text": text})

    def check(self, seconds=0.0):
        """Take in what has come; wait for something up to `seconds`."""
        if self._peers:
            for key, _ in self._selector.select(seconds):
                self._read(key.data)

    def close(self):
        """Let go of all connections."""
        for peer in self._peers.values():
            peer.close()
        self._peers.clear()
        self._selector.close()

    def _read(self, rank):
        try:
            data = self._peers[rank].recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._selector.unregister(self._peers[rank])
            self._peers.pop(rank).close()
            if rank not in self.left:
                self._take({"kind": "ended", "rank": rank, "text": "ended without a word (killed or crashed)"})
            return
        *lines, self._unread[rank] = (self._unread[rank] + data).split(b"\n")
        for line in lines:
            self._take(json.loads(line))

    def _take(self, message):
        rank = message["rank"]
        if message["kind"] == "ended":
            self.ended.setdefault(rank, message["text"])
        elif message["kind"] == "failed":
            self.failed[rank] = (message["work"], message["text"])
        else:
            self.left.add(rank)
        if self.rank == 0:
            self._send(message, but=rank)

    def _send(self, message, but=None):
        line = json.dumps(message).encode() + b"\n"
        for rank, peer in list(self._peers.items()):
            if rank != but:
                try:
                    peer.setblocking(True)
                    peer.sendall(line)
                    peer.setblocking(False)
                except OSError:
                    pass  # its end is read as the end of what it sends


def _addresses():
    """Numeric addresses of this host, for networks whose names do not resolve."""
    try:
        found = socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)
    except OSError:
        found = []
    return sorted({entry[4][0] for entry in found})


def _reach(names, port):
    """A connection to the first of these hosts that answers."""
    errors = []
    for name in names:
        try:
            return socket.create_connection((name, port), timeout=PATIENCE / len(names))
        except OSError as error:
            errors.append(f"{name}: {error}")
    raise OSError("; ".join(errors))


def _receive(peer, count):
    """What comes within 5 s, up to `count` bytes."""
    data = b""
    peer.settimeout(5.0)
    try:
        while len(data) < count and (part := peer.recv(count - len(data))):
            data += part
    except OSError:
        return b""
    return data
