"""What a reverse proxy is told by the running stack: who sends a request, and where to lead a browser that may not
pass. The same through the real Caddy: tests/compose/test_behind_caddy.py."""

import time
from urllib.parse import parse_qs, urlsplit

from tests.end_to_end.client import ok, problem
from tests.end_to_end.clinics import Clinic

PATH = "/v1/forward-auth"
FOUR = ("X-Countersign-User", "X-Countersign-Clinic", "X-Countersign-Role", "X-Countersign-Acr")
AT_ONCE = 2.0


def test_p09_a_request_passes_with_its_sender_s_name_until_the_rule_stops_the_session(clinic: Clinic) -> None:
    person, client = clinic.member()
    public = urlsplit(clinic.stack.public_url)
    asked = {
        "X-Forwarded-Method": "GET",
        "X-Forwarded-Host": public.netloc,
        "X-Forwarded-Proto": public.scheme,
        "X-Forwarded-Uri": "/letters?page=2",
        "X-Countersign-Role": "admin",
    }
    passed = client.get(PATH, headers=asked)
    assert passed.status_code == 200
    assert [passed.headers[name] for name in FOUR] == [person.id, clinic.id, "practitioner", "aal1"]
    problem(client.get(PATH, headers=asked, token="nobody"), 401, "unauthenticated")

    clinic.require(require_two_factor=True, phone_required=False)
    ends_at = time.monotonic() + AT_ONCE
    while (stopped := client.get(PATH, headers=asked)).status_code == 200:
        assert time.monotonic() < ends_at
    problem(stopped, 403, "enrolment-required")
    led = client.get(PATH, headers={**asked, "Accept": "text/html,*/*;q=0.8"})
    assert led.status_code == 303
    page = urlsplit(led.headers["location"])
    assert (page.netloc, page.path) == (public.netloc, f"{public.path.rstrip('/')}/set-up")
    assert parse_qs(page.query) == {"return_to": [f"{public.scheme}://{public.netloc}/letters?page=2"]}
    assert not {name.lower() for name in FOUR} & set(led.headers)

    client.enrol_totp(person)
    assert client.get(PATH, headers=asked).headers["X-Countersign-Acr"] == "aal2"
    ok(client.get("/v1/me/sessions"))
