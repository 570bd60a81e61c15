"""My info: factors, backup codes, contact data, number, password; and what each asks for first (P11, A10, A40-A44)."""

from datetime import timedelta

import pytest

from tests.identity.people import PASSWORD, PHONE, Person, SomeClinic, Stack, slug_of

NEW_PASSWORD = "seven quiet lanterns drift"


async def test_before_anything_is_set_up_nothing_is_on(person: Person) -> None:
    await person.sign_in()
    body = (await person.call("GET", "/v1/me/two-factor")).json()
    assert body["enabled"] is False
    assert body["required"] is False
    assert body["factors"] == []
    assert body["backup_codes"] == {"remaining": 0, "generated_at": None}
    assert body["methods_allowed"] == ["totp", "sms"]
    assert body["reason"]["sentence"]


async def test_an_authenticator_app_is_set_up_by_qr_code_or_key(person: Person) -> None:
    await person.sign_in()
    started = (await person.call("POST", "/v1/me/two-factor/totp")).json()
    assert started["otpauth_uri"].startswith("otpauth://totp/Countersign:Harbour%20Clinic%20")
    assert f"secret={started['secret']}" in started["otpauth_uri"]
    assert started["qr_svg"].startswith("<svg")
    path = f"/v1/me/two-factor/totp/{started['enrolment_id']}"
    png = await person.call("GET", f"{path}/qr.png")
    assert png.content.startswith(b"\x89PNG")
    assert png.headers["cache-control"] == "no-store"
    svg = await person.call("GET", f"{path}/qr.svg")
    assert svg.headers["content-type"].startswith("image/svg+xml")
    assert "xmlns" in svg.text
    assert (await person.call("GET", "/v1/me/two-factor")).json()["enabled"] is False
    await person.enrol_totp()
    for picture in ("qr.png", "qr.svg"):  # A43
        gone = await person.call("GET", f"{path}/{picture}")
        assert (gone.status_code, slug_of(gone)) == (410, "gone")
    body = (await person.call("GET", "/v1/me/two-factor")).json()
    assert [factor["method"] for factor in body["factors"]] == ["totp"]
    assert body["backup_codes"]["remaining"] == 10


@pytest.mark.parametrize("path", ["/v1/me/two-factor/totp", "/v1/me/two-factor/backup-codes"])
async def test_a42_a_secret_that_the_client_brings_is_refused(person: Person, path: str) -> None:
    await person.sign_in()
    refused = await person.call("POST", path, {"secret": "JBSWY3DPEHPK3PXP"})
    assert (refused.status_code, slug_of(refused)) == (422, "invalid-request")


async def test_a44_an_abandoned_set_up_cannot_be_confirmed_later(person: Person) -> None:
    await person.sign_in()
    started = (await person.call("POST", "/v1/me/two-factor/totp")).json()
    person.secret = started["secret"]
    person.stack.clock.advance(timedelta(minutes=10, seconds=1))
    late = await person.call(
        "POST", f"/v1/me/two-factor/totp/{started['enrolment_id']}/confirm", {"code": person.code()}
    )
    assert (late.status_code, slug_of(late)) == (410, "gone")


async def test_anothers_set_up_is_not_found(person: Person) -> None:
    await person.sign_in()
    stranger = await person.clinic.person()
    await stranger.sign_in()
    started = (await stranger.call("POST", "/v1/me/two-factor/totp")).json()
    stranger.secret = started["secret"]
    path = f"/v1/me/two-factor/totp/{started['enrolment_id']}"
    for response in (
        await person.call("GET", f"{path}/qr.png"),
        await person.call("POST", f"{path}/confirm", {"code": stranger.code()}),
        await person.call("GET", "/v1/me/two-factor/totp/enr_none/qr.png"),
        await person.call("POST", "/v1/me/two-factor/totp/enr_none/confirm", {"code": "123456"}),
    ):
        assert (response.status_code, slug_of(response)) == (404, "not-found")


async def test_a_new_authenticator_app_replaces_the_old_one_and_ends_the_other_sessions(person: Person) -> None:
    await person.sign_in()
    await person.enrol_totp()
    old_secret, live = person.secret, person.token
    await person.sign_in_in_full()
    body = await person.enrol_totp()
    assert len(body["backup_codes"]) == 10  # a changed phone leaves none of the old ones living
    assert person.secret != old_secret
    ended = await person.stack.call("GET", "/v1/session", token=live)
    assert ended.json()["cause"] == "ended"
    assert len(body["two_factor"]["factors"]) == 1


async def test_p11_a40_a_stale_proof_changes_nothing_and_a_fresh_one_does(person: Person) -> None:
    await person.sign_in()
    await person.enrol_totp()
    person.stack.clock.advance(timedelta(minutes=5))
    for method, path, body in (
        ("DELETE", "/v1/me/two-factor/totp", None),
        ("POST", "/v1/me/two-factor/backup-codes", None),
        ("PATCH", "/v1/me", {"phone": PHONE}),
        ("POST", "/v1/me/phone", {"phone": PHONE}),
        ("PUT", "/v1/me/password", {"current_password": PASSWORD, "new_password": NEW_PASSWORD}),
    ):
        refused = await person.call(method, path, body)
        assert (refused.status_code, slug_of(refused)) == (401, "step-up-required"), path
    assert (await person.call("PATCH", "/v1/me", {"name": "Mina O."})).status_code == 200
    stepped_up = await person.prove()
    person.token = stepped_up.json()["token"]
    made = await person.call("POST", "/v1/me/two-factor/backup-codes")
    assert made.status_code == 201
    assert len(made.json()["codes"]) == 10
    assert not set(made.json()["codes"]) & set(person.backup_codes)


async def test_removing_the_last_factor_takes_its_proof_with_it(person: Person) -> None:
    await person.sign_in()
    other = person.token
    await person.sign_in()
    await person.enrol_totp()
    assert (await person.call("DELETE", "/v1/me/two-factor/totp")).status_code == 204
    session = (await person.call("GET", "/v1/session")).json()
    assert (session["state"], session["acr"], session["verified_at"]) == ("active", "aal1", None)
    assert (await person.stack.call("GET", "/v1/session", token=other)).json()["cause"] == "ended"
    never = await person.call("DELETE", "/v1/me/two-factor/sms")
    assert (never.status_code, slug_of(never)) == (404, "not-found")
    await person.clinic.require_here()
    assert await person.state() == "enrolment_required"


async def test_the_last_factor_stays_while_one_is_required(person: Person) -> None:
    await person.sign_in()
    await person.enrol_totp()
    await person.clinic.require_here()
    refused = await person.call("DELETE", "/v1/me/two-factor/totp")
    assert (refused.status_code, slug_of(refused)) == (409, "required-by-policy")
    assert refused.json()["reason"]["sentence"]
    assert refused.json()["holders"] == []
    assert (await person.call("GET", "/v1/me/two-factor")).json()["enabled"] is True


async def test_no_backup_codes_without_a_factor(person: Person) -> None:
    await person.sign_in()
    refused = await person.call("POST", "/v1/me/two-factor/backup-codes")
    assert (refused.status_code, slug_of(refused)) == (409, "conflict")


async def test_a_method_that_the_clinic_does_not_offer_is_a_conflict(person: Person) -> None:
    await person.clinic.require_here(require_two_factor=False, methods=("sms",))
    await person.sign_in()
    refused = await person.call("POST", "/v1/me/two-factor/totp")
    assert (refused.status_code, slug_of(refused)) == (409, "conflict")


async def test_a_backup_code_signs_in_once(person: Person) -> None:
    await person.sign_in()
    await person.enrol_totp()
    await person.sign_in()
    code = person.backup_codes[3]
    proven = await person.prove(code.lower().replace("-", " "), "backup_code")
    assert proven.status_code == 200
    assert proven.json()["amr"] == ["pwd", "mfa"]
    assert proven.json()["backup_codes_remaining"] == 9
    await person.sign_in()
    again = await person.prove(code, "backup_code")
    assert (again.status_code, slug_of(again)) == (422, "code-already-used")


async def test_a_wrong_code_says_how_many_are_left_and_the_budget_ends_them(person: Person) -> None:
    await person.sign_in()
    await person.enrol_totp()
    await person.sign_in()
    left = []
    for _ in range(5):
        wrong = await person.prove(person.wrong_code())
        assert (wrong.status_code, slug_of(wrong)) == (422, "invalid-code")
        assert wrong.json()["hint"]
        left.append(wrong.json()["attempts_left"])
    assert left == [4, 3, 2, 1, 0]
    refused = await person.prove()
    assert (refused.status_code, slug_of(refused)) == (429, "too-many-attempts")
    assert refused.headers["retry-after"] == str(refused.json()["retry_after"])
    assert refused.json()["locked"] is False
    assert await person.state() == "second_factor_required"  # A08: no login is ended by it


async def test_a10_the_budget_is_one_over_sign_in_step_up_and_set_up(person: Person) -> None:
    await person.sign_in()
    await person.enrol_totp()
    for _ in range(3):
        assert (await person.prove(person.wrong_code())).status_code == 422
    started = (await person.call("POST", "/v1/me/two-factor/totp")).json()
    path = f"/v1/me/two-factor/totp/{started['enrolment_id']}/confirm"
    for _ in range(2):
        assert (await person.call("POST", path, {"code": "000000"})).status_code == 422
    assert (await person.call("POST", path, {"code": "000000"})).status_code == 429
    assert (await person.prove()).status_code == 429


async def test_while_the_budget_is_spent_a_proven_session_may_change_the_password(person: Person) -> None:
    await person.sign_in()
    await person.enrol_totp()
    live = person.token
    await person.sign_in()
    for _ in range(5):
        await person.prove(person.wrong_code())
    thief, person.token = person.token, live
    person.stack.clock.advance(timedelta(minutes=6))
    assert (await person.call("POST", "/v1/me/two-factor/backup-codes")).status_code == 401
    body = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    changed = await person.call("PUT", "/v1/me/password", body)
    assert changed.status_code == 200, changed.text
    assert (await person.stack.call("GET", "/v1/session", token=thief)).status_code == 401


async def test_changing_the_password_ends_the_other_sessions(person: Person) -> None:
    await person.sign_in()
    other = person.token
    await person.sign_in()
    wrong = await person.call(
        "PUT", "/v1/me/password", {"current_password": "not the password", "new_password": NEW_PASSWORD}
    )
    assert (wrong.status_code, slug_of(wrong)) == (401, "invalid-credentials")
    for poor in ("short", "passwordpassword", PASSWORD, "x" * 129):
        refused = await person.call("PUT", "/v1/me/password", {"current_password": PASSWORD, "new_password": poor})
        assert (refused.status_code, slug_of(refused)) == (422, "invalid-request"), poor
        assert refused.json()["errors"][0]["field"] == "new_password"
        assert poor not in refused.text
    body = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    changed = await person.call("PUT", "/v1/me/password", body)
    assert changed.status_code == 200
    assert (await person.stack.call("GET", "/v1/session", token=other)).json()["cause"] == "password_changed"
    person.token = changed.json()["token"]
    assert await person.state() == "active"
    assert (await person.try_sign_in()).status_code == 401
    assert (await person.try_sign_in(NEW_PASSWORD)).status_code == 201


async def test_contact_data_can_be_changed_and_is_not_proven_by_that(person: Person) -> None:
    await person.sign_in()
    body = (
        await person.call("PATCH", "/v1/me", {"name": "Mina O.", "phone": "07700 900123", "locale": "de-AT"})
    ).json()
    assert (body["name"], body["phone"], body["phone_proven"]) == ("Mina O.", PHONE, False)
    assert (await person.call("GET", "/v1/me")).json() == body
    for change in (
        {"phone": "12"},
        {"phone": None},
        {"phone": PHONE + "\x00"},
        {"phone": PHONE + "x"},
        {"phone": PHONE + " ext 5"},
        {"phone": "+44770090" + "\uff10\uff11\uff12\uff13"},
        {"name": ""},
        {"name": "a\nb"},
        {"locale": "x"},
        {"role": "admin"},
    ):
        refused = await person.call("PATCH", "/v1/me", change)
        assert (refused.status_code, slug_of(refused)) == (422, "invalid-request"), change
    assert (await person.call("PATCH", "/v1/me", {})).json() == body


async def test_a_number_is_proven_without_becoming_a_factor(person: Person) -> None:
    await person.sign_in()
    started = await person.call("POST", "/v1/me/phone", {"phone": "07700 900123"})
    assert started.status_code == 202
    assert PHONE not in started.text
    code = person.stack.notifier.code_to(PHONE)
    wrong = "000000" if code != "000000" else "111111"
    refused = await person.call("POST", "/v1/me/phone/confirm", {"code": wrong})
    assert (refused.status_code, slug_of(refused)) == (422, "invalid-code")
    assert (await person.call("GET", "/v1/me")).json()["phone"] is None
    assert (await person.call("POST", "/v1/me/phone/confirm", {"code": code})).status_code == 204
    me = (await person.call("GET", "/v1/me")).json()
    assert (me["phone"], me["phone_proven"]) == (PHONE, True)
    assert (await person.call("GET", "/v1/me/two-factor")).json()["factors"] == []
    other = (await person.call("PATCH", "/v1/me", {"phone": "+447700900124"})).json()
    assert other["phone_proven"] is False
    again = await person.call("POST", "/v1/me/phone/confirm", {"code": code})
    assert (again.status_code, slug_of(again)) == (422, "code-already-used"), "it must not undo what was changed since"
    assert (await person.call("GET", "/v1/me")).json() == other


async def test_a_forced_set_up_asks_for_a_number_first(clinic: SomeClinic) -> None:
    await clinic.require_here()
    person = await clinic.person()
    opened = await person.sign_in()
    assert opened["enrolment"] == {"methods": ["totp", "sms"], "phone_required": True}
    refused = await person.call("POST", "/v1/me/two-factor/totp")
    assert (refused.status_code, slug_of(refused)) == (403, "enrolment-required")
    assert refused.json()["phone_required"] is True
    me = await person.call("PATCH", "/v1/me", {"phone": PHONE})
    assert me.status_code == 200
    assert PHONE not in me.text  # masked until the factor is there
    assert (await person.call("GET", "/v1/session")).json()["enrolment"]["phone_required"] is False
    body = await person.enrol_totp()
    assert body["session"]["state"] == "active"
    assert (await person.call("GET", "/v1/me")).json()["phone"] == PHONE


async def test_a_forced_set_up_cannot_change_a_proven_number(stack: Stack, clinic: SomeClinic) -> None:
    await clinic.require_here()
    person = await clinic.person(phone=PHONE)
    stack.sql("UPDATE app_user SET phone_proven = true WHERE id = %s", [person.id])
    await person.sign_in()
    for response in (
        await person.call("PATCH", "/v1/me", {"phone": "+447700900124"}),
        await person.call("POST", "/v1/me/two-factor/sms", {"phone": "+447700900124"}),
    ):
        assert (response.status_code, slug_of(response)) == (403, "forbidden")
    assert (await person.call("POST", "/v1/me/two-factor/sms")).status_code == 202


async def test_text_messages_as_a_factor_from_set_up_to_sign_in(stack: Stack, person: Person) -> None:
    await person.sign_in()
    without = await person.call("POST", "/v1/me/two-factor/sms")
    assert (without.status_code, slug_of(without)) == (422, "invalid-request")
    started = await person.call("POST", "/v1/me/two-factor/sms", {"phone": PHONE})
    assert started.status_code == 202, started.text
    assert PHONE not in started.text
    assert started.json()["resend_after"] == 30
    path = f"/v1/me/two-factor/sms/{started.json()['enrolment_id']}/confirm"
    confirmed = (await person.call("POST", path, {"code": stack.notifier.code_to(PHONE)})).json()
    assert confirmed["session"]["amr"] == ["pwd", "sms", "mfa"]
    assert len(confirmed["backup_codes"]) == 10
    person.token = confirmed["session"]["token"]
    me = (await person.call("GET", "/v1/me")).json()
    assert (me["phone"], me["phone_proven"]) == (PHONE, True)
    stack.clock.advance(timedelta(minutes=1))
    assert (await person.sign_in())["methods"] == ["sms", "backup_code"]
    none_yet = await person.call("GET", "/v1/session/second-factor/sms")
    assert (none_yet.status_code, slug_of(none_yet)) == (404, "not-found")
    too_early = await person.prove("123456", "sms")
    assert (too_early.status_code, slug_of(too_early)) == (422, "code-expired")
    sent = await person.call("POST", "/v1/session/second-factor/sms")
    assert sent.status_code == 202, sent.text
    assert sent.json()["delivery"]["status"] == "queued"
    assert sent.json()["resend_after"] == 30
    again = await person.call("POST", "/v1/session/second-factor/sms")
    assert (again.status_code, slug_of(again)) == (429, "too-many-attempts")
    assert 1 <= again.json()["retry_after"] <= 30
    assert (await person.call("GET", "/v1/session/second-factor/sms")).status_code == 200
    wrong_method = await person.prove("123456", "totp")
    assert (wrong_method.status_code, slug_of(wrong_method)) == (409, "conflict")
    proven = await person.prove(stack.notifier.code_to(PHONE), "sms")
    assert proven.status_code == 200, proven.text
    assert proven.json()["amr"] == ["pwd", "sms", "mfa"]


async def test_a_code_where_there_is_no_factor_is_a_conflict(person: Person) -> None:
    await person.sign_in()
    for method, code in (("totp", "123456"), ("sms", "123456"), ("backup_code", "0ABC-DEFG-HJKM-NPQR")):
        refused = await person.prove(code, method)
        assert (refused.status_code, slug_of(refused)) == (409, "conflict"), method
    sending = await person.call("POST", "/v1/session/second-factor/sms")
    assert (sending.status_code, slug_of(sending)) == (409, "conflict")


async def test_a_shared_computer_is_never_remembered(person: Person) -> None:
    await person.sign_in()
    await person.enrol_totp()
    await person.sign_in(shared_device=True)
    body = {"method": "totp", "code": person.code(), "remember_device": True}
    refused = await person.call("POST", "/v1/session/second-factor", body)
    assert (refused.status_code, slug_of(refused)) == (422, "invalid-request")
    assert (await person.prove()).status_code == 200


async def test_p18_every_change_leaves_its_event(person: Person) -> None:
    await person.sign_in()
    await person.enrol_totp()
    await person.sign_in_in_full()
    await person.call("PATCH", "/v1/me", {"name": "Mina O."})
    await person.call("DELETE", "/v1/me/two-factor/totp")
    await person.call("DELETE", "/v1/session")
    assert person.stack.events(person.id) == [
        "session.opened",
        "factor.enrolled",
        "session.proven",
        "session.opened",
        "session.proven",
        "user.changed",
        "factor.removed",
        "session.ended",
    ]
