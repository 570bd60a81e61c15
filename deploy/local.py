"""The whole stack on this machine without Docker: PostgreSQL and two Redis from wheels, four services, relay, worker
and a stand-in for Twilio, as child processes of this one.

    python -m deploy.local up | exec SERVICE COMMAND… | restart NAME

State lies in `.local/` (or --state): a second start finds the data again, and `stack.json`, written last, says where
everything is while it runs. Ctrl-C stops all of it.
"""

import argparse
import contextlib
import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import psycopg

from deploy.credentials import Layout, Lost
from deploy.databases import SERVICES
from deploy.demo_clinic import DemoNotMade
from deploy.embedded import EmbeddedPostgres
from deploy.local_stack import LocalStack, process_groups, say
from deploy.processes import Died, NotReady, wait_for_leftovers
from deploy.programs import NotStarted
from deploy.topology import ROOT, PortInUse, Topology, refuse_used_port
from services.common.migrate import MigrationError

_DAMAGED = "{} is damaged. Stop the stack with Ctrl-C and start it again: make up"


class NotUp(Exception):
    """The stack cannot start, or is not there; the text is the whole explanation."""


class Interrupted(BaseException):
    """Ctrl-C, SIGTERM or SIGHUP."""


def up(state: Path) -> int:
    """`make up`: starts the stack, says where to go, runs until interrupted. Answers the exit code."""
    _on_signals(_interrupt)
    port = chosen_port("PORT", "8080")
    standin = chosen_port("STANDIN_PORT", "0")
    with held(state):
        wait_for_leftovers(process_groups(state))
        (state / "stack.json").unlink(missing_ok=True)
        refuse_used_port(port)
        refuse_used_port(standin, "STANDIN_PORT")
        stack = LocalStack(state, port)
        say(f"Countersign: starting in {state}")
        complaint = ""
        try:
            stack.start()
            say(where_to_go(stack))
            stack.watch()
        except Interrupted:
            say("\nStopping …")
        except Died as death:
            complaint = f"\n{death}\nStopping the rest."
        except (NotStarted, NotReady, PortInUse, Lost, DemoNotMade, MigrationError, psycopg.Error) as error:
            complaint = f"\n{error}\nStopping. Logs: {state / 'logs'}"
        except (OSError, ValueError, KeyError) as error:
            complaint = (
                f"\n{state} is damaged, or cannot be used ({type(error).__name__}: {error}).\n"
                "Move it out of the way, and the next start makes a new one."
            )
        finally:
            _on_signals(lambda *_: stack.supervisor.kill())  # asked twice: at once
            if complaint:
                say(complaint)
            stack.stop()
        say("Every process has ended; the data stays for the next start.")
        return 1 if complaint else 0


def where_to_go(stack: LocalStack) -> str:
    """The last lines of the start: the addresses, the people, and what to try first."""
    demo, told = stack.told["demo"], stack.told
    width = max(len(user["email"]) for user in demo["users"])
    people = "\n".join(f"    {u['role']:<13} {u['email']:<{width}}  {u['password']}" for u in demo["users"])
    return f"""
Ready in {time.monotonic() - stack.began:.1f} s.

  Sign in          {told["public_url"]}/c/{demo["clinic"]}   ({demo["name"]}, a demo)
{people}

  Text messages    {told["twilio"]}/inbox   (a stand-in took them; nobody is texted)
  A clinic app     {told["sample_app"]}/   (a sample, behind the sign-in)
  API              {told["gateway"]}/openapi.json
  All addresses    {stack.state / "stack.json"}
  Logs             {stack.state / "logs"}

Try: sign in as the practitioner in one browser, and as the administrator in another. As the administrator, set up an
authenticator app, then require two-factor of everyone: the practitioner's next click leads to setting it up, and on.
Or watch the whole story here: make demo

Ctrl-C stops everything.
"""


def execute(state: Path, service: str, arguments: list[str]) -> NoReturn:
    """Runs a service's command with the environment of the stack that is up, in place of this process."""
    told_by(state)
    if service not in SERVICES:
        raise NotUp(f"There is no service {service}; there are {', '.join(SERVICES)}.")
    kept = state / "run" / "environments.json"
    try:
        environment: dict[str, str] = dict(json.loads(kept.read_bytes())[service])
    except (OSError, ValueError, KeyError, TypeError):
        raise NotUp(_DAMAGED.format(kept)) from None
    if arguments[:1] == ["migrate"]:
        layout = Layout(state, state / "authority")
        postgres = EmbeddedPostgres(state / "data" / "postgres", "")
        environment |= Topology(state, layout, 0, postgres, {}, {}).owner_environment(service)
    os.chdir(ROOT)
    os.execve(sys.executable, [sys.executable, "-m", f"services.{service}", *arguments], environment)


def restart(state: Path, name: str) -> None:
    """Has the runner stop a process and start it anew (or start it, where it is dead)."""
    told = told_by(state)
    if name not in told["processes"] or name == "runner":
        names = ", ".join(sorted(set(told["processes"]) - {"runner"}))
        raise NotUp(f"There is no process {name}; there are {names}.")
    request = state / "run" / "restart" / name
    request.touch()
    ends_at = time.monotonic() + 45
    while request.exists():
        if time.monotonic() > ends_at:
            raise NotUp(f"{name} was not started again within 45 s.")
        time.sleep(0.05)


def told_by(state: Path) -> dict[str, Any]:
    """stack.json of a stack that is up."""
    path = state / "stack.json"
    try:
        told = json.loads(path.read_bytes())
        os.kill(told["processes"]["runner"], 0)
        if isinstance(told["gateway"], str):
            return dict(told)
    except OSError:
        raise NotUp(f"No stack is up in {state}. Start one: make up") from None
    except (ValueError, KeyError, TypeError, OverflowError):
        pass
    raise NotUp(_DAMAGED.format(path))


@contextlib.contextmanager
def held(state: Path) -> Iterator[None]:
    """Makes the state folder and holds it: a second runner on it would fight with the first."""
    try:
        state.mkdir(parents=True, exist_ok=True)
        state.chmod(0o700)
        for name in ("run/restart", "data", "logs"):
            (state / name).mkdir(parents=True, exist_ok=True)
        for request in (state / "run" / "restart").iterdir():
            request.unlink()
        lock = (state / "run" / "lock").open("a+")
    except OSError as error:
        raise NotUp(
            f"{state} cannot be used ({error.strerror}: {error.filename}). Move it out of the way, or name another "
            "folder with --state; a new one is made."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise NotUp(who_holds(state)) from None
        yield


def who_holds(state: Path) -> str:
    """Why a second start is refused."""
    try:
        running = told_by(state)
    except NotUp:
        return f"Another start or stop of the stack in {state} is under way; wait for it."
    return (
        f"The stack is already running at {running['gateway']} (process {running['processes']['runner']}). Stop it "
        f"with Ctrl-C there, or use it: its addresses are in {state / 'stack.json'}."
    )


def chosen_port(name: str, default: str) -> int:
    """Of the environment; a default of 0 leaves the choice to us."""
    text = os.environ.get(name) or default
    if text != default and not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise NotUp(f"{name} is {text!r}; it must be a number from 1 to 65535.")
    return int(text)


def _on_signals(handler: Callable[..., object]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handler)


def _interrupt(*_: object) -> NoReturn:
    raise Interrupted


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("up", "start the stack and run it until Ctrl-C"),
        ("exec", "run a service's command against the stack that is up"),
        ("restart", "start one process of the stack anew"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--state", type=Path, default=Path(os.environ.get("COUNTERSIGN_STATE", ROOT / ".local")))
        if name == "exec":
            command.add_argument("service")
            command.add_argument("arguments", nargs=argparse.REMAINDER)
        if name == "restart":
            command.add_argument("name")
    chosen = parser.parse_args()
    state: Path = chosen.state.resolve()
    try:
        if chosen.command == "up":
            return up(state)
        if chosen.command == "exec":
            execute(state, chosen.service, chosen.arguments)
        restart(state, chosen.name)
    except (NotUp, Lost, PortInUse) as error:
        print(error, file=sys.stderr)
        return 1
    except Interrupted:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
