"""What large mails took goes back to the system: seen in a process of its own, since it cannot be undone."""

import subprocess
import sys

import pytest

KEPT_MB = 24
"""What heaps may keep, and what Python itself takes meanwhile."""

CHILD = """
import gc
from relayd.runtime import allocator

def resident():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024

allocator.keep_small()
allocator.begin_small()
assert gc.get_freeze_count() > 1000
before = resident()
blocks = [bytearray(b"x" * {size}) for _ in range({count})]
full = resident()
del blocks
print(full - before, resident() - before)
"""


@pytest.mark.parametrize(("size", "count"), [(1_000_000, 200), (20_000_000, 10)], ids=["1 MB", "20 MB"])
def test_memory_goes_back(size: int, count: int) -> None:
    """Two hundred megabytes in mails of either kind: hardly anything of them stays."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD.format(size=size, count=count)], capture_output=True, text=True, check=True
    )
    full, left = map(float, done.stdout.split())
    assert full > 150
    assert left < KEPT_MB
