"""What moving in takes: people with their password hashes, and their authenticator apps, by the operator's commands."""

import json
import subprocess
import sys
import time

import bcrypt

from tests.bench.stack import ROOT, Stack

LINES = 10_000
_SECONDS = 600


def moving_in(stack: Stack) -> list[str]:
    """Each command with a file of ten thousand lines, and again, when everybody is there."""
    old = bcrypt.hashpw(b"tidal harbour gravel moon", bcrypt.gensalt(8)).decode()
    emails = [f"moved-{number}@harbour.example" for number in range(LINES)]
    people = [
        {"email": email, "name": "Mina Okafor", "role": "practitioner", "phone": "+447700900123", "password_hash": old}
        for email in emails
    ]
    secret = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
    files = {
        ("identity", "import-users"): "\n".join(json.dumps(person) for person in people),
        ("otp", "import"): "\n".join(f"otpauth://totp/Old:{email}?secret={secret}" for email in emails),
    }
    told = [f"Moving in: {LINES:,} lines a file"]
    for (service, command), text in files.items():
        for count, what in (("made", "for the first time"), ("there", "again, nothing to do")):
            took = _run(stack, service, command, text, count)
            told.append(f"  {f'{service} {command}, {what}':<50} {LINES / took:,.0f} lines a second ({took:.1f} s)")
    return told


def _run(stack: Stack, service: str, command: str, text: str, expected: str) -> float:
    state = stack.layout.root
    arguments = [sys.executable, "-m", "deploy.local", "exec", "--state", str(state), service, command]
    began = time.perf_counter()
    done = subprocess.run(
        [*arguments, "-", "--clinic", stack.clinic, "--apply"],
        input=text,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=_SECONDS,
        check=False,
    )
    took = time.perf_counter() - began
    if done.returncode != 0 or json.loads(done.stdout.splitlines()[-1])[expected] != LINES:
        raise RuntimeError(f"{command} ended with {done.returncode}: {done.stdout[-300:]} {done.stderr[-1000:]}")
    return took
