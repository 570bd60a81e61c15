"""P16: worker, relay, broker, PostgreSQL and the stand-in are killed in turn, over and over, while deliveries are on
their way. Every one ends in a stated outcome; none is sent twice, none after its end; and `unknown` is what became of
it only where somebody was killed with it in hand, or the provider gave no answer that says.

What the stand-in was asked and what it took stands in its journal, so that it counts although the stand-in died of it.
"""

import random
import re
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest

from deploy.embedded import EmbeddedPostgres, EmbeddedRedis, free_port
from deploy.twilio_journal import Journal
from tests.notifier.conftest import ACCOUNT_SID, AUTH_TOKEN, Child, Client, MakeNotifier, Notifier, eventually, start
from tests.notifier.processes import Standin
from tests.notifier.test_faults import sweep_later

NUMBER = "+447700900416"
THREADS = 8
"""So many messages a worker may have in hand when somebody dies."""
FAULTS = {"slow": 12, "429": 3, "500": 1, "21610": 1, "drop_after_accept": 1, "garbage": 1, "hang": 1}
"""What goes wrong around each kill: slow answers, so that there is something in hand, and one of each other sort."""
NOT_KNOWN = sum(FAULTS[kind] for kind in ("500", "drop_after_accept", "garbage", "hang"))
SEEDS = 20_261_122


class JournalledStandin:
    """The stand-in at a port that it keeps, with a journal that outlives it."""

    def __init__(self, folder: Path) -> None:
        self.journal = folder / "journal.jsonl"
        self._folder = folder
        self._port = free_port()
        self.seen = Standin(f"http://127.0.0.1:{self._port}", self._start())

    def restart(self) -> None:
        self.seen.child.kill()
        self.seen.child = self._start()

    def calls_so_far(self) -> int:
        """How many calls came, as answered or not; a glance, while it is being written."""
        return self.journal.read_bytes().count(b'"answered": null') if self.journal.exists() else 0

    def _start(self) -> Child:
        arguments = [f"--journal={self.journal}", "--step-seconds=0", f"--listen=127.0.0.1:{self._port}"]
        account = {"STANDIN_ACCOUNT_SID": ACCOUNT_SID, "STANDIN_AUTH_TOKEN": AUTH_TOKEN}
        child = start(["deploy.twilio_standin", *arguments], account, self._folder)
        eventually(child.said)
        return child


@dataclass
class Submitter:
    """Orders code after code, each with a life of its own, and again until it is on record."""

    client: Client
    lives: list[float]
    taken: dict[str, str] = field(default_factory=dict)
    """Delivery ids by code."""
    failed: BaseException | None = None

    def run(self) -> None:
        try:
            for number, life in enumerate(self.lives):
                self._submit(f"{number:06}", life)
        except BaseException as error:
            self.failed = error

    def _submit(self, code: str, life: float) -> None:
        while code not in self.taken:
            try:
                order = {"request_key": f"chl_{code}", "clinic_daily_cap": 1_000_000}
                self.taken[code] = self.client.submit(NUMBER, code=code, seconds=life, **order).delivery_id
            except grpc.RpcError as error:
                # Away for a moment; or it took too long, and may be on record all the same.
                away = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
                if error.code() not in away:  # type: ignore[attr-defined]
                    raise


@pytest.fixture
def standin_with_journal(tmp_path: Path) -> Iterator[JournalledStandin]:
    standin = JournalledStandin(tmp_path)
    yield standin
    standin.seen.child.stop()


@pytest.mark.parametrize(
    ("count", "rounds"),
    [
        pytest.param(500, 1, marks=pytest.mark.timeout(300)),
        pytest.param(5_000, 6, marks=[pytest.mark.full, pytest.mark.timeout(1800)]),
    ],
)
def test_p16_whatever_is_killed_every_message_ends_in_a_stated_outcome_and_none_is_sent_twice_or_late(
    make_notifier: MakeNotifier,
    standin_with_journal: JournalledStandin,
    own_broker: EmbeddedRedis,
    own_database: tuple[EmbeddedPostgres, str, str],
    count: int,
    rounds: int,
) -> None:
    postgres, url, password = own_database
    dice = random.Random(SEEDS + count)
    notifier = make_notifier(
        broker_url=own_broker.url,
        database_url=url,
        database_password=password,
        sms_daily_cap="1000000",
        standin_url="",
        twilio_base_url=standin_with_journal.seen.url,
        twilio_account_sid=ACCOUNT_SID,
        twilio_auth_token=AUTH_TOKEN,
        twilio_from="+15005550006",
        twilio_timeout_seconds="3",
    )
    kill: dict[str, Callable[[], object]] = {
        "worker": lambda: (notifier.children["worker"].kill(), notifier.start("worker")),
        "relay": lambda: (notifier.children["relay"].kill(), notifier.start("relay")),
        "broker": lambda: (own_broker.kill(), own_broker.start()),
        "postgres": lambda: (postgres.kill(), postgres.start()),
        "standin": standin_with_journal.restart,
    }
    turns = [victim for _ in range(rounds) for victim in dice.sample(sorted(kill), len(kill))]
    # One of ten has hardly longer to live than a call may be begun: what stands still for a moment is too late for it.
    lives = [dice.uniform(10.5, 16) if dice.random() < 0.1 else 1800 for _ in range(count)]
    submitter = Submitter(notifier.run(), lives)
    last_killed: dict[str, datetime] = {}
    ordering = threading.Thread(target=submitter.run)
    ordering.start()
    for position, victim in enumerate(turns):
        begins = int(count * 0.8 * (position + dice.random()) / len(turns))
        eventually(lambda begins=begins: standin_with_journal.calls_so_far() >= begins, 300)
        for kind, times in dice.sample(sorted(FAULTS.items()), len(FAULTS)):
            standin_with_journal.seen.fail(kind, NUMBER, times, seconds=0.3 if kind == "slow" else 5, retry_after=1)
        before, more = standin_with_journal.calls_so_far(), dice.randint(1, 12)
        eventually(lambda before=before, more=more: standin_with_journal.calls_so_far() >= before + more, 300)
        last_killed[victim] = datetime.now(UTC)
        kill[victim]()
    ordering.join()
    assert submitter.failed is None, submitter.failed
    # Whoever had claimed what is older than this is dead, or is not told that it claimed it.
    open_ones = (
        "SELECT 1 FROM delivery WHERE state = 'queued'"
        " OR (state = 'sending' AND sending_at > greatest(%s, now() - '10 s'::interval))"
    )
    eventually(lambda: not notifier.rows(open_ones, last_killed["worker"]), 600)
    sweep_later(notifier, 61)
    known = judge(notifier, standin_with_journal.journal, submitter.taken)
    holders = Counter(turns)
    assert (
        0
        < known["unknown"]
        <= NOT_KNOWN * len(turns) + THREADS * (holders["worker"] + holders["standin"] + holders["postgres"])
    )
    assert min(known[state] for state in ("sent", "failed", "expired")) > 0, known
    assert known["sent"] > count * 0.7, known
    notifier.stop()


def judge(notifier: Notifier, journal: Path, taken: dict[str, str]) -> Counter[str]:
    """Every delivery by what the provider's journal and the audit trail tell of it; answers how they ended."""
    calls: dict[str, list[dict[str, Any]]] = defaultdict(list)
    told, messages = Journal(journal).read()
    for call in told:
        calls[call["form"]["Body"][:6]].append(call)
    arrived = Counter(message.body[:6] for message in messages)
    rows = {row["id"]: row for row in notifier.rows("SELECT * FROM delivery")}
    events: dict[str, list[str]] = defaultdict(list)
    for event in notifier.rows("SELECT kind, detail->>'delivery_id' AS id FROM audit_event ORDER BY seq"):
        events[event["id"]].append(event["kind"].removeprefix("delivery."))
    assert sorted(rows) == sorted(taken.values()), "each order is one delivery"
    assert max(arrived.values()) == 1
    for code, delivery_id in taken.items():
        row, asked = rows[delivery_id], calls[code]
        about = (code, row["state"], row["reason"], asked, events[delivery_id])
        # A call whose answer may have been lost is the last one.
        assert len([call for call in asked if call["answered"] != 429]) <= 1, about
        assert all(call["answered"] == 429 for call in asked[:-1]), about
        assert len(asked) <= row["attempt"] == events[delivery_id].count("sending"), about
        assert all(datetime.fromisoformat(call["at"]) <= row["not_after"] for call in asked), about
        assert row["sealed"] is None, about
        match row["state"]:
            case "sent":
                assert arrived[code] == 1, about
            case "failed":
                assert arrived[code] == 0, about
                assert asked[-1]["answered"] == 400, about
            case "expired":
                assert not [call for call in asked if call["answered"] != 429], about
            case state:
                assert state == "unknown", about
                assert row["reason"] in ("no_answer", "provider_failed", "not_understood", "worker_lost"), about
        story = r"queued( sending queued)*( expired| sending (unknown|(unknown )?(sent|failed)))"
        assert re.fullmatch(story, " ".join(events[delivery_id])), about
    return Counter(row["state"] for row in rows.values())
