"""Tests of the stack in Docker from inside its containers; collected only where one is up (STACK=compose)."""

import os

collect_ignore_glob = [] if os.environ.get("STACK") == "compose" else ["test_*.py"]
