"""Tests of the stack in Docker; collected only where one is up (STACK=compose), those of an app behind Caddy only where
that is (EDGE: where Caddy answers), and those of the profile `ops` only where it is named."""

import os

_IS_COMPOSE = os.environ.get("STACK") == "compose"
_EDGE = "test_behind_caddy.py"
_OPS = "test_watchers.py"

collect_ignore_glob = ["test_*.py"]
if _IS_COMPOSE:
    collect_ignore_glob = ["test_containers.py", _OPS] if os.environ.get("EDGE") else [_EDGE]
    if "ops" not in os.environ.get("COMPOSE_PROFILES", "").split(","):
        collect_ignore_glob.append(_OPS)
