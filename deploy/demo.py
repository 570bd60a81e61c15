"""`make demo`: the story of two-factor sign-in, played in the terminal on a fresh stack that ends with it.

A clinic is made, requires a second factor, and stops someone at work; who scans the QR code, goes on in the same
session, signs in with codes of every kind, and is refused a code that was used. Every step shows what was sent and got.
"""

import contextlib
import json
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import httpx

from deploy.demo_person import SLUG, Person, Unexpected
from deploy.demo_screen import Screen, cut
from deploy.topology import ROOT

_CLINIC = "Harbour Clinic"
# Of ranges kept for fiction, and seldom twice the same: one number is on three accounts at most.
_NUMBER = f"+1{secrets.choice((202, 206, 212, 303, 305))}55501{secrets.randbelow(100):02}"


def play(screen: Screen, stack: Mapping[str, Any], state: Path) -> None:
    """The story, from a clinic to a text message."""
    gateway = stack["gateway"]
    ada = Person(screen, gateway, "Ada", f"ada@{SLUG}.example")
    paul = Person(screen, gateway, "Paul", f"paul@{SLUG}.example")

    screen.step("An operator makes a clinic", "One command; its administrator gets a link to choose a password with.")
    made = create_clinic(screen, state, ada)
    ada.activate(made["activation_token"])
    ada.sign_in()

    screen.step("The administrator invites Paul, a practitioner, who signs in with a password and works")
    user = {"email": paul.email, "name": "Paul Practitioner", "role": "practitioner"}
    invited = ada.send("POST", "/v1/users", user, expect=201)
    paul.activate(invited["activation"]["token"])
    before = paul.sign_in()
    paul.send("GET", "/v1/me/sessions", expect=200, only=("sessions",))

    screen.step(
        "The administrator requires a second factor of everyone",
        "Who has none cannot demand it of others: the administrator sets one up first, then turns the rule on.",
    )
    ada.set_up_app(draw=False)
    rule = {"require_two_factor": True, "phone_required": False}
    ada.send("PATCH", "/v1/clinic/security", rule, expect=200, only=("require_two_factor", "methods", "version"))
    turned_on = time.monotonic()

    screen.step("Paul's next request, in the middle of work, is stopped")
    paul.send("GET", "/v1/me/sessions", expect=403)
    since = (time.monotonic() - turned_on) * 1000
    screen.say(f"{since:.0f} ms after the rule was turned on. All that is open is the way forward.")

    screen.step("Paul scans the QR code and types the six digits: the same session goes on")
    session = paul.set_up_app(draw=True)["session"]
    screen.say(f"The session is still {session['id']}; it was {before['id']}. Nothing in it was lost.")

    screen.step("Ten backup codes, shown once, to print")
    screen.codes(paul.backup_codes)

    screen.step("A second way: text messages to Paul's mobile", "Celery's worker sends; Twilio's stand-in takes it.")
    enrolment = paul.send("POST", "/v1/me/two-factor/sms", {"phone": _NUMBER}, expect=202)
    texted_at = time.monotonic()
    confirm = f"/v1/me/two-factor/sms/{enrolment['enrolment_id']}/confirm"
    code = text_message(screen, stack["twilio"], 1)
    paul.token = paul.send("POST", confirm, {"code": code}, expect=200, only=("two_factor",))["session"]["token"]
    paul.sign_out()

    screen.step("Paul signs in with the password and a code from the app")
    paul.sign_in()
    paul.prove("totp", paul.next_code())
    paul.sign_out()

    screen.step(
        "The same code again, a moment later, opens nothing", "Whoever looked over Paul's shoulder is too late."
    )
    paul.sign_in()
    used = {"method": "totp", "code": paul.code()}
    paul.send("POST", "/v1/session/second-factor", used, expect=422)

    screen.step("The phone is lost: a backup code gets Paul in, once")
    paul.prove("backup_code", paul.backup_codes[0])
    paul.sign_out()

    screen.step("Or a text message: through otp, notifier, the queue and Celery's worker")
    paul.sign_in()
    resend = 30 - (time.monotonic() - texted_at) + 0.5
    if resend > 0:
        screen.wait(resend, "One text in 30 seconds to one person; the next may go in")
    paul.send("POST", "/v1/session/second-factor/sms", expect=202)
    code = text_message(screen, stack["twilio"], 2)
    paul.send("GET", "/v1/session/second-factor/sms", expect=200)
    paul.prove("sms", code)
    paul.send("GET", "/v1/me/two-factor", expect=200, only=("enabled", "required", "factors", "backup_codes"))


def create_clinic(screen: Screen, state: Path, ada: Person) -> dict[str, str]:
    arguments = ["create-clinic", "--slug", SLUG, "--name", _CLINIC, "--timezone", "America/New_York"]
    arguments += ["--country", "US", "--admin-email", ada.email, "--admin-name", "Ada Admin"]
    words = [f'"{word}"' if " " in word else word for word in arguments]
    shown = " ".join(words[:5]) + " \\\n         " + " ".join(words[5:])
    run = [sys.executable, "-m", "deploy.local", "exec", "--state", str(state), "identity", *arguments]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise Unexpected(f"The clinic could not be made: {(done.stderr or done.stdout).strip()[-600:]}")
    made: dict[str, str] = json.loads(done.stdout.strip().splitlines()[-1])
    told = {name: cut(value) if name.startswith("activation") else value for name, value in made.items()}
    screen.command(f"python -m services.identity {shown}", json.dumps(told, ensure_ascii=False))
    return made


def text_message(screen: Screen, twilio: str, count: int, seconds: float = 15.0) -> str:
    """The code in the newest message of the stand-in's inbox that has one, once there are `count`."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        messages = httpx.get(f"{twilio}/inbox", params={"to": _NUMBER}, trust_env=False).json()
        bodies = [message["body"] for message in messages if re.search(r"\b\d{6}\b", message["body"])]
        if len(bodies) >= count:
            body = bodies[0]
            screen.say(f"Paul's phone, {time.monotonic() - began:.1f} s later: “{body}”")
            words = [str(word).strip(".,:") for word in body.split()]
            return next(word for word in words if word.isdigit())
        time.sleep(0.05)
    raise Unexpected(f"No text message came within {seconds:.0f} s.")


@contextlib.contextmanager
def fresh_stack(screen: Screen) -> Iterator[tuple[dict[str, Any], Path]]:
    """A stack in a folder of its own, both gone afterwards; its progress is shown."""
    folder = Path(tempfile.mkdtemp(prefix="countersign-demo-"))
    state = folder / "state"
    output = folder / "output"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    dying_with_parent = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
    command = [*dying_with_parent, "env", f"PORT={port}", sys.executable, "-m", "deploy.local", "up"]
    with output.open("wb") as log:
        runner = subprocess.Popen(
            [*command, "--state", str(state)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the demo, which then stops the stack
        )
    try:
        shown = 0
        while not (state / "stack.json").exists():
            lines = output.read_text().splitlines()
            for line in lines[shown : len(lines) - 1]:
                screen.console.print(line, style="dim", markup=False)
            shown = max(shown, len(lines) - 1)
            if runner.poll() is not None:
                raise Unexpected("The stack did not start:\n" + output.read_text())
            time.sleep(0.05)
        yield json.loads((state / "stack.json").read_text()), state
    finally:
        runner.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            runner.wait(40)
        runner.kill()
        runner.wait()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """Plays the story; 0 where every answer was the expected one."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    screen, began = Screen(), time.monotonic()
    try:
        screen.title("A stack of its own: PostgreSQL, Redis, four services, a Celery worker, a stand-in for Twilio")
        with fresh_stack(screen) as (stack, state):
            play(screen, stack, state)
            screen.title("That is the story")
            screen.say("Stopping the stack …")
    except Unexpected as error:
        screen.console.print(f"\n{error}", style="bold red", markup=False)
        return 1
    except KeyboardInterrupt:
        screen.console.print("\nStopped.")
        return 130
    screen.say(
        f"Every process has ended and nothing is left; {time.monotonic() - began:.0f} s in all. To try it: make up"
    )
    return 0


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
