"""One person's page, as an administrator meets it: details and account, what is required of them, and leave to sign in
once without a code."""

import html
import re

import httpx
import pytest

from tests.identity.people import PASSWORD, PHONE, Json, Person, SomeClinic, Stack
from tests.identity.test_forms import Visitor
from tests.identity.test_users_pages import Desk


@pytest.fixture
def desk(admin: Person) -> Desk:
    return Desk(admin)


def read(page: httpx.Response | str, card: str = "") -> str:
    """What stands on the page, or in one card of it, as it is read."""
    text = page if isinstance(page, str) else page.text
    if card:
        text = text.partition(f'id="{card}-card"')[2].partition("</section>")[0]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def value_of(page: httpx.Response | str, name: str) -> str:
    text = page if isinstance(page, str) else page.text
    (found,) = re.findall(rf'<input id="{name}"[^>]* value="([^"]*)"', text)
    return html.unescape(found)


async def own(admin: Person, person: Person) -> Json:
    found: Json = (await admin.call("GET", f"/v1/users/{person.id}/two-factor")).json()
    return found


async def changed(desk: Desk, person: Person, part: str, done: str, **fields: str) -> str:
    """Sends a form that is taken, and gives the page that comes then."""
    answer = await desk.send(f"/users/{person.id}/{part}", **fields)
    assert (answer.status_code, answer.headers.get("location")) == (303, f"/users/{person.id}?done={done}"), read(
        answer
    )
    return await desk.text(answer.headers["location"])


async def refused(desk: Desk, person: Person, part: str, card: str, **fields: str) -> httpx.Response:
    """Sends a form that is not taken: what is wrong stands in its card, announced, and nowhere else."""
    answer = await desk.send(f"/users/{person.id}/{part}", **fields)
    assert answer.status_code in (403, 404, 409, 422), read(answer)
    assert answer.text.count('role="alert"') == 1
    assert 'role="alert"' in answer.text.partition(f'id="{card}-card"')[2].partition("</section>")[0]
    return answer


async def test_details_are_changed_and_refused_with_what_was_typed(
    admin: Person, clinic: SomeClinic, desk: Desk
) -> None:
    person = await clinic.person()
    fields = {"name": "Nia Adeyemi", "email": "nia@harbour.example", "role": "receptionist", "phone": "07700 900123"}
    page = await changed(desk, person, "details", "saved", **fields)
    assert value_of(page, "phone") == PHONE
    assert "Not confirmed with a code yet." in page
    body = (await admin.call("GET", f"/v1/users/{person.id}")).json()
    assert (body["name"], body["email"], body["role"]) == ("Nia Adeyemi", "nia@harbour.example", "receptionist")
    answer = await refused(desk, person, "details", "details", **{**fields, "email": admin.email, "name": "Nia A."})
    assert "has this e-mail address already" in read(answer, "details")
    assert (value_of(answer, "name"), value_of(answer, "email")) == ("Nia A.", admin.email)
    answer = await refused(desk, person, "details", "details", **{**fields, "phone": ""})
    assert "can be replaced, and not removed" in read(answer, "details")
    mine = {"name": "Mina Okafor", "email": admin.email, "role": "practitioner", "phone": ""}
    answer = await refused(desk, admin, "details", "details", **mine)
    assert "the clinic's only administrator who can sign in" in read(answer, "details")
    assert '<option value="practitioner" selected>' in answer.text


async def test_an_account_is_disabled_enabled_and_signed_out(admin: Person, clinic: SomeClinic, desk: Desk) -> None:
    person = await clinic.person()
    await person.sign_in()
    await changed(desk, person, "sign-out", "signed-out-everywhere", sure="yes")
    assert (await person.call("GET", "/v1/me")).status_code == 401
    page = await changed(desk, person, "disable", "account-disabled", sure="yes")
    assert "Enable the account" in page
    assert (await person.try_sign_in()).status_code == 401
    assert "Enable it first" in read(await refused(desk, person, "reset", "account", sure="yes"), "account")
    await changed(desk, person, "enable", "account-enabled", sure="yes")
    assert (await person.try_sign_in()).status_code == 201
    page = await desk.text(f"/users/{admin.id}")
    assert "You cannot disable your own account" in page
    assert "/disable" not in page
    assert "cannot disable your own" in read(await refused(desk, admin, "disable", "account", sure="yes"), "account")
    assert (await desk.http.get(f"/users/{person.id}/reset")).headers["location"] == f"/users/{person.id}"


async def test_a_password_is_reset_by_a_link_that_is_shown_once(stack: Stack, clinic: SomeClinic, desk: Desk) -> None:
    person = await clinic.person()
    answer = await desk.send(f"/users/{person.id}/reset", sure="yes")
    (link,) = re.findall(r'id="address"[^>]*>([^<]+)<', answer.text)
    token = link.rpartition("/")[2]
    assert "until 16 November 2026, 10:3" in answer.text
    assert 'role="img" aria-label="QR code of the link"' in answer.text
    assert token not in await desk.text(f"/users/{person.id}")
    mina = Visitor(stack)
    form = {"csrf": await mina.token_in(f"/activate/{token}"), "password": f"{PASSWORD} anew"}
    assert (await mina.http.post(f"/activate/{token}", data=form)).status_code == 303
    assert (await person.try_sign_in(f"{PASSWORD} anew")).status_code == 201


async def test_remembered_browsers_are_forgotten(admin: Person, clinic: SomeClinic, desk: Desk) -> None:
    await clinic.require(require_two_factor=None, remember_device_days=30)
    person = await clinic.person()
    await person.sign_in()
    await person.enrol_totp()
    await person.sign_in()
    kept = await person.prove_raw({"method": "totp", "code": person.code(), "remember_device": True})
    known = {"device_token": kept.json()["device_token"]}
    await changed(desk, person, "forget", "browsers-forgotten", sure="yes")
    assert (await person.sign_in(**known))["state"] == "second_factor_required"


async def test_the_page_says_why_they_are_asked_and_what_each_rule_said(
    admin: Person, clinic: SomeClinic, desk: Desk
) -> None:
    person = await clinic.person()
    await person.sign_in()
    await person.enrol_totp()
    await clinic.require_here()
    put = {"requires_two_factor": True}
    assert (await admin.call("PUT", "/v1/clinic/integrations/ledger", put)).status_code == 200
    page = read(await desk.text(f"/users/{person.id}"))
    assert "An integration of Harbour Clinic (ledger) has required a code at sign-in since 16 November" in page
    said = page.partition("Everything that was checked")[2].partition("What is required")[0]
    for words in (
        "Integrations Required of everyone by: ledger.",
        "This person's requirement Nothing is set for this person",
        "The clinic's rule It is required of everyone.",
        "What they have set up Something is set up, so it is asked for at sign-in.",
        "Ways that are allowed The clinic allows: Authenticator app, Text message.",
        "Mobile number The clinic needs a mobile number, and none is on file.",
        "Signing in once without a code Not allowed now.",
        "Remembered browsers No browser is remembered.",
    ):
        assert words in said
    assert "Authenticator app Set up on 16 November 2026. Last used 16 November 2026, 09:3" in page
    assert "10 codes left." in page
    assert "While it does, an exemption does not count." in page


async def test_somebody_is_exempt_until_a_time_on_the_clinics_clock(
    admin: Person, clinic: SomeClinic, desk: Desk
) -> None:
    await admin.call("PATCH", "/v1/clinic", {"timezone": "Australia/Brisbane"})
    person = await clinic.person()
    fields = {"requirement": "exempt", "reason": "Away until spring.", "expires_at": "2026-11-30T17:00"}
    page = await changed(desk, person, "requirement", "requirement-saved", **fields)
    found = await own(admin, person)
    assert (found["requirement"], found["requirement_expires_at"]) == ("exempt", "2026-11-30T07:00:00.000Z")
    assert value_of(page, "expires_at") == "2026-11-30T17:00"
    assert "Clinic time: Australia/Brisbane." in page
    assert "Set by Mina Okafor on 16 November 2026, 19:3" in page
    assert "Exempt until 30 November 2026, 17:00" in page
    await changed(desk, person, "requirement", "requirement-saved", **{**fields, "expires_at": ""})
    assert (await own(admin, person))["requirement_expires_at"] is None
    left = {**fields, "requirement": "clinic_default"}  # as a form that was filled for an exemption sends it
    await changed(desk, person, "requirement", "requirement-saved", **left)
    found = await own(admin, person)
    assert (found["requirement"], found["requirement_note"], found["requirement_expires_at"]) == (
        "clinic_default",
        "",
        None,
    )


async def test_an_exemption_that_cannot_be_is_refused_beside_its_field(clinic: SomeClinic, desk: Desk) -> None:
    person = await clinic.person()
    for name, typed, words in (
        ("reason", " ", "Say why in a sentence"),
        ("reason", "x" * 301, "at most 300 characters"),
        ("expires_at", "2026-11-16T09:00", "Choose a time to come."),
        ("expires_at", "2046-11-16T09:00", "within ten years"),
        ("expires_at", "tomorrow", "Choose a day and a time."),
        ("requirement", "never", "Choose what is required."),
    ):
        fields = {"requirement": "exempt", "reason": "No phone.", "expires_at": "2026-11-30T17:00", name: typed}
        answer = await refused(desk, person, "requirement", "requirement", **fields)
        assert words in read(answer, "requirement")
        assert re.search(rf'id="{name}"[^>]*aria-describedby="[^"]*{name}-wrong"', answer.text)
        if name != "requirement":
            assert value_of(answer, name) == typed
            assert '<option value="exempt" selected>' in answer.text


async def test_p11_a47_nobody_exempts_themselves_and_whoever_lifts_has_a_factor(clinic: SomeClinic) -> None:
    bare = await clinic.person("admin")
    await bare.sign_in()
    person = await clinic.person()
    exempt = {"requirement": "exempt", "reason": "No phone.", "expires_at": ""}
    answer = await refused(Desk(bare), person, "requirement", "requirement", **exempt)
    assert "yourself first" in read(answer, "requirement")
    assert f'<a href="/set-up?return_to=/users/{person.id}">' in answer.text
    answer = await refused(Desk(bare), bare, "requirement", "requirement", **exempt)
    assert "Another administrator has to do this for you." in read(answer, "requirement")


async def test_a_number_is_not_needed_for_one_person(admin: Person, clinic: SomeClinic, desk: Desk) -> None:
    person = await clinic.person()
    answer = await refused(desk, person, "phone", "requirement", phone_lifted="yes", phone_reason="")
    assert "Say why" in read(answer, "requirement")
    assert re.search(r'id="phone_lifted"[^>]* checked', answer.text)
    lifting = {"phone_lifted": "yes", "phone_reason": "Carries no phone on the ward."}
    page = await changed(desk, person, "phone", "phone-lifted", **lifting)
    found = await own(admin, person)
    assert (found["phone_lifted"], found["phone_reason"]) == (True, "Carries no phone on the ward.")
    assert value_of(page, "phone_reason") == "Carries no phone on the ward."
    await changed(desk, person, "phone", "phone-needed", phone_reason="Carries no phone on the ward.")
    assert (await own(admin, person))["phone_lifted"] is False
    await clinic.require_here(phone_required=False)
    assert 'name="phone_lifted"' not in await desk.text(f"/users/{person.id}")


async def test_r16_somebody_is_let_in_once_and_nothing_else_changes(
    admin: Person, clinic: SomeClinic, desk: Desk
) -> None:
    person = await clinic.person()
    await person.sign_in()
    await person.enrol_totp()
    await clinic.require_here()
    before = (await own(admin, person), (await admin.call("GET", "/v1/clinic/security")).json())
    card = read(await desk.text(f"/users/{person.id}"), "bypass")
    assert "It changes neither what is required of this person nor your clinic's rule." in card
    page = await changed(desk, person, "bypass", "let-in", bypass_reason="Lost the phone.", minutes="60")
    assert "Allowed until 16 November 2026, 10:3" in page
    assert "Allowed by Mina Okafor: Lost the phone." in read(page, "bypass")
    after = (await own(admin, person), (await admin.call("GET", "/v1/clinic/security")).json())
    assert after[1] == before[1]
    same = ("requirement", "requirement_note", "required", "factors", "phone_lifted")
    assert [after[0][name] for name in same] == [before[0][name] for name in same]
    assert after[0]["bypass"]["suspend_factors"] is False
    page = await changed(desk, person, "take-back", "let-in-taken-back", sure="yes")
    assert "Allowed until" not in page
    assert "bypass" not in await own(admin, person)
    answer = await refused(desk, person, "take-back", "bypass", sure="yes")
    assert "nothing to revoke" in read(answer, "bypass")


async def test_r16_a_stolen_phone_is_stopped_at_once(admin: Person, clinic: SomeClinic, desk: Desk) -> None:
    person = await clinic.person()
    await person.sign_in()
    await person.enrol_totp()
    stolen = {"bypass_reason": "Stolen on the tram.", "minutes": "1440", "stolen": "yes"}
    page = await changed(desk, person, "bypass", "let-in-stolen", **stolen)
    assert "The stolen phone is blocked" in page
    assert "Allowed until 17 November 2026, 09:3" in page
    assert (await person.call("GET", "/v1/me")).status_code == 401
    assert (await person.sign_in())["state"] == "enrolment_required"


async def test_r16_what_was_done_with_it_is_undone_within_a_day(admin: Person, clinic: SomeClinic, desk: Desk) -> None:
    person = await clinic.person()
    await person.sign_in()
    await person.enrol_totp()
    await changed(desk, person, "bypass", "let-in", bypass_reason="Lost the phone.", minutes="60")
    assert (await person.sign_in())["state"] == "enrolment_required"
    card = read(await desk.text(f"/users/{person.id}"), "bypass")
    assert "Used on 16 November 2026, 09:3" in card
    assert "Undo what was done with it" in card
    assert "Allow it once more" in card
    page = await changed(desk, person, "take-back", "let-in-undone", sure="yes")
    assert "Make a link now" in page
    assert (await person.call("GET", "/v1/me")).status_code == 401
    assert (await person.try_sign_in()).status_code == 401


async def test_leave_that_cannot_be_is_refused_with_what_was_typed(
    admin: Person, clinic: SomeClinic, desk: Desk
) -> None:
    person = await clinic.person()
    for name, typed, words in (
        ("bypass_reason", "", "Say why"),
        ("minutes", "0", "from 1 to 1440"),
        ("minutes", "1441", "from 1 to 1440"),
        ("minutes", "an hour", "from 1 to 1440"),
    ):
        fields = {"bypass_reason": "Lost the phone.", "minutes": "90", "stolen": "yes", name: typed}
        answer = await refused(desk, person, "bypass", "bypass", **fields)
        assert words in read(answer, "bypass")
        assert re.search(r'id="stolen"[^>]* checked', answer.text)
        assert value_of(answer, "minutes") == fields["minutes"]
    assert "bypass" not in await own(admin, person)


async def test_nobody_lets_themselves_in(admin: Person, clinic: SomeClinic, desk: Desk) -> None:
    page = await desk.text(f"/users/{admin.id}")
    assert "Another administrator has to do this for you." in read(page, "bypass")
    assert f'action="/users/{admin.id}/bypass"' not in page
    answer = await refused(desk, admin, "bypass", "bypass", bypass_reason="Lost.", minutes="60")
    assert "Another administrator" in read(answer, "bypass")
