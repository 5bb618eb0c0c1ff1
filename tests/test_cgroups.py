"""Limits of control groups, read from trees made for the purpose: services, containers, pods, both versions."""

import os
import sys

import pytest

from fastrnn import _cgroups, memory, threads

V2 = "30 23 0:26 {root} {point} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1 = "33 25 0:29 {root} {point} rw,nosuid shared:9 master:1 - cgroup cgroup rw,{names}"
NO_LIMIT = 9223372036854771712


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A function that writes the files, path -> text, of the only tree that is read."""
    monkeypatch.setattr(_cgroups, "TREE", str(tmp_path))

    def write(files):
        for name, text in files.items():
            path = tmp_path / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.fsencode(f"{text}\n"))

    return write


def v2(own, files, root="/", point="/sys/fs/cgroup"):
    """The files of a version 2 hierarchy: `files` are named below its mount point."""
    return {
        "/proc/self/cgroup": f"0::{own}",
        "/proc/self/mountinfo": "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n" + V2.format(root=root, point=point),
        **{f"{point}/{name}": text for name, text in files.items()},
    }


def v1(own, files, root="/", names="cpu,cpuacct"):
    """The files of two version 1 hierarchies, of `names` and of memory, and of one without a controller of ours."""
    cpu, ram = f"/sys/fs/cgroup/{names}", "/sys/fs/cgroup/memory"
    return {
        "/proc/self/cgroup": f"12:cpuset:/other\n5:{names}:{own}\n4:memory:{own}\n1:name=systemd:{own}\n0::{own}",
        "/proc/self/mountinfo": "\n".join([
            V1.format(root="/", point="/sys/fs/cgroup/cpuset", names="cpuset"),
            V1.format(root=root, point=cpu, names=names),
            V1.format(root=root, point=ram, names="memory"),
            V2.format(root="/", point="/sys/fs/cgroup/unified"),
        ]),
        **{f"{ram if name.split('/')[-1].startswith('memory') else cpu}/{name}": str(text)
           for name, text in files.items()},
    }


def quota(folder, micros, period=100_000):
    return {f"{folder}cpu.cfs_quota_us": micros, f"{folder}cpu.cfs_period_us": period}


POD = "/kubepods.slice/kubepods-burstable.slice/kubepods-pod7.slice/cri-8.scope"


@pytest.mark.parametrize("files, cpus", [
    ({}, None),
    ({"/sys/fs/cgroup/cpu.max": "200000 100000"}, 2),  # no /proc/self: the usual place
    ({"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000", "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, 3),
    ({"/proc/self/cgroup": "0::/b/a.service", "/sys/fs/cgroup/b/a.service/cpu.max": "50000 100000",
      "/sys/fs/cgroup/b/cpu.max": "max 100000"}, 1),
    ({"/proc/self/cgroup": "3:cpu,cpuacct:/a", "/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "150000",
      "/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "50000"}, 3),
    (v2("/", {"cpu.max": "max 100000"}), None),
    (v2("/", {"cpu.max": ""}), None),
    (v2("/", {"cpu.max": "150000 100000"}), 2),  # a namespace: the mount's root is the own group
    (v2("/", {"cpu.max": "1000 100000"}), 1),
    (v2("/system.slice/a.service", {"system.slice/a.service/cpu.max": "50000 100000",
                                    "system.slice/cpu.max": "max 100000"}), 1),
    (v2("/system.slice/a.service", {"system.slice/a.service/cpu.max": "800000 100000",
                                    "system.slice/cpu.max": "350000 100000"}), 4),
    (v2("/a/b", {"a/b/cpu.max": "max 100000", "a/bc/cpu.max": "100000 100000", "ab/cpu.max": "1 1"}), None),
    (v2("/a/b", {"a/b/cpu.max": "90000 10000", "a/cpu.max": "60000 20000", "cpu.max": "40000 20000"}), 2),
    (v2(POD, {"cpu.max": "250000 100000"}, root=POD), 3),  # a container that sees the host's names
    (v2(POD, {POD[1:] + "/cpu.max": "max 100000", POD.rpartition("/")[0][1:] + "/cpu.max": "400000 100000"}), 4),
    (v2(POD + "/inner", {"inner/cpu.max": "max 100000", "cpu.max": "500000 100000"}, root=POD), 5),
    (v2("/docker/of/the/host", {"cpu.max": "100000 100000"}, root="/other"), 1),
    (v2("/docker/of/the/host", {"cpu.max": "200000 100000"}), 2),
    (v2("/../b", {"b/cpu.max": "100000 100000", "cpu.max": "300000 100000"}), 3),  # b is another one's
    (v2("/a", {"a/cpu.max": "100000 100000", "cpu.max": "400000 100000"}, root="/../.."), 4),
    (v1("/", quota("", -1)), None),
    (v1("/", quota("", 300_000)), 3),
    (v1("/system.slice/a.service", {**quota("system.slice/a.service/", 50_000), **quota("system.slice/", -1)}), 1),
    (v1("/docker/1", quota("", 250_000), root="/docker/1"), 3),
    (v1("/a/b", {**quota("a/b/", 900_000), **quota("a/", 30_000, 10_000)}, names="cpu"), 3),
    (v1("/a", {**quota("a/", 100_000, 0), **quota("", "")}), None),
    (v1("/gone", quota("", 200_000)), 2),
])  # fmt: skip
def test_the_smallest_quota_counts(tree, monkeypatch, files, cpus):
    tree(files)
    assert _cgroups.cpu_limit() == cpus
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert threads.available_cpus() == (cpus or 64)


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes")
def test_names_with_blanks_and_bytes(tree):
    files = v2("/ü\udcff a", {"ü\udcff a/cpu.max": "200000 100000"}, point="/my groups")
    files["/proc/self/mountinfo"] = V2.format(root="/", point=r"/my\040groups")
    tree(files)
    assert _cgroups.cpu_limit() == 2


def test_every_mount_that_shows_the_group_counts(tree):
    files = v2("/a/b", {"cpu.max": "800000 100000"}, root="/a/b")
    files["/proc/self/mountinfo"] += "".join("\n" + V2.format(root=root, point=point) for root, point in [
        ("/", "/host"), ("/other", "/other")])
    tree({**files, "/host/a/cpu.max": "300000 100000", "/other/cpu.max": "100000 100000"})
    assert _cgroups.cpu_limit() == 3


def test_the_group_whose_quota_counts_is_known_by_any_name(tree):
    tree(v2("/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000", "cpu.max": "500000 100000"}))
    owner = _cgroups.cpu_limit_owner()
    tree({"/proc/self/cgroup": "0::/a/c", "/sys/fs/cgroup/a/c/cpu.max": "max 100000"})
    assert _cgroups.cpu_limit_owner() == owner != 0
    tree({"/proc/self/cgroup": "0::/", "/proc/self/mountinfo": V2.format(root="/", point="/sys/fs/cgroup/a")})
    assert _cgroups.cpu_limit_owner() == owner
    tree({"/sys/fs/cgroup/a/cpu.max": "max 100000"})
    assert _cgroups.cpu_limit_owner() == 0
    tree({"/proc/self/cgroup": "0::/c", "/sys/fs/cgroup/a/c/cpu.max": "100000 100000"})
    assert _cgroups.cpu_limit_owner() not in (0, owner)


def test_both_versions_at_once(tree):
    files = v1("/a", quota("a/", 400_000))
    tree({**files, "/sys/fs/cgroup/unified/a/cpu.max": "300000 100000"})
    assert _cgroups.cpu_limit() == 3


def ram(folder, limit, used=None, **stat):
    found = {f"{folder}memory.limit_in_bytes": limit}
    if used is not None:
        found[f"{folder}memory.usage_in_bytes"] = used
    if stat:
        found[f"{folder}memory.stat"] = "\n".join(f"{name} {value}" for name, value in stat.items())
    return found


@pytest.mark.parametrize("files, room", [
    ({}, None),
    ({"/sys/fs/cgroup/memory.max": "5000", "/sys/fs/cgroup/memory.current": "2000"}, 3000),
    ({"/sys/fs/cgroup/memory/memory.limit_in_bytes": "5000"}, 5000),
    (v2("/", {"memory.max": "max", "memory.current": "7"}), None),
    (v2("/", {"memory.max": "0"}), 0),
    (v2("/a/b", {"a/b/memory.max": "7000", "a/memory.max": "max", "memory.max": "9000"}), 7000),
    (v2("/a/b", {"a/b/memory.max": "7000", "a/b/memory.current": "1000", "a/memory.max": "8000",
                 "a/memory.current": "7500", "a/memory.stat": "anon 5\nfile 900\ninactive_file 100"}), 600),
    (v2("/a", {"a/memory.max": "100", "a/memory.current": "900"}), 0),
    (v2("/a", {"a/memory.max": "100", "a/memory.current": "10", "a/memory.stat": "inactive_file 50"}), 100),
    (v2(POD, {"memory.max": "4000"}, root=POD), 4000),
    (v2(POD, {"memory.max": "4000"}), 4000),
    (v1("/", ram("", NO_LIMIT, 5)), None),
    (v1("/a/b", {**ram("a/b/", NO_LIMIT, 10), **ram("a/", 1000, 400, inactive_file=1, total_inactive_file=100)}), 700),
    (v1("/a/b", {**ram("a/b/", 900, 10), **ram("", 500)}), 500),
    (v1("/docker/1", ram("", 640, 40), root="/docker/1"), 600),
    # the group above is not to be seen, its limit is
    (v1("/p/c", ram("", NO_LIMIT, 30, hierarchical_memory_limit=530), root="/p/c"), 500),
])  # fmt: skip
def test_the_smallest_room_counts(tree, monkeypatch, files, room):
    tree(files)
    assert _cgroups.memory_room() == room
    monkeypatch.setattr(memory, "_free", lambda: 6000)
    monkeypatch.setattr(memory, "_own_room", lambda: None)
    assert memory.available() == (6000 if room is None else min(room, 6000))
