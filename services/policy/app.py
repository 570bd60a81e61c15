"""Puts the service together on a database and a clock; who serves it is `__main__`'s business, and the tests'."""

from services.common.clock import Clock
from services.common.postgres import Database
from services.policy.bypasses import Bypasses
from services.policy.decisions import Decisions
from services.policy.holds import Holds
from services.policy.preview import Previews
from services.policy.requirements import Requirements
from services.policy.rules import Rules
from services.policy.servicer import PolicyServicer
from services.policy.store.bypasses import Bypasses as BypassRows
from services.policy.store.clinics import Clinics
from services.policy.store.standings import Standings


def build(database: Database, clock: Clock) -> PolicyServicer:
    clinics, standings = Clinics(database), Standings(database)
    return PolicyServicer(
        decisions=Decisions(standings, clock),
        rules=Rules(clinics, clock),
        previews=Previews(standings, clock),
        holds=Holds(clinics, standings, clock),
        requirements=Requirements(clinics, standings, clock),
        bypasses=Bypasses(clinics, BypassRows(database), clock),
        clock=clock,
    )
