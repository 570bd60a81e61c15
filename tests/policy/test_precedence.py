"""Which rule settles it: every combination of holds, requirement, date, factors and number, beside a table of what must
come out, written without looking at the code; and when a decision ends."""

import itertools
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from services.policy.decision import decide
from services.policy.model import (
    Actor,
    Bypass,
    BypassId,
    BypassState,
    ClinicRule,
    Decision,
    Facts,
    HeldFactor,
    Hold,
    Method,
    Outcome,
    PhoneLift,
    Requirement,
    SessionId,
    UserSetting,
)
from services.policy.records import decision_to_json, facts_from_json, facts_to_json
from tests.policy.calls import LOOKED_AT
from tests.policy.test_decision import NOBODY, NOW, OFF, ON, SMS, TOTP, said_by

BY = Actor("user", "usr_admin", None)
SINCE = datetime(2026, 3, 3, 8, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def hold(name: str = "ledger", *, requires: bool = True, hours: int | None = None) -> Hold:
    return Hold(OFF.clinic_id, name, requires, hours, BY, SINCE)


def setting(requirement: Requirement, until: datetime | None = None, *, since: datetime = SINCE) -> UserSetting:
    return UserSetting(OFF.clinic_id, NOBODY.user_id, requirement, "Has no telephone", until, BY, since)


def bypass(state: BypassState = BypassState.UNUSED, until: datetime = NOW + HOUR) -> Bypass:
    used_at = until - HOUR / 2 if state in (BypassState.USED, BypassState.UNDONE) else None
    session_id = SessionId("ses_1") if used_at else None
    return Bypass(
        BypassId("byp_1"),
        OFF.clinic_id,
        NOBODY.user_id,
        state,
        "Lost phone",
        False,
        BY,
        until - HOUR,
        until,
        used_at,
        session_id,
    )


HOLDS: dict[str, tuple[Hold, ...]] = {
    "no hold": (),
    "a hold that only caps": (hold("payroll", requires=False, hours=12),),
    "a hold": (hold(),),
    "holds": (hold(hours=48), hold("payroll", requires=False, hours=12)),
}
LIFT = PhoneLift("Has no telephone", Actor("user", "usr_admin", None), NOW)
SETTINGS: dict[str, UserSetting | None] = {
    "never set": None,
    "clinic default": setting(Requirement.CLINIC_DEFAULT),
    "required": setting(Requirement.REQUIRED),
    "exempt": setting(Requirement.EXEMPT),
    "exempt for a day": setting(Requirement.EXEMPT, NOW + DAY),
    "exempt until now": setting(Requirement.EXEMPT, NOW),
}
RULES: dict[str, ClinicRule] = {
    "off": OFF,
    "on": ON,
    "on in an hour": replace(OFF, enforce_from=NOW + HOUR),
    "on since now": replace(OFF, enforce_from=NOW),
    "put off for an hour": replace(ON, enforce_from=NOW + HOUR),
}
FACTORS: dict[str, tuple[HeldFactor, ...]] = {
    "none": (),
    "totp": (TOTP,),
    "sms": (SMS,),
    "suspended": (HeldFactor(Method.TOTP, suspended=True),),
}
BYPASSES: dict[str, Bypass | None] = {
    "none": None,
    "usable": bypass(),
    "over": bypass(until=NOW),
    "used": bypass(BypassState.USED),
}


@dataclass(frozen=True, slots=True)
class Case:
    holds: str
    setting: str
    rule: str
    factors: str
    bypass: str
    methods: tuple[Method, ...]
    lifted: bool
    has_phone: bool

    @property
    def facts(self) -> Facts:
        found = SETTINGS[self.setting]
        if self.lifted:
            found = replace(found or setting(Requirement.CLINIC_DEFAULT), lift=LIFT)
        subject = replace(NOBODY, factors=FACTORS[self.factors], has_phone=self.has_phone)
        rule = replace(RULES[self.rule], methods=self.methods, remember_device_days=3)
        return Facts(rule, subject, NOW, HOLDS[self.holds], found, BYPASSES[self.bypass])

    @property
    def must_have_one(self) -> bool:
        """A hold; then the user's `required`; then an unexpired `exempt`; then the clinic's rule, where in force."""
        if self.holds in ("a hold", "holds"):
            return True
        if self.setting == "required":
            return True
        if self.setting in ("exempt", "exempt for a day"):
            return False
        return self.rule in ("on", "on since now")


# What takes no part in the precedence goes round beside it, so that each of its combinations meets many of the others.
SKIPPED = [("none", False, False)]  # seventeen in a round, so that it does not fall into step with the eights
BESIDE = itertools.cycle([*itertools.product(BYPASSES, (False, True), (False, True)), *SKIPPED])
CASES = [
    Case(holds, setting_, rule, factors, bypass_, methods, lifted, has_phone)
    for (holds, setting_, rule, factors, methods), (bypass_, lifted, has_phone) in zip(
        itertools.product(HOLDS, SETTINGS, RULES, FACTORS, ((Method.TOTP,), (Method.TOTP, Method.SMS))),
        BESIDE,
        strict=False,
    )
]


def test_every_combination_of_precedence_decides_as_the_table_says() -> None:
    assert len(CASES) == 4 * 6 * 5 * 4 * 2
    for case in CASES:
        made = decide(case.facts)
        assert made.two_factor_required is case.must_have_one, case
        if case.factors != "none":
            assert made.outcome is Outcome.SECOND_FACTOR, case
        else:
            assert made.outcome is (Outcome.ENROL if case.must_have_one else Outcome.ALLOW), case
        is_disallowed = case.factors == "sms" and Method.SMS not in case.methods
        assert made.enrol_after_proof is (case.must_have_one and is_disallowed), case
        assert made.phone_required is (not case.lifted and not case.has_phone), case
        assert (made.bypass is not None) is (case.bypass == "usable"), case
        days_or_hold = {"a hold that only caps": 12 * 60, "holds": 12 * 60}
        assert made.remember_device_minutes == days_or_hold.get(case.holds, 3 * 24 * 60), case
        will_be_stopped = (
            case.rule in ("on in an hour", "put off for an hour")
            and not case.must_have_one
            and case.setting in ("never set", "clinic default", "exempt until now")
            and (case.factors == "none" or is_disallowed)
        )
        assert (made.upcoming is not None) is will_be_stopped, case


def test_every_combination_is_replayed_from_its_record_to_the_letter() -> None:
    for case in CASES:
        facts, record = case.facts, facts_to_json(case.facts)
        assert facts_from_json(record) == facts
        assert decision_to_json(decide(facts_from_json(record))) == decision_to_json(decide(facts))


def test_every_decision_names_every_rule_and_one_sentence_without_the_administrators_words() -> None:
    for case in CASES:
        reason = decide(case.facts).reason
        assert [said.rule for said in reason.rules] == LOOKED_AT
        assert all(said.outcome and said.detail for said in reason.rules)
        assert reason.sentence.endswith(".")
        assert "None" not in str(reason)
        assert "Has no telephone" not in str(reason)
        assert "Lost phone" not in str(reason)


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        (
            Facts(OFF, NOBODY, NOW, (hold(),)),
            "An integration of Harbour Clinic (ledger) has required a code at sign-in since 3 March, and you"
            " have not set up a"
            " way to get one yet.",
        ),
        (
            Facts(ON, NOBODY, NOW, (hold(), hold("payroll")), setting(Requirement.EXEMPT)),
            "Integrations of Harbour Clinic (ledger and payroll) have required a code at sign-in since 3 March,"
            " and you have"
            " not set up a way to get one yet.",
        ),
        (
            Facts(ON, NOBODY, NOW, tuple(hold(name) for name in "abcde")),
            "Integrations of Harbour Clinic (a, b, c and 2 more) have required a code at sign-in since 3 March,"
            " and you have"
            " not set up a way to get one yet.",
        ),
        (
            Facts(OFF, NOBODY, NOW, (), setting(Requirement.REQUIRED)),
            "An administrator of Harbour Clinic has required you to give a code at sign-in since 3 March, and"
            " you have not set up a way to get one yet.",
        ),
        (
            Facts(ON, NOBODY, NOW, (), setting(Requirement.EXEMPT)),
            "An administrator of Harbour Clinic lets you sign in without a code, and you have not set up a way"
            " to get one.",
        ),
        (
            Facts(ON, NOBODY, NOW, (), setting(Requirement.EXEMPT, datetime(2027, 7, 1, 9, tzinfo=UTC))),
            "An administrator of Harbour Clinic lets you sign in without a code until 1 July 2027, 10:00, and you have"
            " not set up a way to get one.",
        ),
        (
            Facts(ON, NOBODY, NOW, (), setting(Requirement.EXEMPT, NOW)),
            "Harbour Clinic has required a code at sign-in since 1 March, and you have not set up a way to"
            " get one yet.",
        ),
        (
            Facts(replace(OFF, enforce_from=datetime(2026, 12, 1, 18, tzinfo=UTC)), NOBODY, NOW),
            "Harbour Clinic will require a code at sign-in from 1 December, 18:00, and you have not set up a way"
            " to get one.",
        ),
        (
            Facts(ON, replace(NOBODY, factors=(TOTP,)), NOW, (), setting(Requirement.EXEMPT)),
            "You have set up an authenticator app, so you are asked for a code at every sign-in.",
        ),
    ],
)
def test_the_sentence_names_what_settled_it(facts: Facts, sentence: str) -> None:
    assert decide(facts).reason.sentence == sentence


def test_whom_a_scheduled_rule_will_stop_is_told_when_in_the_clinic_s_own_time() -> None:
    rule = replace(OFF, enforce_from=datetime(2026, 12, 1, 5, tzinfo=UTC))
    there = replace(NOBODY, timezone="Pacific/Auckland")
    upcoming = decide(Facts(rule, there, NOW)).upcoming
    assert upcoming is not None
    assert upcoming.enforce_from == rule.enforce_from
    assert upcoming.sentence == (
        "Harbour Clinic will require a code at sign-in from 1 December, 18:00 (Pacific/Auckland): please set up an"
        " authenticator app or text messages before then."
    )
    assert decide(Facts(rule, replace(there, factors=(TOTP,)), NOW)).upcoming is None
    ends_before, ends_after = (setting(Requirement.EXEMPT, rule.enforce_from + by) for by in (-HOUR, HOUR))  # type: ignore[operator]
    assert decide(Facts(rule, there, NOW, (), ends_before)).upcoming is not None
    assert decide(Facts(rule, there, NOW, (), ends_after)).upcoming is None


DATED = [
    Facts(replace(rule, enforce_from=date, methods=(Method.TOTP,)), replace(NOBODY, factors=factors), NOW, *held, leave)
    for rule, date, factors, held, leave in itertools.product(
        (OFF, ON),
        (None, NOW - DAY, NOW + 6 * HOUR, NOW + 3 * DAY),
        ((), (TOTP,), (SMS,)),
        itertools.product(
            (HOLDS["no hold"], HOLDS["a hold"]),
            (
                None,
                setting(Requirement.REQUIRED),
                *(setting(Requirement.EXEMPT, until) for until in (None, NOW - DAY, NOW + 9 * HOUR, NOW + 2 * DAY)),
            ),
        ),
        (None, bypass(until=NOW - HOUR), bypass(until=NOW + 12 * HOUR)),
    )
]


def _without_sentences(decision: Decision) -> object:
    upcoming = decision.upcoming and decision.upcoming.enforce_from
    reason = replace(decision.reason, sentence="")
    return replace(decision, valid_until=None, reason=reason, upcoming=None), upcoming


def test_a_decision_stands_until_it_ends_and_not_a_moment_longer() -> None:
    assert len(DATED) == 2 * 4 * 3 * 2 * 6 * 3
    for facts in DATED:
        made = decide(facts)
        ends = made.valid_until or NOW + 4000 * DAY
        assert ends > NOW
        for later in (NOW + (ends - NOW) / 2, ends - timedelta(microseconds=1)):
            assert _without_sentences(decide(replace(facts, at=later))) == _without_sentences(made), facts
        if made.valid_until:
            assert _without_sentences(decide(replace(facts, at=ends))) != _without_sentences(made), facts


def test_a_hold_caps_what_the_clinic_allows_and_allows_nothing_itself() -> None:
    days_none = replace(OFF, remember_device_days=0)
    assert decide(Facts(days_none, NOBODY, NOW, (hold(hours=100),))).remember_device_minutes == 0
    days_two = replace(OFF, remember_device_days=2)
    assert decide(Facts(days_two, NOBODY, NOW, (hold(hours=100),))).remember_device_minutes == 2 * 24 * 60
    made = decide(Facts(days_two, NOBODY, NOW, (hold(hours=9), hold("payroll", hours=0))))
    assert made.remember_device_minutes == 0
    assert said_by(made, "remembered_browsers").outcome == "not_allowed"
    assert said_by(made, "remembered_browsers").detail == "the clinic allows 2 days, payroll at most 0 hours"
