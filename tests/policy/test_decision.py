"""The decision as a pure function: tables of what is asked and said, and properties over every combination."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.policy.decision import decide
from services.policy.model import (
    CHOOSABLE,
    ClinicId,
    ClinicRule,
    Decision,
    Facts,
    HeldFactor,
    Method,
    Outcome,
    RuleOutcome,
    Subject,
    UserId,
)

NOW = datetime(2026, 11, 16, 9, 30, tzinfo=UTC)
OFF = ClinicRule(
    clinic_id=ClinicId("cli_1"),
    require_two_factor=False,
    required_since=None,
    methods=(Method.TOTP, Method.SMS),
    phone_required=True,
    remember_device_days=0,
    idle_minutes=30,
    sms_countries=("GB",),
    sms_daily_cap=300,
    version=4,
    epoch=9,
)
ON = replace(OFF, require_two_factor=True, required_since=datetime(2026, 3, 1, 8, tzinfo=UTC))
NOBODY = Subject(
    clinic_id=ClinicId("cli_1"),
    clinic_name="Harbour Clinic",
    timezone="Europe/London",
    user_id=UserId("usr_1"),
    factors=(),
    has_phone=True,
    methods_available=frozenset(CHOOSABLE),
)
LOOKED_AT = [
    "hold",
    "user_requirement",
    "clinic_rule",
    "own_factor",
    "methods",
    "phone",
    "bypass",
    "remembered_browsers",
]
TOTP, SMS = HeldFactor(Method.TOTP), HeldFactor(Method.SMS)


def said_by(decision: Decision, rule: str) -> RuleOutcome:
    return next(said for said in decision.reason.rules if said.rule == rule)


def having(*factors: HeldFactor) -> Subject:
    return replace(NOBODY, factors=factors)


@pytest.mark.parametrize(
    ("rule", "factors", "outcome", "required", "sentence"),
    [
        (
            OFF,
            (),
            Outcome.ALLOW,
            False,
            "Harbour Clinic does not require a code at sign-in, and you have not set up a way to get one.",
        ),
        (
            ON,
            (),
            Outcome.ENROL,
            True,
            "Harbour Clinic has required a code at sign-in since 1 March, and you have not set up a way to"
            " get one yet.",
        ),
        (
            OFF,
            (TOTP,),
            Outcome.SECOND_FACTOR,
            False,
            "You have set up an authenticator app, so you are asked for a code at every sign-in.",
        ),
        (
            ON,
            (TOTP,),
            Outcome.SECOND_FACTOR,
            True,
            "Harbour Clinic has required a code at sign-in since 1 March, and you have set up an authenticator app.",
        ),
        (
            ON,
            (SMS, TOTP),
            Outcome.SECOND_FACTOR,
            True,
            "Harbour Clinic has required a code at sign-in since 1 March, and you have set up an authenticator"
            " app and text"
            " messages.",
        ),
    ],
)
def test_the_rule_and_the_own_factor_decide(
    rule: ClinicRule, factors: tuple[HeldFactor, ...], outcome: Outcome, required: bool, sentence: str
) -> None:
    decision = decide(Facts(rule, having(*factors), NOW))
    assert (decision.outcome, decision.two_factor_required) == (outcome, required)
    assert decision.reason.sentence == sentence
    assert not decision.enrol_after_proof
    assert (decision.version, decision.epoch, decision.idle_minutes, decision.valid_until) == (4, 9, 30, None)


NOT_SET_APART = (
    RuleOutcome("hold", "none", "no integration demands a second factor"),
    RuleOutcome("user_requirement", "clinic_default", "the clinic's rule holds for this person"),
)
NOTHING_ELSE = (
    RuleOutcome("phone", "on_file", "the clinic needs a mobile number, and one is on file"),
    RuleOutcome("bypass", "none", "no leave to sign in without a code"),
    RuleOutcome("remembered_browsers", "not_allowed", "the clinic allows 0 days"),
)


def test_every_rule_that_was_looked_at_says_what_it_said() -> None:
    assert decide(Facts(ON, having(SMS), NOW)).reason.rules == (
        *NOT_SET_APART,
        RuleOutcome("clinic_rule", "requires", "on since 2026-03-01T08:00:00Z, version 4"),
        RuleOutcome("own_factor", "asks", "sms confirmed"),
        RuleOutcome("methods", "allows", "the clinic allows totp, sms"),
        *NOTHING_ELSE,
    )
    assert decide(Facts(OFF, NOBODY, NOW)).reason.rules == (
        *NOT_SET_APART,
        RuleOutcome("clinic_rule", "does_not_require", "off, version 4"),
        RuleOutcome("own_factor", "has_none", "no confirmed factor"),
        RuleOutcome("methods", "allows", "the clinic allows totp, sms"),
        *NOTHING_ELSE,
    )


def test_a_disallowed_factor_proves_its_owner_who_is_then_led_to_an_allowed_one() -> None:
    totp_only = replace(ON, methods=(Method.TOTP,))
    decision = decide(Facts(totp_only, having(SMS), NOW))
    assert (decision.outcome, decision.enrol_after_proof) == (Outcome.SECOND_FACTOR, True)
    assert decision.methods_allowed == (Method.TOTP,)
    assert decision.reason.sentence == (
        "Harbour Clinic has required a code at sign-in since 1 March, but not with text messages: after your"
        " code, please set"
        " up an authenticator app."
    )
    assert said_by(decision, "methods").outcome == "own_factors_disallowed"
    assert not decide(Facts(totp_only, having(SMS, TOTP), NOW)).enrol_after_proof
    assert not decide(Facts(replace(OFF, methods=(Method.TOTP,)), having(SMS), NOW)).enrol_after_proof


def test_a_provider_that_is_away_leads_nobody_to_set_up_anew() -> None:
    without_sms = replace(having(SMS), methods_available=frozenset({Method.TOTP}))
    decision = decide(Facts(ON, without_sms, NOW))
    assert (decision.methods_allowed, decision.enrol_after_proof) == ((Method.TOTP,), False)
    sms_only = decide(Facts(replace(ON, methods=(Method.SMS,)), replace(without_sms, factors=(TOTP,)), NOW))
    assert (sms_only.outcome, sms_only.enrol_after_proof) == (Outcome.SECOND_FACTOR, False)
    stuck = decide(Facts(replace(ON, methods=(Method.SMS,)), replace(without_sms, factors=()), NOW))
    assert (stuck.outcome, stuck.methods_allowed) == (Outcome.ENROL, ())
    assert stuck.reason.sentence.endswith(
        "The ways it allows cannot be set up at the moment: please ask one of its administrators."
    )


def test_a_suspended_factor_still_counts_as_one_its_owner_has() -> None:
    suspended = HeldFactor(Method.TOTP, suspended=True)
    for rule in (ON, OFF):
        decision = decide(Facts(rule, having(suspended), NOW))
        assert decision.outcome is Outcome.SECOND_FACTOR
        assert decision.reason.sentence == (
            "What you set up for codes is suspended: please ask an administrator of Harbour Clinic to let you in."
        )
    assert "suspended:" not in decide(Facts(ON, having(suspended, SMS), NOW)).reason.sentence


def test_a_factor_of_a_kind_not_known_here_still_asks_its_owner() -> None:
    decision = decide(Facts(OFF, having(HeldFactor(None)), NOW))
    assert decision.outcome is Outcome.SECOND_FACTOR
    assert said_by(decision, "own_factor").detail == "unknown confirmed"


@pytest.mark.parametrize(
    ("zone", "since", "at", "words"),
    [
        ("Europe/London", datetime(2026, 3, 1, 8, tzinfo=UTC), NOW, "since 1 March,"),
        ("Pacific/Auckland", datetime(2026, 3, 1, 12, tzinfo=UTC), NOW, "since 2 March,"),
        ("America/Los_Angeles", datetime(2026, 3, 1, 7, tzinfo=UTC), NOW, "since 28 February,"),
        ("Europe/London", datetime(2025, 12, 31, 8, tzinfo=UTC), NOW, "since 31 December 2025,"),
        ("Pacific/Auckland", datetime(2025, 12, 31, 23, tzinfo=UTC), NOW, "since 1 January,"),
        (
            "Pacific/Auckland",
            datetime(2026, 11, 1, tzinfo=UTC),
            datetime(2026, 12, 31, 20, tzinfo=UTC),
            "November 2026,",
        ),
        ("Nowhere/Atlantis", datetime(2026, 3, 1, 8, tzinfo=UTC), NOW, "since 1 March,"),
        ("../../etc/passwd", datetime(2026, 3, 1, 8, tzinfo=UTC), NOW, "since 1 March,"),
        ("", datetime(2026, 3, 1, 8, tzinfo=UTC), NOW, "since 1 March,"),
    ],
)
def test_dates_are_the_clinic_s_own(zone: str, since: datetime, at: datetime, words: str) -> None:
    rule = replace(ON, required_since=since)
    assert words in decide(Facts(rule, replace(NOBODY, timezone=zone), at)).reason.sentence


def test_a_number_is_asked_of_whoever_has_none_where_the_clinic_needs_one() -> None:
    for needed, has_phone in itertools.product((True, False), repeat=2):
        facts = Facts(replace(ON, phone_required=needed), replace(NOBODY, has_phone=has_phone), NOW)
        assert decide(facts).phone_required is (needed and not has_phone)


def test_a_clinic_without_a_name_is_your_clinic() -> None:
    assert decide(Facts(OFF, replace(NOBODY, clinic_name=""), NOW)).reason.sentence.startswith(
        "Your clinic does not require"
    )


HELD = st.builds(HeldFactor, st.sampled_from([*Method, None]), st.booleans())
ANY_RULE = st.builds(
    lambda on, since, methods, phone: replace(
        OFF, require_two_factor=on, required_since=since, methods=tuple(methods), phone_required=phone
    ),
    st.booleans(),
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    st.lists(st.sampled_from(CHOOSABLE), min_size=1, unique=True),
    st.booleans(),
)
ANY_SUBJECT = st.builds(
    lambda factors, phone, available, zone, name: replace(
        NOBODY,
        factors=tuple(factors),
        has_phone=phone,
        methods_available=frozenset(available),
        timezone=zone,
        clinic_name=name,
    ),
    st.lists(HELD, max_size=3),
    st.booleans(),
    st.sets(st.sampled_from([*Method])),
    st.sampled_from(["Europe/London", "Pacific/Auckland", "America/Los_Angeles", "UTC", "nonsense"]),
    st.sampled_from(["Harbour Clinic", "", "Klinik am Zoo"]),
)


@settings(max_examples=200, deadline=None)
@given(ANY_RULE, ANY_SUBJECT, st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))
def test_whatever_the_facts_the_decision_is_replayable_and_never_milder_than_the_factors(
    rule: ClinicRule, subject: Subject, at: datetime
) -> None:
    facts = Facts(rule, subject, at)
    decision = decide(facts)
    assert decision == decide(Facts(replace(rule), replace(subject), at + timedelta(0)))
    if subject.factors:
        assert decision.outcome is Outcome.SECOND_FACTOR
    else:
        assert decision.outcome is (Outcome.ENROL if rule.require_two_factor else Outcome.ALLOW)
        assert not decision.enrol_after_proof
    assert decision.two_factor_required is rule.require_two_factor
    assert set(decision.methods_allowed) == set(rule.methods) & subject.methods_available
    assert Method.BACKUP_CODE not in decision.methods_allowed
    assert list(decision.methods_allowed) == [method for method in CHOOSABLE if method in decision.methods_allowed]
    if decision.enrol_after_proof:
        assert rule.require_two_factor
        assert decision.methods_allowed
        assert not {factor.method for factor in subject.factors} & set(rule.methods)
    assert decision.reason.sentence.endswith(".")
    assert "None" not in decision.reason.sentence
    assert [said.rule for said in decision.reason.rules] == LOOKED_AT


def test_every_combination_decides_alike_in_any_order_of_the_factors() -> None:
    kinds = [HeldFactor(method, suspended) for method in (Method.TOTP, Method.SMS) for suspended in (False, True)]
    for rule, methods in itertools.product((OFF, ON), ((Method.TOTP,), (Method.SMS,), CHOOSABLE)):
        for pair in itertools.permutations(kinds, 2):
            one = decide(Facts(replace(rule, methods=methods), having(*pair), NOW))
            other = decide(Facts(replace(rule, methods=methods), having(*reversed(pair)), NOW))
            assert (one.outcome, one.enrol_after_proof, one.reason.sentence) == (
                other.outcome,
                other.enrol_after_proof,
                other.reason.sentence,
            )
