"""The first thing `make up` does: a machine that lacks what it needs hears so in one sentence."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.topology import ROOT


def run(tmp_path: Path, **pythons: str) -> subprocess.CompletedProcess[str]:
    """make_venv.sh on a machine with only these Pythons: name → its body, a shell script."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "date", "rm", "mktemp", "tail"):
        found = shutil.which(name)
        assert found
        (programs / name).symlink_to(found)
    for name, body in pythons.items():
        path = programs / name.replace("_", ".")
        path.write_text(f"#!{shutil.which('sh')}\n{body}\n")
        path.chmod(0o755)
    return subprocess.run(
        ["sh", str(ROOT / "deploy" / "make_venv.sh"), str(tmp_path / "venv")],
        env={"PATH": str(programs), "HOME": os.environ.get("HOME", "/")},
        capture_output=True,
        text=True,
        timeout=30,
    )


OLD = 'case "$2" in *version_info\\[:2*) echo 3.9 ;; *exit*) exit 1 ;; esac'
WITHOUT_VENV = 'case "$2" in *version_info\\[:2*) echo 3.12 ;; *ensurepip*) exit 1 ;; esac'


@pytest.mark.parametrize(
    ("pythons", "sentence"),
    [
        ({}, "needs Python 3.11 or newer, and this machine has none (no python3 at all)"),
        ({"python3": OLD}, "needs Python 3.11 or newer, and this machine has none (python3 is 3.9)"),
        ({"python3": WITHOUT_VENV}, "Python 3.12 is here without its venv module; install it"),
        ({"python3_11": "exit 127", "python3": OLD}, "(python3 is 3.9)"),
    ],
)
def test_what_is_missing_is_said_in_one_sentence(tmp_path: Path, pythons: dict[str, str], sentence: str) -> None:
    done = run(tmp_path, **pythons)
    assert done.returncode != 0
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not (tmp_path / "venv").exists()
