"""`make demo` plays to its end, shows what it promises, and leaves nothing behind."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.stack import ROOT


@pytest.mark.full
@pytest.mark.local_only("starts a stack of its own")
@pytest.mark.timeout(180)
def test_the_demo_tells_the_whole_story_and_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deploy.demo"]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    for shown in (
        "create-clinic",
        "enrolment-required",
        "code-already-used",
        '"backup_codes_remaining": 9',
        "Paul's phone",
        "█",
    ):
        assert shown in done.stdout, shown
    assert not re.search(r'"(password|token)": "[^"…]{6,}"', done.stdout), "passwords and tokens are cut"
    assert list(tmp_path.glob("countersign-demo-*")) == []
