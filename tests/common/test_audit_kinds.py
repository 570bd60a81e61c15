"""The table of audit events says what the code writes: no kind is missing, and none is there that nobody writes."""

import ast
import re
from pathlib import Path

import pytest

from deploy.databases import SERVICES
from services.notifier.model import State
from services.otp.model import Result

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "deploy" / "audit-events.md"

KIND = re.compile(r"[a-z_]+\.[a-z_]+")
# Made of a verdict or a state: 'code.' and what otp says of a code, 'delivery.' and how it fares.
FAMILIES = {"code.": [result.value for result in Result], "delivery.": [state.value for state in State]}
# Of the same shape, and no kind: files, what ASGI calls its messages, scopes of app keys, fields of a contract, a task,
# a column.
NO_KIND = re.compile(
    r".*\.(html|css|svg|js|pem|csv)|http\..*|lifespan\..*|(sessions|users|integrations)\.(read|write)|caller\..*|notifier\.send|u\.phone"
)
NO_CODE = {"examples.py", "audit_words.py"}  # the second tells every service's kinds on a page


def kinds_in_code(service: str) -> set[str]:
    found: set[str] = set()
    for path in sorted((ROOT / "services" / service).rglob("*.py")):
        if path.name in NO_CODE:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
                begins = str(node.values[0].value)
                found |= {f"{begins}{end}" for end in FAMILIES.get(begins, [])}
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and KIND.fullmatch(node.value):
                found.add(node.value)
    return {kind for kind in found if not NO_KIND.fullmatch(kind)}


def kinds_in_table(service: str) -> list[str]:
    _, _, rest = TABLE.read_text().partition(f"\n### {service}\n")
    table, _, _ = rest.partition("\n#")
    first_cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return [kind for cell in first_cells for kind in re.findall(r"`([^`]+)`", cell)]


@pytest.mark.parametrize("service", SERVICES)
def test_every_kind_of_event_stands_in_the_table_and_nothing_else(service: str) -> None:
    listed = kinds_in_table(service)
    assert len(listed) == len(set(listed))
    assert set(listed) == kinds_in_code(service)


def test_every_actor_in_the_table_is_one_of_the_five() -> None:
    actors = {
        actor
        for line in TABLE.read_text().splitlines()
        if line.startswith("| `") and line.count("|") == 5
        for actor in line.split("|")[3].strip().split(", ")
    }
    assert actors <= {"user", "app", "operator", "system", "anonymous"}
