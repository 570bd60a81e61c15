"""The API is what its document says: every operation is described with its errors and examples, and schemathesis finds
nothing else in it, asked by an administrator, by someone who waits for a code, and by nobody."""

from typing import Any

import httpx
import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from requests import Request
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok

from tests.identity.people import Person, SomeClinic, Stack

# Left out: what a random valid body cannot know (a clinic that exists, a number that rings), and what would ask again
# by itself over a network (that a session is needed is the last test's).
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "missing_required_header",
)
Document = dict[str, Any]


@pytest.fixture
async def document(stack: Stack) -> Document:
    response = await stack.call("GET", "/openapi.json")
    assert response.status_code == 200
    described: Document = response.json()
    return described


def operations(document: Document) -> list[tuple[str, Document]]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


async def test_every_route_of_the_api_is_described(stack: Stack, document: Document) -> None:
    routes = {
        f"{method} {route.path_format}"  # type: ignore[attr-defined]
        for route in stack.app.router.routes
        for method in route.methods  # type: ignore[attr-defined]
        if route.path.startswith("/v1/") or route.path in ("/healthz", "/readyz", "/openapi.json")  # type: ignore[attr-defined]
    }
    assert {name for name, _ in operations(document)} == routes
    assert document["openapi"].startswith("3.1")
    assert len({operation["operationId"] for _, operation in operations(document)}) == len(routes)


async def test_every_error_is_a_problem_and_every_body_has_an_example_that_fits(document: Document) -> None:
    for name, operation in operations(document):
        bodies = {**operation["responses"]}
        if "requestBody" in operation:
            bodies["request"] = operation["requestBody"]
            assert bodies.keys() >= {"400", "413", "415", "422"}, name
        if "security" in operation:
            assert "401" in bodies, name
        for kind, body in bodies.items():
            if kind.startswith(("4", "5")):
                assert list(body["content"]) == ["application/problem+json"], (name, kind)
            for media_type, content in body.get("content", {}).items():
                if media_type.startswith("image/") or name == "GET /openapi.json":
                    continue
                examples = [content["example"]] if "example" in content else []
                examples += [example["value"] for example in content.get("examples", {}).values()]
                assert examples, (name, kind)
                fits = jsonschema_rs.Draft202012Validator({**content["schema"], "components": document["components"]})
                for example in examples:
                    assert not [error.message for error in fits.iter_errors(example)], (name, kind, example)


def cases_of(operation: Any, most_examples: int) -> list[schemathesis.Case]:
    """Requests for an operation, right ones and wrong ones. They are all made before the first is sent: while it makes
    them hypothesis wants the process for itself."""
    cases: list[schemathesis.Case] = []

    @settings(
        max_examples=most_examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in GenerationMode)))
    def make(case: schemathesis.Case) -> None:
        cases.append(case)

    make()
    return cases


async def ask_all(stack: Stack, document: Document, person: Person | None, most_examples: int) -> set[int]:
    """Asks every operation and holds each answer against the document; answers the statuses met. Each operation is
    asked with a session of its own, so that one that ends it spoils no other."""
    load_all_checks()
    checks = schemathesis.checks.CHECKS.get_by_names(CHECKS)
    statuses: set[int] = set()
    failures: list[str] = []
    for found in schemathesis.openapi.from_dict(document).get_all_operations():
        assert isinstance(found, Ok), found
        cases = cases_of(found.ok(), most_examples)
        token = (await person.sign_in(address="198.51.100.1"))["token"] if person else ""
        for case in cases:
            response = await send(stack, case, token)
            statuses.add(response.status_code)
            try:
                case.validate_response(response, checks=checks)
            except FailureGroup as failure:
                failures += [f"{found.ok().label}: {one}" for one in failure.exceptions]
    assert not failures, "\n\n".join(failures)
    return statuses


async def send(stack: Stack, case: schemathesis.Case, token: str) -> httpx.Response:
    prepared = Request(**case.as_transport_kwargs(base_url=stack.settings.public_url)).prepare()
    headers = {key: value for key, value in prepared.headers.items() if key.lower() != "authorization"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    async with stack.client() as client:
        return await client.request(prepared.method or "", prepared.url or "", headers=headers, content=prepared.body)


async def test_an_administrator_meets_only_what_is_described(
    stack: Stack, clinic: SomeClinic, document: Document
) -> None:
    statuses = await ask_all(stack, document, await clinic.person("admin"), 8)
    assert statuses >= {200, 201, 204, 404, 422}


async def test_someone_who_waits_for_a_code_meets_only_what_is_described(
    stack: Stack, clinic: SomeClinic, document: Document
) -> None:
    person = await clinic.person("admin")
    await person.sign_in()
    await person.enrol_totp()
    statuses = await ask_all(stack, document, person, 4)
    assert statuses >= {200, 403, 422}


async def test_nobody_meets_only_what_is_described(stack: Stack, document: Document) -> None:
    assert await ask_all(stack, document, None, 4) >= {200, 401}
