"""Decisions that were recorded, put in again: a later version must decide them alike, with the same reasons.

`tests/data/decisions.json` is what a clinic once was told. A change of a sentence or a detail is made there by hand, or
by running this file (`python -m tests.policy.test_replay`), and is seen in the diff; a changed outcome is a mistake.
"""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
from countersign.policy.v1 import policy_pb2
from typer.testing import CliRunner

from services.policy.__main__ import app
from services.policy.decision import decide
from services.policy.model import Method
from services.policy.records import decision_to_json, facts_from_json, facts_to_json
from services.policy.replaying import replay
from tests.policy.calls import create, exempt, grant, subject
from tests.policy.calls import decide as decide_over
from tests.policy.conftest import Service
from tests.policy.test_precedence import BYPASSES, FACTORS, HOLDS, RULES, SETTINGS, Case

RECORDED = Path(__file__).parents[1] / "data" / "decisions.json"


def test_every_recorded_decision_is_made_again_with_the_same_reasons() -> None:
    recorded = json.loads(RECORDED.read_text())
    assert len(recorded) >= 60
    for record in recorded:
        facts = facts_from_json(record["facts"])
        assert facts_to_json(facts) == record["facts"]
        assert decision_to_json(decide(facts)) == record["decision"], record["facts"]


def test_the_record_knows_every_outcome_of_every_rule() -> None:
    said = {
        (rule["rule"], rule["outcome"])
        for record in json.loads(RECORDED.read_text())
        for rule in record["decision"]["reason"]["rules"]
    }
    assert said == {
        *(("hold", outcome) for outcome in ("none", "does_not_require", "requires")),
        *(("user_requirement", outcome) for outcome in ("clinic_default", "requires", "exempts", "exemption_ended")),
        *(("clinic_rule", outcome) for outcome in ("does_not_require", "scheduled", "requires")),
        *(("own_factor", outcome) for outcome in ("has_none", "asks")),
        *(("methods", outcome) for outcome in ("allows", "own_factors_disallowed")),
        *(("phone", outcome) for outcome in ("not_needed", "lifted", "on_file", "needed")),
        *(("bypass", outcome) for outcome in ("none", "granted")),
        *(("remembered_browsers", outcome) for outcome in ("not_allowed", "allowed")),
    }


@pytest.mark.parametrize("field", ["rule", "subject", "at", "holds", "setting", "bypass"])
def test_a_record_that_lacks_a_fact_is_refused_not_guessed(field: str) -> None:
    record = json.loads(RECORDED.read_text())[0]["facts"]
    del record[field]
    with pytest.raises(KeyError):
        facts_from_json(record)


def test_the_command_says_of_each_line_whether_it_is_decided_alike(tmp_path: Path) -> None:
    first, second, *_ = json.loads(RECORDED.read_text())
    second["decision"]["reason"]["sentence"], second["decision"]["idle_minutes"] = "Another.", 7
    kept, file = tmp_path / "kept.jsonl", tmp_path / "changed.jsonl"
    kept.write_text(json.dumps(first) + "\n\n")
    file.write_text("\n".join([json.dumps(first), json.dumps(second), "{", json.dumps({"facts": {}}), "7"]))

    same = CliRunner().invoke(app, ["replay", str(kept)])
    assert (same.exit_code, [json.loads(line)["same"] for line in same.stdout.splitlines()]) == (0, [True])
    changed = CliRunner().invoke(app, ["replay", str(file)])
    told = [json.loads(line) for line in changed.stdout.splitlines()]
    assert (changed.exit_code, [(one["line"], one["differs"]) for one in told]) == (
        1,
        [(1, []), (2, ["idle_minutes", "reason"]), *((line, ["not a record"]) for line in (3, 4, 5))],
    )
    assert told[0]["sentence"] == first["decision"]["reason"]["sentence"]


async def test_what_policy_records_is_replayed_alike(policy: Service, tmp_path: Path) -> None:
    clinic_id = (await create(policy)).clinic_id
    await exempt(policy, clinic_id)
    await grant(policy, clinic_id)
    request = policy_pb2.DecideRequest(subjects=[subject(clinic_id)], record=True)
    answer = await policy.peer.call(policy.peer.stub.Decide, request)
    assert list(answer.decisions) == await decide_over(policy, subject(clinic_id))
    file = tmp_path / "records.jsonl"
    file.write_text("\n".join(answer.records))
    (replayed,) = replay(file.read_text().splitlines())
    assert (replayed.differs, replayed.sentence) == ((), answer.decisions[0].reason.sentence)


def _record() -> None:
    """A decision for every second of hold, setting and rule; what takes no part in the precedence goes round beside."""
    beside = itertools.cycle(
        itertools.product(FACTORS, BYPASSES, ((Method.TOTP,), (Method.TOTP, Method.SMS)), (False, True), (False, True))
    )
    recorded = []
    for number, (holds, setting, rule) in enumerate([*itertools.product(HOLDS, SETTINGS, RULES)][::2]):
        factors, bypass, methods, lifted, has_phone = next(itertools.islice(beside, 10, None))
        facts = Case(holds, setting, rule, factors, bypass, methods, lifted, has_phone).facts
        if number % 7 == 0:
            facts = replace(facts, rule=replace(facts.rule, phone_required=False, remember_device_days=0))
        recorded.append({"facts": facts_to_json(facts), "decision": decision_to_json(decide(facts))})
    lines = ",\n".join(json.dumps(record, separators=(",", ":")) for record in recorded)
    RECORDED.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    _record()
