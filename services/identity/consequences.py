"""What follows here of what otp or policy has done: whose sessions and browsers end, who is told, what goes on record.
Plain data, made of the event alone and of the session it came from, so that it is the same whenever it is followed up.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.common.audit import AuditEvent
from services.common.outbox import OutboxEvent
from services.identity.model import BypassId, Client, ClinicId, Method, UserId
from services.identity.notice_words import (
    Notice,
    NoticeKind,
    Owner,
    bypass_granted,
    codes_left,
    factor_set_up,
    guesses_spent,
    of_account,
)


@dataclass(frozen=True, slots=True)
class Consequence:
    ends_sessions: bool = False
    """All of the user's but the one in which it was done."""
    ends_devices: bool = False
    """The user's remembered browsers."""
    ends_proof: bool = False
    """That of the session in which it was done: the factor that it had proven is no more."""
    enrolled_by: BypassId | None = None
    """The bypass that had opened the session in which a factor was set up."""
    ends_bypass: bool = False
    """A proof in any of the user's living sessions ends the bypass that they have now."""
    notices: Sequence[Notice] = ()
    record: AuditEvent | None = None


def consequence_of(event: OutboxEvent, opened_by: BypassId | None) -> Consequence | None:
    """`opened_by`: the bypass that opened the session it was done in. None for what this version does not know."""
    find = _CONSEQUENCES.get(event.kind)
    return find(event, opened_by) if find else None


def _factor_removed(event: OutboxEvent, opened_by: BypassId | None) -> Consequence:
    method = Method(event.detail["method"])
    told = of_account(NoticeKind.FACTOR_REMOVED, _owner(event), _client(event), event.at, method=method.value)
    return Consequence(
        ends_sessions=True,
        ends_devices=True,
        ends_proof=event.detail["was_last"],
        notices=[told],
        record=_record("factor.removed", event, method=method.value),
    )


def _factor_set_up(event: OutboxEvent, opened_by: BypassId | None) -> Consequence:
    detail = event.detail
    method, removed = Method(detail["method"]), [Method(one) for one in detail["removed"]]
    is_replaced = detail["replaced"] or bool(removed)
    bypass_id = opened_by if detail["bypass"] else None
    client = _client(event)
    return Consequence(
        ends_sessions=is_replaced or detail["bypass"],
        ends_devices=True,
        enrolled_by=opened_by,
        notices=factor_set_up(
            _owner(event), client, event.at, method, removed, bypass_id, is_changed=detail["replaced"]
        ),
        record=_record("factor.enrolled", event, method=method.value, replaced=is_replaced),
    )


def _backup_codes_made(event: OutboxEvent, opened_by: BypassId | None) -> Consequence:
    kind = NoticeKind.BACKUP_CODES_MADE
    return Consequence(notices=[of_account(kind, _owner(event), _client(event), event.at)])


def _backup_code_used(event: OutboxEvent, opened_by: BypassId | None) -> Consequence:
    left = int(event.detail["codes_left"])
    return Consequence(notices=codes_left(_owner(event), _client(event), event.at, left))


def _guesses_spent(event: OutboxEvent, opened_by: BypassId | None) -> Consequence:
    return Consequence(notices=guesses_spent(_owner(event), _client(event), event.at))


def _bypass_granted(event: OutboxEvent, opened_by: BypassId | None) -> Consequence:
    by, suspended = event.detail["by"], event.detail["suspended"]
    return Consequence(ends_bypass=True, notices=bypass_granted(_owner(event), event.at, by, suspended=suspended))


_CONSEQUENCES: dict[str, Callable[[OutboxEvent, BypassId | None], Consequence]] = {
    "factor_removed": _factor_removed,
    "factor_set_up": _factor_set_up,
    "backup_codes_made": _backup_codes_made,
    "backup_code_used": _backup_code_used,
    "guesses_spent": _guesses_spent,
    "bypass_granted": _bypass_granted,
}


def _owner(event: OutboxEvent) -> Owner:
    return Owner(ClinicId(event.clinic_id), UserId(event.user_id))


def _client(event: OutboxEvent) -> Client:
    return Client(event.address or "", event.detail.get("user_agent", ""))


def _record(kind: str, event: OutboxEvent, **detail: object) -> AuditEvent:
    user_id = event.user_id
    about = {**detail, "session_id": event.session_id}
    return AuditEvent(kind, event.at, event.clinic_id, "user", user_id, user_id, event.address, about)
