"""With what we did not write: oathtool's codes sign in, and zbarimg reads our QR codes."""

import re
import subprocess
import time
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from tests.end_to_end.client import Client, ok, step_now
from tests.end_to_end.clinics import Clinic


def oathtool(secret: str, step: int) -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(step * 30))
    return run("oathtool", "--totp", "--base32", "--now", at, secret).strip()


def run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


def read_qr(picture: Path) -> str:
    return run("zbarimg", "--quiet", "--raw", "--nodbus", str(picture)).strip()


def confirm(client: Client, enrolment_id: str, code: str) -> None:
    answer = ok(client.post(f"/v1/me/two-factor/totp/{enrolment_id}/confirm", {"code": code}))
    client.token = answer["session"]["token"]


def test_p26_oathtools_codes_set_a_factor_up_and_sign_in(shared: Clinic) -> None:
    person, client = shared.member()
    enrolment = client.start_totp()
    step = step_now()
    confirm(client, enrolment["enrolment_id"], oathtool(enrolment["secret"], step))
    client.sign_in(person)
    assert ok(client.factor("totp", oathtool(enrolment["secret"], step + 1)))["state"] == "active"


def test_p26_zbarimg_reads_the_same_uri_from_the_png_and_the_drawn_svgs(shared: Clinic, tmp_path: Path) -> None:
    _, client = shared.member()
    enrolment = client.start_totp()
    path = f"/v1/me/two-factor/totp/{enrolment['enrolment_id']}"
    png = client.get(f"{path}/qr.png")
    svg = client.get(f"{path}/qr.svg")
    assert png.headers["content-type"] == "image/png"
    assert svg.headers["content-type"].split(";")[0] == "image/svg+xml"
    (tmp_path / "served.png").write_bytes(png.content)
    (tmp_path / "served.svg").write_bytes(svg.content)
    # Inline SVG takes its namespace from the page; a file of its own has to name it.
    inline = enrolment["qr_svg"]
    if "xmlns" not in inline:
        inline = inline.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    (tmp_path / "inline.svg").write_text(inline)
    for name in ("served", "inline"):
        run("rsvg-convert", "--zoom=2", "-o", str(tmp_path / f"{name}-drawn.png"), str(tmp_path / f"{name}.svg"))
    for picture in ("served.png", "served-drawn.png", "inline-drawn.png"):
        assert read_qr(tmp_path / picture) == enrolment["otpauth_uri"], picture


def test_p26_the_uri_is_what_every_authenticator_app_reads(shared: Clinic) -> None:
    person, client = shared.member()
    enrolment = client.start_totp()
    uri = urlsplit(enrolment["otpauth_uri"])
    assert (uri.scheme, uri.netloc) == ("otpauth", "totp")
    issuer, _, account = unquote(uri.path.removeprefix("/")).partition(":")
    query = parse_qs(uri.query, strict_parsing=True)
    assert query["issuer"] == [issuer] == ["Countersign"]
    assert query["secret"] == [enrolment["secret"]]
    assert person.email in account
    assert shared.name in account or shared.slug in account, "someone of three clinics tells them apart"
    # Apps that ignore these would take the defaults, which they are; so they agree either way.
    assert query.get("algorithm", ["SHA1"]) == ["SHA1"]
    assert query.get("digits", ["6"]) == ["6"]
    assert query.get("period", ["30"]) == ["30"]
    assert re.fullmatch(r"[\x21-\x7e]+", enrolment["otpauth_uri"]), "percent-encoded"
