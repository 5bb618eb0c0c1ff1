"""The parts of `fastrnn.distributed` that need no MPI: shares of batches, the lifeline, the share of the CPUs."""

import json
import queue
import socket
import sys
import threading
import time

import numpy as np
import pytest

from fastrnn import LaneStream
from fastrnn.data.batches import Sequences
from fastrnn.distributed import ranks as ranks_module
from fastrnn.distributed.lifeline import Lifeline
from fastrnn.distributed.merged import MergedStates
from fastrnn.distributed.share import Share, describe, flatten, take_rows, unflatten
from fastrnn.distributed.wishes import Wishes

RNG = np.random.default_rng(0)


# What a fit of several ranks keeps


def test_a_wish_of_one_rank_is_granted_on_all():
    ranks = [Wishes(), Wishes(), Wishes()]
    ranks[1].want("interrupt")
    assert not ranks[1].interrupt
    for wish, granted in ("interrupt", (False, True)), ("stop", (True, True)):
        ranks[2].want(wish)
        counts = np.sum([wishes.counts() for wishes in ranks], axis=0).tolist()
        for wishes in ranks:
            wishes.heed(counts)
            assert (wishes.stop, wishes.interrupt) == granted
    ranks[0].heed([0.0, 0.0])
    assert ranks[0].stop and ranks[0].interrupt  # granted until the next fit
    ranks[2].clear()
    assert ranks[2].counts() == [0.0, 0.0] and not ranks[2].stop


def test_states_of_all_rows_are_found_by_those_of_this_rank():
    class Second:
        """Of two ranks, the first of which always sends the same."""

        rank = 1

        def gather_bytes(self, data):
            return [first, data]

    rows = [[np.array([0, 2]), np.array([1])]]
    whole = [(RNG.standard_normal((1, 3, 4)), None)]
    first = flatten(take_rows(whole[0], rows[0][0]), describe(whole[0]), 2)
    merged = MergedStates(Second())
    mine = merged.divide(whole, rows)
    np.testing.assert_array_equal(mine[0][0], whole[0][0][:, [1]])
    assert merged.of(mine) is whole
    later = list(mine)
    merged.join(later, rows)
    assert merged.of(mine) is whole
    np.testing.assert_array_equal(merged.of(later)[0][0], whole[0][0])
    other = list(mine)
    assert merged.of(other) is other
    merged.clear()
    assert merged.of(later) is later


# Shares


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_every_row_is_in_one_share_and_steps_are_balanced(size):
    lengths = RNG.integers(0, 50, 41)
    X = [RNG.standard_normal((n, 2)).astype("float32") for n in lengths]
    data = Sequences(X, [np.zeros(n, int) for n in lengths], batch_size=20)
    share = Share(data, 0, size)
    for indices in data.order(np.random.default_rng(1)):
        dealt = share.deal(indices)
        assert sorted(np.concatenate(dealt).tolist()) == list(range(len(indices)))
        assert len(dealt[0])
        steps = [lengths[indices[rows]].sum() for rows in dealt]
        assert max(steps) - min(steps) <= 50


@pytest.mark.parametrize("window", [None, 3, (2, 5)])
def test_shares_make_the_windows_of_the_whole(window):
    lengths = np.array([9, 1, 4, 0, 7])
    X = [np.full((n, 1), k, "float32") for k, n in enumerate(lengths)]
    data = Sequences(X, [np.zeros(n, int) for n in lengths], window=window)
    shares = [Share(data, rank, 3) for rank in range(3)]
    (indices,) = data.order()
    for start in (0, 1):
        whole = data.windows(indices, start)
        parts = [list(share.windows(indices, start)) for share in shares]
        assert {len(part) for part in parts} == {len(list(whole))}
        for k, window_of_all in enumerate(data.windows(indices, start)):
            masses = [part[k].mass(True) for part in parts if part[k] is not None]
            assert sum(masses) == window_of_all.mass(True)


def test_a_rank_without_rows_has_windows_of_nothing():
    data = Sequences(np.zeros((1, 6, 2)), np.zeros((1, 6), int), window=2)
    share = Share(data, 1, 2)
    assert list(share.windows(np.array([0]))) == [None] * 3
    assert list(share.own().windows(np.array([0]))) == []


def test_lanes_are_shared_side_by_side():
    stream = LaneStream(np.arange(31), 5, 4)
    shares = [list(Share(stream, rank, 2).windows(slice(None))) for rank in (0, 1)]
    for k, batch in enumerate(stream.windows(slice(None))):
        np.testing.assert_array_equal(np.concatenate([part[k].x for part in shares]), batch.x)
        np.testing.assert_array_equal(np.concatenate([part[k].y for part in shares]), batch.y)


def test_states_are_put_together_and_taken_apart():
    state = ((RNG.standard_normal((2, 5, 3)), RNG.standard_normal((2, 5, 3))), None, RNG.standard_normal((1, 5, 4)))
    rows = [np.array([0, 3]), np.array([1, 2, 4]), np.array([], int)]
    mine = [take_rows(state, part) if len(part) else None for part in rows]
    description = describe(mine[0])
    parts = [[flatten(part, description, len(k))] for part, k in zip(mine, rows)]
    found = unflatten(parts, description, rows)
    assert not any(part[0] for part in parts)
    np.testing.assert_array_equal(found[0][0], state[0][0])
    np.testing.assert_array_equal(found[0][1], state[0][1])
    assert found[1] is None
    np.testing.assert_array_equal(found[2], state[2])


# Lifeline


def connect(size):
    """A lifeline for each rank, made in threads."""
    mailboxes = [queue.Queue() for _ in range(size)]

    def broadcast(rank):
        def send(data):
            if rank == 0:
                for mailbox in mailboxes:
                    mailbox.put(data)
            return mailboxes[rank].get(timeout=10)

        return send

    found = [None] * size

    def make(rank):
        found[rank] = Lifeline(rank, size, broadcast(rank), True)

    workers = [threading.Thread(target=make, args=(rank,)) for rank in range(size)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(20)
    return found


def eventually(condition, *lifelines):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        for lifeline in lifelines:
            lifeline.check(0.01)


def test_an_end_is_seen_by_all():
    first, second, third = connect(3)
    second.close()
    eventually(lambda: 1 in first.ended and 1 in third.ended, first, third)
    assert first.ended == third.ended == {1: "ended without a word (killed or crashed)"}
    first.close()
    eventually(lambda: 0 in third.ended, third)


def test_failures_and_goodbyes_are_passed_on():
    first, second, third = connect(3)
    second.tell("failed", 4, "OSError: disk")
    eventually(lambda: third.failed == first.failed == {1: (4, "OSError: disk")}, first, third)
    for lifeline in (first, second, third):
        lifeline.tell("bye")
    eventually(lambda: first.left == second.left == third.left == {0, 1, 2}, first, second, third)
    second.close()
    first.check(0.1)
    assert not first.ended
    for lifeline in (first, third):
        lifeline.close()


def test_strangers_are_turned_away():
    mailbox = queue.Queue()

    def broadcast(data):
        mailbox.put(data)
        return data

    made = []
    worker = threading.Thread(target=lambda: made.append(Lifeline(0, 2, broadcast, True)))
    worker.start()
    _, port, token = json.loads(mailbox.get(timeout=10))
    for greeting in (b"x" * 45, b"", b"0" * 32 + b"            1"):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as stranger:
            stranger.sendall(greeting)
            stranger.shutdown(socket.SHUT_WR)
            assert stranger.recv(1) == b""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as friend:
        friend.sendall(f"{token} {1:12d}".encode())
        worker.join(10)
        assert made and not made[0].ended
    eventually(lambda: 1 in made[0].ended, made[0])
    made[0].close()


# Beside


def test_a_missing_mpi4py_names_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(ImportError, match=r'pip install "fastrnn\[mpi\]"'):
        ranks_module.load_mpi()


@pytest.mark.parametrize("name", ["PMI_SIZE", "OMPI_COMM_WORLD_SIZE"])
def test_the_mpiexec_of_another_library_is_an_error(monkeypatch, name):
    monkeypatch.setenv(name, "4")
    ranks_module._check_size(4)
    with pytest.raises(RuntimeError, match="mpiexec: expected that of mpi4py's MPI library"):
        ranks_module._check_size(1)


def test_cpus_are_shared_out(monkeypatch):
    monkeypatch.setattr(ranks_module._cgroups, "cpu_limit", lambda: None)
    everywhere = np.ones(8, int)
    assert ranks_module._fair_share(everywhere, 2 * everywhere, 2) == 4
    assert ranks_module._fair_share(everywhere, 3 * everywhere, 3) == 2
    assert ranks_module._fair_share(everywhere, 16 * everywhere, 16) == 1
    own = np.array([0, 0, 1, 1, 1, 0, 0, 0])
    assert ranks_module._fair_share(own, own, 1) == 3
    monkeypatch.setattr(ranks_module._cgroups, "cpu_limit", lambda: 2)
    assert ranks_module._fair_share(own, own, 1) == 2


def test_a_quota_is_shared_by_the_ranks_of_its_group(monkeypatch):
    monkeypatch.setattr(ranks_module._cgroups, "cpu_limit", lambda: 6)
    everywhere = np.ones(64, int)
    assert ranks_module._fair_share(everywhere, 4 * everywhere, 1) == 6  # each in a container of its own
    assert ranks_module._fair_share(everywhere, 2 * everywhere, 2) == 3
    assert ranks_module._fair_share(everywhere, 4 * everywhere, 4) == 1
    assert ranks_module._fair_share(everywhere, 16 * everywhere, 16) == 1
