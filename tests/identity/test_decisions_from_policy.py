"""What the gateway makes of a decision that policy sends, also one that it does not understand (P10)."""

import pytest
from countersign.policy.v1 import policy_pb2

from services.identity.model import Outcome
from services.identity.peers.policy import decision_from

ALLOW = policy_pb2.Decision.OUTCOME_ALLOW


@pytest.mark.parametrize("outcome", [0, 77])
def test_p10_an_outcome_of_a_later_version_asks_for_a_second_factor_and_never_allows(outcome: int) -> None:
    found = decision_from(policy_pb2.Decision(outcome=outcome))  # type: ignore[arg-type]
    assert (found.outcome, found.is_two_factor_required) == (Outcome.SECOND_FACTOR, True)
    known = decision_from(policy_pb2.Decision(outcome=ALLOW))
    assert (known.outcome, known.is_two_factor_required) == (Outcome.ALLOW, False)


@pytest.mark.parametrize(("sent", "kept"), [(0, 30), (4, 5), (5, 5), (60, 60), (61, 60)])
def test_idle_minutes_stay_within_what_a_clinic_may_set(sent: int, kept: int) -> None:
    assert decision_from(policy_pb2.Decision(outcome=ALLOW, idle_minutes=sent)).idle_minutes == kept


def test_a46_leave_without_its_time_is_none_and_no_browser_is_remembered_for_less_than_no_time() -> None:
    found = decision_from(policy_pb2.Decision(outcome=ALLOW, bypass_id="byp_1", remember_device_minutes=-1))
    assert (found.bypass, found.remember_device_minutes) == (None, 0)
