"""Limits of this process's control groups (Linux cgroups, version 1 and 2): of its own group and of all above it.

/proc/self/cgroup names the process's group in each hierarchy. /proc/self/mountinfo tells where a hierarchy is mounted
and which group the mount point shows. A limit holds for all groups below it, so the smallest one counts.
Source: cgroups(7), proc_pid_mountinfo(5), and the kernel's cgroup-v1/memory, scheduler/sched-bwc and cgroup-v2.
"""

import os
import re

TREE = "/"  # where all paths start
UNLIMITED = 1 << 60  # version 1 writes "no limit" as a huge number of bytes


def cpu_limit() -> int | None:
    """CPUs that the smallest quota grants, rounded up; None without a quota."""
    return min((cpus for cpus, _ in _cpu_limits()), default=None)


def cpu_limit_owner() -> int:
    """A number for the group whose quota is the smallest, the same in all its processes; 0 without a quota."""
    found = min(_cpu_limits(), default=None)
    if found is None:
        return 0
    status = os.stat(_at(found[1]))  # names differ from one namespace to another
    return hash((status.st_dev, status.st_ino))


def memory_room() -> int | None:
    """Bytes that the groups can still take up to their limits, at least 0; None without a limit.

    Inactive pages of files count as free.
    """
    return min(_memory_rooms(), default=None)


def read(path: str) -> str:
    """The text of a file below `TREE`, "" where it cannot be read."""
    try:
        with open(_at(path), "rb") as file:
            return os.fsdecode(file.read())
    except OSError:
        return ""


def _at(path):
    return os.path.join(TREE, path.lstrip("/"))


def _cpu_limits():
    """(CPUs, folder of the group) of each quota."""
    for version, folder in _groups("cpu"):
        if version == 2:
            words = read(f"{folder}/cpu.max").split()
        else:
            words = [read(f"{folder}/cpu.cfs_{name}_us") for name in ("quota", "period")]
        if len(words) == 2:
            quota, period = map(_count, words)
            if quota and period:
                yield -(-quota // period), folder


def _memory_rooms():
    for version, folder in _groups("memory"):
        names = ("max", "current") if version == 2 else ("limit_in_bytes", "usage_in_bytes")
        limit, used = (_count(read(f"{folder}/memory.{name}")) for name in names)
        stat = dict(re.findall(r"^(\w+) (\d+)$", read(f"{folder}/memory.stat"), re.MULTILINE))
        # version 1 tells the smallest limit above the group here, also where no mount shows the groups above
        limits = [limit, _count(stat.get("hierarchical_memory_limit", ""))]
        limits = [one for one in limits if one is not None and one < UNLIMITED]
        if limits:
            idle = int(stat.get("inactive_file" if version == 2 else "total_inactive_file", 0))
            yield max(0, min(limits) - max(0, (used or 0) - idle))


def _count(text):
    """A whole number of at least 0, None for all else: "max", -1, no text."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdecimal() else None


def _groups(controller):
    """(version, folder) of each group that limits this process in `controller` and that a mount shows."""
    for version, names, own in _own_groups(controller):
        mounts = _mounts(version, controller) or [("/", f"/sys/fs/cgroup/{name}") for name in {names, controller, ""}]
        above = [(point, _steps(root, own)) for root, point in mounts]
        # a container may know its group by a name outside its mounts: what they show is then its own group
        found = [pair for pair in above if pair[1] is not None] or [(point, []) for point, _ in above]
        for point, steps in found:
            for count in range(len(steps), -1, -1):
                yield version, "/".join([point.rstrip("/"), *steps[:count]])


def _own_groups(controller):
    """(version, controllers, path of this process's group) of the hierarchies that may have the controller."""
    lines = re.findall(r"^(\d+):([^:\n]*):(.*)$", read("proc/self/cgroup"), re.MULTILINE)
    if not lines:
        return [(2, "", "/"), (1, controller, "/")]
    return [(1 if names else 2, names, path) for number, names, path in lines
            if controller in names.split(",") or (number == "0" and not names)]


def _mounts(version, controller):
    """(group that the mount point shows, mount point) of the hierarchy's mounts."""
    found = []
    for line in read("proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if len(fields) > 4 and (kind[0] == "cgroup2" if version == 2 else
                                kind[0] == "cgroup" and controller in kind[-1].split(",")):
            found.append((_unescaped(fields[3]), _unescaped(fields[4])))
    return found


def _unescaped(path):
    """A path of mountinfo, which writes blanks and backslashes as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)


def _steps(root, own):
    """The names from the group `root` down to the group `own`; None where `own` is not below `root`."""
    top, path = ([name for name in group.split("/") if name] for group in (root, own))
    if ".." in top + path or path[: len(top)] != top:
        return None
    return path[len(top):]
