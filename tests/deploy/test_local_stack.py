"""The runner of the local stack: it starts everything, refuses in one sentence, and leaves nothing behind."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from deploy.demo_clinic import DemoNotMade, find_or_make
from deploy.topology import ROOT

pytestmark = pytest.mark.timeout(180)
RUN = [sys.executable, "-m", "deploy.local"]


class Runner:
    """`deploy.local up` on a state folder and a port of its own."""

    def __init__(self, state: Path) -> None:
        self.state = state
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.output = state.with_name(f"{state.name}.out")
        self.process: subprocess.Popen[bytes]

    def start(self, **environment: str) -> dict[str, Any]:
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [*RUN, "up", "--state", str(self.state)],
                cwd=ROOT,
                env={**os.environ, "PORT": str(self.port), **environment},
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        ends_at = time.monotonic() + 120
        while not (self.state / "stack.json").exists():
            assert self.process.poll() is None, self.told()
            assert time.monotonic() < ends_at, self.told()
            time.sleep(0.1)
        return self.stack()

    def stack(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((self.state / "stack.json").read_text())
        return told

    def told(self) -> str:
        return self.output.read_text()[-4000:]

    def second_start(self, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*RUN, "up", "--state", str(self.state)],
            cwd=ROOT,
            env={**os.environ, "PORT": str(self.port), **environment},
            capture_output=True,
            text=True,
            timeout=150,  # more than everything that it waits for itself, so that it says what kept it
        )

    def ends(self, seconds: float = 40) -> int:
        return self.process.wait(seconds)


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    made = Runner(tmp_path / "state")
    yield made
    if hasattr(made, "process") and made.process.poll() is None:
        made.process.kill()
        made.process.wait()


def alive(pids: list[int]) -> list[int]:
    found = []
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if state not in "ZX":
            found.append(pid)
    return found


def descendants(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


def all_gone(pids: list[int], seconds: float) -> None:
    ends_at = time.monotonic() + seconds
    while left := alive(pids):
        assert time.monotonic() < ends_at, f"still there: {left}"
        time.sleep(0.1)


def test_it_tells_where_everything_is_and_a_signal_stops_all_of_it(runner: Runner) -> None:
    told = runner.start()
    assert stat.S_IMODE((runner.state / "stack.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(runner.state.stat().st_mode) == 0o700
    assert told["gateway"] == f"http://127.0.0.1:{runner.port}"
    assert [user["role"] for user in told["demo"]["users"]] == ["admin", "practitioner", "receptionist"]
    assert {"clinic", "email", "password"} <= told["demo"].keys()
    assert set(told["metrics"]) == {"identity", "otp", "policy", "notifier", "worker", "relay"}

    refused = runner.second_start()
    assert refused.returncode != 0
    assert "already running" in refused.stderr
    assert told["gateway"] in refused.stderr
    assert "Traceback" not in refused.stderr
    assert alive([told["processes"]["otp"]])

    processes = [runner.process.pid, *descendants(runner.process.pid)]
    assert len(processes) > 10
    os.kill(runner.process.pid, signal.SIGINT)
    assert runner.ends() == 0, runner.told()
    all_gone(processes, 1)
    assert not (runner.state / "stack.json").exists()


def test_killed_outright_it_leaves_nothing_and_the_next_start_finds_the_data(runner: Runner) -> None:
    before = runner.start()
    processes = [runner.process.pid, *descendants(runner.process.pid)]
    os.kill(before["processes"]["policy"], signal.SIGSTOP)  # one that hangs must not stay either
    runner.process.kill()
    runner.ends()
    all_gone(processes, 25)
    assert not (runner.state / "stack.json").exists(), "it would tell of what is not there"
    after = runner.start()
    assert after["demo"] == before["demo"]
    os.kill(runner.process.pid, signal.SIGTERM)
    assert runner.ends() == 0, runner.told()


def test_one_that_dies_is_named_with_its_last_lines_and_the_rest_stop(runner: Runner) -> None:
    told = runner.start()
    processes = [runner.process.pid, *descendants(runner.process.pid)]
    os.kill(told["processes"]["policy"], signal.SIGKILL)
    assert runner.ends() != 0
    assert "policy was killed by signal 9" in runner.told()
    assert '"service": "policy"' in runner.told(), "the last lines of its log"
    all_gone(processes, 1)


@pytest.mark.full
def test_one_that_dies_is_started_again_where_that_is_asked_for(runner: Runner) -> None:
    told = runner.start(COUNTERSIGN_RESPAWN="1")
    for name in ("otp", "postgres"):
        os.kill(told["processes"][name], signal.SIGKILL)
        ends_at = time.monotonic() + 20
        while (pid := runner.stack()["processes"][name]) == told["processes"][name] or not alive([pid]):
            assert time.monotonic() < ends_at, runner.told()
            time.sleep(0.1)
    os.kill(runner.process.pid, signal.SIGHUP)
    assert runner.ends() == 0, runner.told()


def test_a_port_in_use_is_one_sentence(runner: Runner) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", runner.port))
        taken.listen()
        refused = runner.second_start()
    assert refused.returncode != 0
    assert refused.stderr.strip() == (
        f"Port {runner.port} is in use by another program. Choose another one: PORT=9080 make up"
    )


def test_a_port_that_another_stack_takes_meanwhile_is_one_sentence_and_the_other_hears_nothing(
    runner: Runner, tmp_path: Path
) -> None:
    """Another program answers /readyz on the port, from a moment after identity's start."""
    asked: list[str] = []

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.command} {self.path}")
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None: ...

    output = tmp_path / "out"
    with output.open("wb") as out:
        runner.process = subprocess.Popen(
            [*RUN, "up", "--state", str(runner.state)],
            cwd=ROOT,
            env={**os.environ, "PORT": str(runner.port)},
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    ends_at = time.monotonic() + 60
    while not (runner.state / "logs" / "identity.log").exists():
        assert time.monotonic() < ends_at, output.read_text()
        time.sleep(0.01)
    with ThreadingHTTPServer(("127.0.0.1", runner.port), Other) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        assert runner.ends(60) == 1
        other.shutdown()
    assert f"Port {runner.port} is in use by another program. Choose another one" in output.read_text()
    assert set(asked) == {"GET /readyz"}


def test_a_process_that_cannot_do_its_work_is_named_with_its_reason(runner: Runner) -> None:
    from deploy.bootstrap import make_files
    from deploy.credentials import Layout

    make_files(Layout(runner.state, runner.state / "authority"), database_exists=False)
    keyring = runner.state / "keyrings" / "otp" / "keyring.json"
    keyring.chmod(0o600)
    keyring.write_text("nonsense")
    refused = runner.second_start()
    assert refused.returncode == 1, refused.stdout
    # Not "is not ready within 60 s": it is not waited for when it has said what is wrong.
    assert "otp is not ready: keyring unusable: the keyring is not of the documented form" in refused.stdout
    assert str(runner.state / "logs" / "otp.log") in refused.stdout
    assert "{" not in refused.stdout


@pytest.mark.parametrize("port", ["0", "70000", "http", "-1"])
def test_a_port_that_is_none_is_one_sentence(runner: Runner, port: str) -> None:
    refused = runner.second_start(PORT=port)
    assert refused.returncode != 0
    assert "must be a number from 1 to 65535" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


def test_a_state_folder_that_is_a_file_is_one_sentence(runner: Runner) -> None:
    runner.state.write_text("not a folder")
    refused = runner.second_start()
    assert refused.returncode != 0
    assert "cannot be used" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("authority/ca-key.pem", "nonsense"),
        ("data/postgres/PG_VERSION", "9.6\n"),
        ("keyrings/otp/keyring.json", None),
    ],
)
def test_a_broken_state_is_said_in_words(runner: Runner, name: str, content: str | None) -> None:
    from deploy.bootstrap import make_files
    from deploy.credentials import Layout

    make_files(Layout(runner.state, runner.state / "authority"), database_exists=False)
    broken = runner.state / name
    broken.parent.mkdir(parents=True, exist_ok=True)
    broken.unlink(missing_ok=True)
    if content is None:
        (runner.state / "data" / "postgres").mkdir(parents=True)
        (runner.state / "data" / "postgres" / "PG_VERSION").write_text("18\n")
    else:
        broken.write_text(content)
        (runner.state / "tls" / "otp" / "cert.pem").unlink()
    refused = runner.second_start()
    told = refused.stdout + refused.stderr
    assert refused.returncode != 0
    assert "Traceback" not in told, told
    assert str(runner.state) in told
    assert broken.exists() == (content is not None), "nothing is made anew over it"


def test_commands_without_a_stack_say_how_to_start_one(tmp_path: Path) -> None:
    for arguments in (
        ["exec", "--state", str(tmp_path), "identity", "set-role"],
        ["restart", "--state", str(tmp_path), "otp"],
    ):
        done = subprocess.run([*RUN, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=30)
        assert done.returncode != 0
        assert "make up" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("content", ["[]", "null", "nonsense", '{"processes": []}', '{"processes": {"runner": "x"}}'])
@pytest.mark.parametrize("arguments", [["exec", "identity", "set-role"], ["restart", "otp"]])
def test_a_damaged_stack_file_is_one_sentence(tmp_path: Path, arguments: list[str], content: str) -> None:
    (tmp_path / "stack.json").write_text(content)
    command, *rest = arguments
    done = subprocess.run(
        [*RUN, command, "--state", str(tmp_path), *rest], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert done.returncode != 0
    assert done.stderr.strip() == (
        f"{tmp_path / 'stack.json'} is damaged. Stop the stack with Ctrl-C and start it again: make up"
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"clinic"',
        b"\xff\xfe",
        b'{"complete": true}',
        b'{"complete": true, "clinic": "demo", "name": "n", "email": "e", "password": "p", "users": [null]}',
    ],
)
def test_a_damaged_demo_file_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "demo.json").write_bytes(content)
    with pytest.raises(
        DemoNotMade, match=r"demo\.json is damaged: delete it, and the next start makes a new demo clinic"
    ):
        find_or_make(tmp_path, "http://127.0.0.1:1", ["false"], {})


def test_without_the_demo_file_the_next_start_makes_another_demo_clinic(runner: Runner) -> None:
    before = runner.start()["demo"]
    os.kill(runner.process.pid, signal.SIGINT)
    assert runner.ends() == 0, runner.told()
    (runner.state / "demo.json").unlink()
    after = runner.start()["demo"]
    assert before["clinic"] == "demo"
    assert re.fullmatch("demo-[0-9a-f]{4}", after["clinic"])
    assert after["email"] == f"ada@{after['clinic']}.example"
    os.kill(runner.process.pid, signal.SIGINT)
    assert runner.ends() == 0, runner.told()
