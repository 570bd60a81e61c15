"""Every sentence that a service can say to a person is one that the pages can say in other languages."""

import ast
import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from babel import Locale

from services.identity.model import Decision, Method, Outcome, Reason, UserFactors
from services.identity.notice_words import KeptNotice, NoticeKind
from services.identity.notices import sentence_of
from services.identity.otp_words import Verdict, VerdictResult
from services.identity.overviews import Overview, told_of
from services.identity.pages.speech.sentences import Sentences
from services.identity.pages.speech.spoken import FORMS, PARTS
from services.identity.verdicts import refusal_for
from services.notifier import texts
from services.notifier.model import State
from services.policy.decision import decide
from services.policy.model import Facts, HeldFactor, Requirement
from services.policy.model import Method as PolicyMethod
from tests.policy.test_decision import NOBODY, NOW, OFF, ON
from tests.policy.test_precedence import hold, setting

_SERVICES = Path(__file__).parents[2] / "services"
_SAYS_NOTHING_TO_STAFF = re.compile(
    # Operators' commands, the start, machines and their documents; messages outside the pages; and what is put together
    # from fragments, which is made and looked at below.
    r"__main__|\w*commands?|settings|operator\w*|named|apps|app_guards|explaining|import_report|\w+_import|\w+_lines"
    r"|imported_hashes|secret_formats|health_check|key_rotation|migrate|audit_\w+|\w*examples|openapi|machines"
    r"|forward_auth|hastening|callbacks|mail_words|notice_texts|notice_words|texts|sentences|notices"
)
_TO_MACHINES = {
    "An app makes nobody an administrator.",
    "An app may change a name and disable, nothing else.",
    "Administrators are no business of apps.",
    "Second factors are no business of apps.",
    "There is no such delivery.",
    "The 7 cannot be used: 7. Nothing was done.",  # an operator's command says it; 7 is what is filled in
}
_DECISION = Decision(Outcome.ALLOW, False, False, (), False, Reason(""), 1, 1, None, 30)
_SAYS = re.compile(r"[A-Z{].*[.?]", re.DOTALL)
_NO_SENTENCES = {"Counter", "Gauge", "Histogram", "Header", "Query", "Field", "Path"}
_STAND_INS = (
    *(("7",), ("invitation",), ("5 minutes", "fast"), ("let others in",), ("backup codes",), ("30 seconds",)),
    ("1 March at 09:30 (Europe/London)",),
)


def _words(node: ast.AST) -> list[str]:
    """The text of a literal, with this or that in the place of each `{…}`."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [re.sub(r"\{\w+\}", "7", node.value)]
    if isinstance(node, ast.JoinedStr):
        return ["".join(_put(node.values, itertools.cycle(words))) for words in _STAND_INS]
    return []


def _put(parts: list[ast.expr], words: Iterator[str]) -> list[str]:
    return [str(part.value) if isinstance(part, ast.Constant) else next(words) for part in parts]


def _written_in(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Every sentence written in a file, and where it stands; not the docstrings and descriptions."""
    tree = ast.parse(path.read_text())
    passed_by: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            passed_by.add(node.value)
        elif isinstance(node, ast.JoinedStr):
            passed_by.update(node.values)
        elif isinstance(node, ast.keyword) and node.arg == "description":
            passed_by.add(node.value)
        elif isinstance(node, ast.Dict):
            described = (isinstance(key, ast.Constant) and key.value == "description" for key in node.keys)
            passed_by.update(itertools.compress(node.values, described))
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in _NO_SENTENCES:
            passed_by.update(ast.walk(node))
    for node in ast.walk(tree):
        if node not in passed_by and (words := _words(node)) and _SAYS.fullmatch(words[0]):
            yield f"{path.relative_to(_SERVICES)}:{getattr(node, 'lineno', 0)}", words


def _written() -> list[tuple[str, list[str]]]:
    return [
        found
        for path in sorted(_SERVICES.rglob("*.py"))
        if not _SAYS_NOTHING_TO_STAFF.fullmatch(path.stem) and "pages" not in path.parts
        for found in _written_in(path)
        if found[1][0] not in _TO_MACHINES
    ]


def test_every_sentence_written_in_a_service_has_a_form() -> None:
    known, written = Sentences(), _written()
    assert len(written) > 180
    for place, words in written:
        assert any(known.is_known(one) for one in words), f"{place}: {words[0]}"


def _calls_of(name: str, folder: str = "identity") -> Iterator[ast.Call]:
    for path in (_SERVICES / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and name in (getattr(node.func, "id", ""), getattr(node.func, "attr", "")):
                yield node


def test_what_needs_a_factor_of_ones_own_is_named_by_a_form_each() -> None:
    known, calls = Sentences(), list(_calls_of("check_own_factor"))
    assert len(calls) > 5
    for call in calls:
        (then,) = _words(call.args[-1])
        assert known.is_known(f"Set up two-factor authentication for yourself first; then you can {then}.")


def test_pages_have_a_form_for_what_they_refuse_themselves() -> None:
    known = Sentences()
    said = [_words(call.args[1]) for call in _calls_of("ServiceError", "identity/pages")]
    assert any(said)
    for words in said:
        assert not words or any(known.is_known(one) for one in words), words[0]


def test_every_refusal_of_a_code_is_known() -> None:
    known = Sentences()
    skews = (None, -50400, -3600, -3550, -900, -89, 65, 100, 3600, 7230, 45000)
    results = set(VerdictResult) - {VerdictResult.ACCEPTED, VerdictResult.NO_SUCH_FACTOR}
    for result, method, skew in itertools.product(results, Method, skews):
        for left, wait, locked in ((3, 0, False), (0, 7, False), (0, 700, False), (0, 70_000, False), (0, 0, True)):
            verdict = Verdict(result, left, wait, locked, clock_skew_seconds=skew)
            refusal = refusal_for(verdict, method)
            for said in (refusal.detail, str(refusal.members.get("hint") or "Please sign in.")):
                assert known.is_known(said), said


def test_every_word_on_a_delivery_is_known() -> None:
    known = Sentences()
    reasons = [None, *{texts.reason_for(code) for code in range(60000)}]
    for state, reason in itertools.product(State, reasons):
        said = texts.detail(state, reason)
        assert not said or known.is_known(said), said


def test_every_notice_is_known() -> None:
    known, at = Sentences(), datetime(2026, 3, 5, 14, 5, tzinfo=UTC)
    details: list[dict[str, object]] = [
        {**origin, **about, "method": method, "codes_left": left, "suspended": suspended}
        for origin, about, method, left, suspended in itertools.product(
            ({}, {"address": "192.0.2.7", "browser": "Firefox on Windows"}, {"address": "2001:db8::7"}),
            ({}, {"by": "app"}, {"by": "usr_1"}),
            ("totp", "sms"),
            (0, 1, 3),
            (False, True),
        )
    ]
    names = (("Mina Okafor", "Ada Admin"), (None, None), ("Dr. Mina Okafor", "Dr. Ada Admin"))
    for kind, detail, (whose, by) in itertools.product(NoticeKind, details, names):
        said = sentence_of(KeptNotice("ntc_1", kind, at, detail, whose, by), "America/Argentina/Buenos_Aires")
        assert known.is_known(said), said


def test_every_reason_of_a_decision_is_known() -> None:
    known, day = Sentences(), timedelta(days=1)
    holds = [(), (hold(),), (hold(), hold("payroll")), tuple(hold(f"tool-{number}") for number in range(3))]
    holds.append(tuple(hold(f"tool-{number}") for number in range(5)))
    rules = [
        replace(rule, enforce_from=begins, methods=methods)
        for rule, begins, methods in itertools.product(
            (OFF, ON), (None, NOW - day, NOW + day), ((PolicyMethod.TOTP,), (PolicyMethod.SMS,), (*ON.methods,))
        )
    ]
    settings = [None, *(setting(one) for one in Requirement), setting(Requirement.EXEMPT, NOW + 400 * day)]
    held = [(), *(tuple(HeldFactor(one, suspended) for one in kinds) for kinds, suspended in _KINDS)]
    names = ("Harbour Clinic", "", "St. Mary's Clinic. Since 1 March")
    said = set()
    for rule, demands, own, factors, name in itertools.product(rules, holds, settings, held, names):
        for available in (frozenset(rule.methods), frozenset[PolicyMethod]()):
            subject = replace(NOBODY, clinic_name=name, factors=factors, methods_available=available)
            made = decide(Facts(rule, subject, NOW, demands, own))
            said |= {made.reason.sentence, made.upcoming.sentence if made.upcoming else made.reason.sentence}
    assert len(said) > 100
    for sentence in said:
        assert known.is_known(sentence), sentence
        if "before then" not in sentence:
            overview = Overview(UserFactors(), replace(_DECISION, reason=Reason(sentence)))
            of_another = told_of("Dr. Mina Okafor", overview).decision.reason.sentence
            assert known.is_known(of_another), of_another
            assert not re.search(r"\b(you|your|please)\b", of_another.lower().replace("your clinic", "")), of_another


_KINDS = list(
    itertools.product(
        ((PolicyMethod.TOTP,), (PolicyMethod.SMS,), (PolicyMethod.TOTP, PolicyMethod.SMS), (None,)), (False, True)
    )
)


def test_what_is_unknown_stays_as_it_is_and_what_is_known_is_put_together_anew() -> None:
    sentences, german = Sentences(), Locale("de")
    words = {
        "{who_asks}, and you have set up {factors}.": "{factors} haben Sie eingerichtet; {who_asks}.",
        "{clinic} has required a code at sign-in since {day}": "{clinic} fragt seit dem {day} alle nach einem Code",
        "an authenticator app": "Eine Authenticator-App",
        "Please sign in.": "Bitte melden Sie sich an.",
    }

    def told(text: str) -> str:
        return sentences.translated(text, lambda form: words.get(form, form), german)

    assert told(
        "St. {day} has required a code at sign-in since 1 March 2026, and you have set up an authenticator app."
    ) == ("Eine Authenticator-App haben Sie eingerichtet; St. {day} fragt seit dem 1. März 2026 alle nach einem Code.")
    assert told("Nobody has said this yet. Please sign in.") == "Nobody has said this yet. Bitte melden Sie sich an."
    assert told("") == ""
    assert not sentences.is_known("You have not set up a barometer.")
    assert not sentences.is_known(
        "Harbour Clinic has required a code at sign-in since Easter, and you have set up a horse."
    )


def test_no_form_is_written_twice_and_every_part_is_used() -> None:
    assert len(set(FORMS)) == len(FORMS)
    used = " ".join((*FORMS, *itertools.chain(*PARTS.values())))
    for part in PARTS:
        assert f"{{{part}}}" in used
