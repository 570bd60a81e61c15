"""What is wrong with a request, in words for a person; and a name that nothing can have is one that nothing has."""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from services.identity import api
from services.identity.api.fields import Body
from services.identity.validation_words import sentence_of
from tests.identity.people import Person, slug_of

POOR: tuple[Any, ...] = (
    *(None, True, 7, -1, 1e300, 3.5, 10**6, "9" * 5000, "", "\n", "zz", "x" * 5000, "a\0b", "\ud800"),
    *([], ["x"], [7], ["totp"] * 3, ["DE"] * 300, {}, {"a": 1}),
)
JARGON = ("input", "string", "dictionary", "instance", "pattern", "valid ", "parse", "validation", "{", "'", "^")


def requests() -> list[type[Body]]:
    for module in pkgutil.iter_modules(api.__path__):
        importlib.import_module(f"{api.__name__}.{module.name}")

    def below(parent: type[Body]) -> Iterator[type[Body]]:
        for child in parent.__subclasses__():
            yield child
            yield from below(child)

    return list(below(Body))


def test_every_error_that_a_request_can_meet_has_a_sentence_for_a_person() -> None:
    told: dict[str, str] = {}
    for model in requests():
        alone = [{name: value} for name in model.model_fields for value in POOR]
        for sent in (None, [], "x", {"nope": 1}, *alone):
            try:
                model.model_validate(sent, from_attributes=True)  # as the framework asks
            except ValidationError as invalid:
                for error in invalid.errors():
                    told[f"{model.__name__} {error['loc']} {error['type']}"] = sentence_of(error)
    assert len(told) > 150
    for where, sentence in told.items():
        assert sentence != "This is not what belongs here.", where
        assert sentence[0].isupper(), (where, sentence)
        assert sentence.endswith((".", ")")), (where, sentence)
        assert not [word for word in JARGON if word in sentence.lower()], (where, sentence)


async def test_the_sentence_stands_beside_its_field(admin: Person) -> None:
    for body, field, message in (
        ([], "", "Send a JSON object."),
        ("x", "", "Send a JSON object."),
        ({}, "role", "This field is needed."),
        ({"role": "owner"}, "role", "This must be admin, practitioner or receptionist."),
        ({"name": "x" * 101}, "name", "This must have 100 or fewer characters."),
        ({"name": " x"}, "name", "Use no line breaks and no spaces at the ends."),
        ({"email": "nobody"}, "email", "Please give an e-mail address such as mina@harbour.example."),
        ({"email": 7}, "email", "This must be text, in quotation marks."),
    ):
        refused = await admin.call("POST", "/v1/users", body)  # type: ignore[arg-type]  # not what it should be
        assert (refused.status_code, slug_of(refused)) == (422, "invalid-request"), refused.text
        assert {"field": field, "message": message} in refused.json()["errors"]


NAMED: tuple[tuple[str, str, dict[str, Any] | None], ...] = (
    ("GET", "/v1/users/{}", None),
    ("PATCH", "/v1/users/{}", {"disabled": True}),
    ("GET", "/v1/users/{}/two-factor", None),
    ("PUT", "/v1/users/{}/two-factor/requirement", {"requirement": "required"}),
    ("POST", "/v1/users/{}/two-factor/bypass", {"reason": "A lost phone."}),
    ("DELETE", "/v1/users/{}/devices", None),
    ("DELETE", "/v1/me/devices/{}", None),
    ("DELETE", "/v1/me/sessions/{}", None),
    ("DELETE", "/v1/me/two-factor/{}", None),
    ("DELETE", "/v1/clinic/integrations/{}", None),
    ("POST", "/v1/me/two-factor/totp/{}/confirm", {"code": "123456"}),
    ("GET", "/v1/me/two-factor/totp/{}/qr.svg", None),
    ("GET", "/v1/activations/{}", None),
    ("POST", "/v1/activations/{}", {"password": "Another-tall-tale-71"}),
)


async def test_whatever_no_object_can_be_called_is_not_found(admin: Person) -> None:
    for method, path, body in NAMED:
        for name in ("x" * 300, "%20", "%E2%98%83", "USR-1;--", "%1b[31m"):
            refused = await admin.call(method, path.format(name), body)
            assert (refused.status_code, slug_of(refused)) == (404, "not-found"), (method, path, name, refused.text)
            assert "errors" not in refused.json()


async def test_a_body_that_is_wrong_is_told_whatever_the_path_names(admin: Person) -> None:
    for name in ("usr_none", "x" * 300):
        refused = await admin.call("PUT", f"/v1/users/{name}/two-factor/requirement", {"requirement": "maybe"})
        assert (refused.status_code, slug_of(refused)) == (422, "invalid-request")
        assert [error["field"] for error in refused.json()["errors"]] == ["requirement"]


async def test_a_name_that_is_chosen_is_told_what_is_wrong_with_it(admin: Person) -> None:
    refused = await admin.call("PUT", "/v1/clinic/integrations/Ledger", {"requires_two_factor": True})
    assert (refused.status_code, slug_of(refused)) == (422, "invalid-request")
    assert [error["field"] for error in refused.json()["errors"]] == ["name"]
    assert refused.json()["errors"][0]["message"].startswith("Use a to z, 0 to 9")
