"""Logs: one JSON object a line, secrets under their names redacted, nothing in a value that could forge a line."""

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from services.common.logs import accept_request_id, mask_phone

Logged = Callable[[str], list[dict[str, object]]]

_PREAMBLE = """
import logging
from services.common import logs
logs.configure("echo", "INFO")
log = logs.get_logger("tests")
logs.request_id_var.set("request-12345")
"""


def logged(code: str) -> list[dict[str, object]]:
    """What a process of its own writes; every line of it must be one JSON object."""
    done = subprocess.run([sys.executable, "-c", _PREAMBLE + code], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_a_line_says_who_when_and_for_which_request() -> None:
    (line,) = logged("log.info('rule_changed', clinic_id='cli_1', version=4)")
    assert line.pop("timestamp")
    assert line == {
        "service": "echo",
        "source": "tests",
        "event": "rule_changed",
        "level": "info",
        "request_id": "request-12345",
        "clinic_id": "cli_1",
        "version": 4,
    }


@pytest.mark.parametrize(
    "name",
    [
        *("password", "new_password", "passphrase", "secret", "token", "session_token", "TOKEN", "code"),
        *("backup_codes", "Authorization", "cookie", "otpauth_uri", "signature", "to", "phone"),
    ],
)
def test_p12_values_under_secret_names_never_pass(name: str) -> None:
    code = f"""
log.info('event', **{{'{name}': 'canary-1'}})
log.info('event', inner={{'{name}': 'canary-2', 'deeper': [{{'{name}': 'canary-3'}}]}})
log.info('event', **{{'{name}': ['canary-4']}})
"""
    lines = logged(code)
    assert "canary" not in json.dumps(lines)
    assert lines[0][name] == "[redacted]"


def test_outcomes_named_code_are_no_secret() -> None:
    (line,) = logged("log.info('answered', status_code=200, grpc_code='OK', error_code='conflict')")
    assert (line["status_code"], line["grpc_code"], line["error_code"]) == (200, "OK", "conflict")


def test_a61_line_ends_and_terminal_sequences_cannot_forge_a_line() -> None:
    forged = r"'ada\r\n{\"event\": \"session.created\"}\x1b[2J\x07\x9b31m\u2028'"
    lines = logged(f"log.info('refused', user={forged})\nlogging.getLogger('other').warning('user %s', {forged})")
    assert len(lines) == 2
    assert lines[0]["event"] == "refused"
    text = json.dumps(lines, ensure_ascii=False)
    assert not any(control in text for control in "\r\n\x1b\x07\x9b")


def test_exceptions_stay_on_one_line_and_carry_no_terminal_sequence() -> None:
    code = r"""
try:
    raise ValueError("a\nb\x1b[2J")
except ValueError:
    log.exception("failed")
    logging.getLogger("other").exception("failed too")
"""
    lines = logged(code)
    assert [line["event"] for line in lines] == ["failed", "failed too"]
    assert all("ValueError" in str(line["exception"]) for line in lines)
    raw = subprocess.run([sys.executable, "-c", _PREAMBLE + code], capture_output=True, check=True).stderr
    assert b"\x1b" not in raw
    assert len(raw.splitlines()) == 2


def test_a59_an_exception_says_what_and_where_and_repeats_no_value() -> None:
    code = r"""
import psycopg
class Refused(Exception):
    sqlstate = "23505"
def parse(text): return int(text)
def find(text): return {}[text]
def store(text): raise Refused(f"Key (phone)=({text}) already exists.")
def group(text): raise ExceptionGroup(f"of {text}", [ValueError(text), psycopg.errors.UndefinedTable("no such table")])
for step in (parse, find, store, group):
    for said in (log, logging.getLogger("other")):
        try:
            try:
                step("canary".upper())
            except Exception as error:
                raise RuntimeError(f"{error} and {'canary'.upper()}") from error
        except RuntimeError:
            said.exception("failed")
try:
    open("/no/such/file")
except OSError:
    log.exception("failed")
"""
    lines = logged(code)
    assert len(lines) == 9
    traces = [str(line["exception"]) for line in lines]
    assert not [trace for trace in traces if "CANARY" in trace]
    for trace, words in zip(
        traces[::2], ("ValueError", "KeyError", "Refused 23505", "no such table", "No such"), strict=True
    ):
        assert words in trace
        assert 'File "<string>", line' in trace
    assert all("RuntimeError" in trace for trace in traces[:-1])


def test_other_libraries_speak_through_the_same_form_from_warning_on() -> None:
    lines = logged("logging.getLogger('psycopg.pool').info('chatter'); logging.getLogger('psycopg.pool').warning('x')")
    assert [(line["event"], line["service"], line["request_id"]) for line in lines] == [("x", "echo", "request-12345")]


def test_request_ids_are_taken_only_where_they_are_harmless() -> None:
    assert accept_request_id("abcDEF-12_34") == "abcDEF-12_34"
    for harmful in (
        None,
        "",
        "short",
        "x" * 65,
        "with space1",
        "line\nbreak1",
        'quote"12345',
        "\N{FULLWIDTH DIGIT ONE}" * 8,
    ):
        assert accept_request_id(harmful) != harmful


def test_a_number_shows_its_country_and_last_two_digits() -> None:
    assert mask_phone("+447700900123") == "+44 ••••23"
    assert mask_phone("+4477") == "••••"
