"""Apps: machines with a key of their own, which reach what their scopes name and nothing else (P8)."""

from typing import Any

from services.identity.model import Scope
from services.identity.policy_words import Actor
from tests.identity.people import PASSWORD, Person, SomeClinic, Stack, slug_of

HOLDS = "/v1/clinic/integrations"


async def key_of(clinic: SomeClinic, *scopes: Scope, name: str = "") -> str:
    made, key = await clinic.stack.gateway.apps.create(clinic.slug, name or "-".join(scopes), scopes)
    assert made.clinic_id == clinic.id
    return key


async def test_of_a_key_only_a_digest_is_kept(clinic: SomeClinic) -> None:
    key = await key_of(clinic, Scope.USERS_WRITE)
    assert len(key) >= 4 + 43, "256 bits"
    (row,) = clinic.stack.sql("SELECT * FROM app_key WHERE clinic_id = %s", [clinic.id])
    assert key not in str(row)
    assert len(row["digest"]) == 32
    assert key not in str(clinic.stack.sql("SELECT detail FROM audit_event WHERE clinic_id = %s", [clinic.id]))


async def test_an_app_invites_reads_renames_and_disables_staff_and_no_administrators(clinic: SomeClinic) -> None:
    stack, key = clinic.stack, await key_of(clinic, Scope.USERS_WRITE)
    administrator = await clinic.person("admin")
    new = {"email": "new.person@harbour.example", "name": "New Person", "role": "receptionist"}
    added = await stack.call("POST", "/v1/users", new, token=key)
    assert added.status_code == 201, added.text
    user, link = added.json()["user"], added.json()["activation"]
    used = await stack.call("POST", f"/v1/activations/{link['token']}", {"password": PASSWORD})
    assert used.status_code == 204
    listed = (await stack.call("GET", "/v1/users", token=key)).json()
    assert listed == {"users": [{**user, "activated": True}], "next_cursor": None}, (
        "no administrators, no second factors"
    )
    assert (await stack.call("GET", f"/v1/users/{user['id']}", token=key)).status_code == 200
    renamed = await stack.call("PATCH", f"/v1/users/{user['id']}", {"name": "Other Name"}, token=key)
    assert (renamed.status_code, renamed.json()["name"]) == (200, "Other Name")
    person = Person(clinic, user["id"], user["email"])
    await person.sign_in()
    off = await stack.call("PATCH", f"/v1/users/{user['id']}", {"disabled": True}, token=key)
    assert (off.status_code, off.json()["disabled"]) == (200, True)
    assert (await person.call("GET", "/v1/session")).status_code == 401
    kinds = stack.sql(
        "SELECT actor_kind, actor_id, kind FROM audit_event WHERE subject_id = %s ORDER BY seq", [user["id"]]
    )
    assert {row["actor_kind"] for row in kinds if row["kind"] in ("user.added", "user.changed")} == {"app"}
    assert {row["actor_id"][:4] for row in kinds if row["actor_kind"] == "app"} == {"app_"}

    for method, path, body in (
        ("POST", "/v1/users", {**new, "email": "boss@harbour.example", "role": "admin"}),
        ("GET", f"/v1/users/{administrator.id}", None),
        ("PATCH", f"/v1/users/{administrator.id}", {"name": "Someone"}),
        ("PATCH", f"/v1/users/{administrator.id}", {"disabled": True}),
        ("PATCH", f"/v1/users/{user['id']}", {"role": "admin"}),
        ("PATCH", f"/v1/users/{user['id']}", {"role": "receptionist"}),
        ("PATCH", f"/v1/users/{user['id']}", {"email": "x@harbour.example"}),
        ("PATCH", f"/v1/users/{user['id']}", {"phone": "+447700900123"}),
        ("PATCH", f"/v1/users/{user['id']}", {"disabled": False}),
        ("GET", "/v1/users?two_factor=missing", None),
        ("GET", "/v1/users?format=csv", None),
        ("GET", "/v1/users?counts=true", None),
    ):
        refused = await stack.call(method, path, body, token=key)
        assert (refused.status_code, slug_of(refused)) == (403, "forbidden"), (method, path, body)


async def test_an_app_sets_and_ends_its_own_holds_only(clinic: SomeClinic, admin: Person) -> None:
    stack = clinic.stack
    ledger, other = (
        await key_of(clinic, Scope.INTEGRATIONS_WRITE),
        await key_of(clinic, Scope.INTEGRATIONS_WRITE, name="other"),
    )
    terms = {"requires_two_factor": True, "max_device_trust_hours": 24}
    put = await stack.call("PUT", f"{HOLDS}/ledger", terms, token=ledger)
    assert (put.status_code, put.json()["set_by"]["kind"]) == (200, "app"), put.text
    assert (await admin.call("PUT", f"{HOLDS}/by-hand", terms)).status_code == 200
    seen = [hold["name"] for hold in (await stack.call("GET", HOLDS, token=ledger)).json()["integrations"]]
    assert seen == ["ledger"]
    assert (await stack.call("GET", HOLDS, token=other)).json() == {"integrations": []}
    assert [hold["name"] for hold in (await admin.call("GET", HOLDS)).json()["integrations"]] == ["by-hand", "ledger"]
    loose = {"requires_two_factor": False}
    for token, name in ((other, "ledger"), (ledger, "by-hand"), (admin.token, "ledger")):
        for method, body in (("PUT", loose), ("DELETE", None)):
            refused = await stack.call(method, f"{HOLDS}/{name}", body, token=token)
            assert (refused.status_code, slug_of(refused)) == (403, "forbidden"), (name, method)
    # Nor is it shown what would come of what it could not do.
    refused = await admin.call("PUT", f"{HOLDS}/ledger", loose)
    unseen = await admin.call("POST", "/v1/clinic/security/preview", {"hold": "ledger", **loose})
    assert (unseen.status_code, slug_of(unseen)) == (403, "forbidden")
    assert unseen.json()["detail"] == refused.json()["detail"]
    assert (await stack.call("PUT", f"{HOLDS}/ledger", loose, token=ledger)).status_code == 200
    assert (await stack.call("DELETE", f"{HOLDS}/ledger", token=ledger)).status_code == 204
    gone = await stack.call("DELETE", f"{HOLDS}/ledger", token=ledger)
    assert (gone.status_code, slug_of(gone)) == (404, "not-found")


async def test_an_app_learns_whose_session_a_token_is_and_renews_nothing(clinic: SomeClinic, admin: Person) -> None:
    stack, key = clinic.stack, await key_of(clinic, Scope.SESSIONS_READ)

    async def introspect(token: str) -> dict[str, Any]:
        response = await stack.call("POST", "/v1/sessions/introspect", {"token": token}, token=key)
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        return body

    plain = await clinic.person()
    await plain.sign_in()
    before = (await plain.call("GET", "/v1/session")).json()
    assert await introspect(plain.token) == {**before, "active": True}
    assert (await introspect(admin.token))["acr"] == "aal2"
    waiting = await admin.sign_in()
    found = await introspect(waiting["token"])
    assert (found["active"], found["state"]) == (False, "second_factor_required")
    assert "token" not in found
    elsewhere = await (await stack.make_clinic()).person()
    await elsewhere.sign_in()
    ended = await clinic.person()
    await ended.sign_in()
    assert (await ended.call("DELETE", "/v1/session")).status_code == 204
    odd = ("", "\u00e9", "\x00", "x" * 201, "x" * 10_000, f"{plain.token}\n", f" {plain.token}")
    for token in (elsewhere.token, ended.token, "no such token", key, *odd):
        assert await introspect(token) == {"active": False}, token[:20]
    async with stack.client(**{"Authorization": f"Bearer {key}", "Content-Type": "application/json"}) as client:
        half = await client.post("/v1/sessions/introspect", content=rb'{"token": "\ud800"}')
    assert half.json() == {"active": False}
    for body in ({}, {"token": None}, {"token": 7}, {"token": [plain.token]}, {"token": plain.token, "clinic": "x"}):
        assert (await stack.call("POST", "/v1/sessions/introspect", body, token=key)).status_code == 422, body
    after = (await plain.call("GET", "/v1/session")).json()
    assert after["idle_expires_at"] == before["idle_expires_at"]
    refused = await stack.call("POST", "/v1/sessions/introspect", {"token": plain.token}, token=admin.token)
    assert slug_of(refused) in ("forbidden", "unauthenticated")
    assert slug_of(await stack.call("POST", "/v1/sessions/introspect", {"token": plain.token}, token=plain.token)) == (
        "forbidden"
    )
    assert slug_of(await stack.call("POST", "/v1/sessions/introspect", {"token": plain.token})) == "unauthenticated"


async def test_a_revoked_key_opens_nothing_from_the_next_request_on(clinic: SomeClinic) -> None:
    stack, key = clinic.stack, await key_of(clinic, Scope.USERS_WRITE, name="payroll")
    other_replica = await stack.another_app()
    assert (await other_replica.call("GET", "/v1/users", token=key)).status_code == 200
    await stack.gateway.apps.revoke(clinic.slug, "payroll")
    for replica in (stack, other_replica):
        refused = await replica.call("GET", "/v1/users", token=key)
        assert (refused.status_code, slug_of(refused)) == (401, "unauthenticated")
    again = await key_of(clinic, Scope.USERS_WRITE, name="payroll")
    assert (await stack.call("GET", "/v1/users", token=again)).status_code == 200


async def test_an_operator_ends_the_hold_of_an_app_that_is_no_more(clinic: SomeClinic) -> None:
    stack, key, admin = (
        clinic.stack,
        await key_of(clinic, Scope.INTEGRATIONS_WRITE, name="ledger"),
        await clinic.person("admin"),
    )
    await admin.sign_in()
    await admin.enrol_totp()
    assert (await stack.call("PUT", f"{HOLDS}/ledger", {"requires_two_factor": True}, token=key)).status_code == 200
    revoked = await stack.gateway.apps.revoke(clinic.slug, "ledger")
    assert revoked.revoked_at is not None
    assert (await admin.call("DELETE", f"{HOLDS}/ledger")).status_code == 403
    refused = await admin.call("DELETE", "/v1/me/two-factor/totp")
    assert refused.json()["holders"] == ["ledger"]
    found = await stack.gateway.apps.clinic(clinic.slug)
    await stack.gateway.integrations.end(found.id, Actor("operator"), "ledger")
    assert (await admin.call("GET", HOLDS)).json() == {"integrations": []}


async def test_p24_a_key_that_is_not_one_opens_nothing(clinic: SomeClinic) -> None:
    key = await key_of(clinic, Scope.USERS_WRITE)
    for wrong in ("csk_", "csk_" + "A" * 43, key[:-1], key + "A", key.swapcase(), key.removeprefix("csk_")):
        refused = await clinic.stack.call("GET", "/v1/users", token=wrong)
        assert (refused.status_code, slug_of(refused)) == (401, "unauthenticated"), wrong
    async with clinic.stack.client() as client:
        client.cookies.set(clinic.stack.gateway.cookies.name, key)
        refused = await client.get("/v1/users")
    assert refused.status_code == 401, "a key is a bearer token, never a cookie"


async def test_a65_an_app_sees_its_own_clinic_only(clinic: SomeClinic, stack: Stack) -> None:
    elsewhere = await (await stack.make_clinic()).person()
    key = await key_of(clinic, Scope.USERS_WRITE)
    assert (await stack.call("GET", "/v1/users", token=key)).json()["users"] == []
    for method, body in (("GET", None), ("PATCH", {"disabled": True})):
        refused = await stack.call(method, f"/v1/users/{elsewhere.id}", body, token=key)
        assert (refused.status_code, slug_of(refused)) == (404, "not-found")
