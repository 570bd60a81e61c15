"""Where somebody was going when they were stopped in the middle of work: there they go on, and nobody after them."""

import pyotp
import pytest

from tests.identity.people import Person, SomeClinic
from tests.identity.playing import Player, codes_in, location_of
from tests.identity.test_set_up_pages import begin


@pytest.fixture
async def stopped(person: Person, clinic: SomeClinic) -> Player:
    """At work, when it is required of everyone."""
    await person.sign_in()
    player = Player(person)
    await player.text("/me/details")
    await clinic.require_here(phone_required=False)
    return player


async def set_up(player: Player) -> str:
    """Where it leads in the end."""
    path, _, key = await begin(player)
    shown = await player.send_enrolling(path, code=pyotp.TOTP(key).at(player.web.clock.now()))
    return location_of(
        await player.send("/me/backup-codes/kept", safe="yes", why="app", codes=" ".join(codes_in(shown.text)))
    )


async def test_r12_whoever_is_stopped_on_the_way_to_a_page_goes_on_to_it(stopped: Player) -> None:
    assert location_of(await stopped.http.get("/me/details")) == "/set-up"
    assert location_of(await stopped.http.get("/me/password")) == "/set-up"
    assert await set_up(stopped) == f"{stopped.web.settings.public_origin}/me/password"


@pytest.mark.parametrize("path", ["/me", "/users/export", "/code", "/set-up/phone"])
async def test_a64_only_a_page_is_gone_on_to(stopped: Player, path: str) -> None:
    await stopped.http.get(path)
    assert await set_up(stopped) == "/me?done=codes-kept"


async def test_whoever_signs_out_leaves_no_way_to_whoever_comes_next(stopped: Player, clinic: SomeClinic) -> None:
    await stopped.http.get("/me/password")
    await stopped.http.post("/sign-out", data={"csrf": await stopped.token_in("/set-up")})
    await clinic.require(require_two_factor=False)
    assert location_of(await stopped.sign_in(await clinic.person())) == "/me"
