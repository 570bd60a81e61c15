"""Tests of the stack in Docker; collected only where one is up (STACK=compose), those of an app behind Caddy only where
that is (EDGE: where Caddy answers)."""

import os

_IS_COMPOSE = os.environ.get("STACK") == "compose"
_EDGE = "test_behind_caddy.py"

collect_ignore_glob = ["test_*.py"]
if _IS_COMPOSE:
    collect_ignore_glob = ["test_containers.py"] if os.environ.get("EDGE") else [_EDGE]
