"""Bare Argon2id: verifies one hash on as many threads as there are cores, and does nothing else.

    python -m tests.bench.bare_argon2 SECONDS MEMORY_KIB TIME_COST PARALLELISM

A process of its own, so that it can have the gateway's allocator settings or none. Prints what it took, as JSON.
"""

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher

_PASSWORD = b"a password of the bench"


def main() -> None:
    seconds, memory_kib, time_cost, parallelism = float(sys.argv[1]), *map(int, sys.argv[2:5])
    hasher = PasswordHasher(time_cost, memory_kib, parallelism)
    hashed = hasher.hash(_PASSWORD)
    began = time.perf_counter()

    def verify() -> list[float]:
        latencies = []
        while (started := time.perf_counter()) < began + seconds:
            hasher.verify(hashed, _PASSWORD)
            latencies.append((time.perf_counter() - started) * 1000)
        return latencies

    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        runs = [pool.submit(verify) for _ in range(threads)]
        latencies = [latency for run in runs for latency in run.result()]
    print(json.dumps({"seconds": time.perf_counter() - began, "latencies_ms": latencies}))


if __name__ == "__main__":
    main()
