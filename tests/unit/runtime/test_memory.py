"""What is freed is there for the next request."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import resource, sys
import numpy
from tidegate_runtime.memory import keep_freed

def request():
    return [numpy.zeros(size, numpy.uint8) + numpy.uint8(1) for size in (1_600_000, 1_200_000, 600_000)]

if sys.argv[1:] == ["keep"]:
    keep_freed()
for _ in range(5):
    request()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    request()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 20)
"""


def faults(*words: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, check=True, timeout=60
    )
    return float(done.stdout)


def test_a_large_request_after_another_faults_no_page_in() -> None:
    assert faults() > 100  # else the allocator needs no telling any more
    assert faults("keep") < 5
