"""The flows that are cut: each builds its world and says what the parties go on to do."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from urllib.parse import parse_qs, urlsplit

from operations import transfer
from tests.acts import END_AFTER
from tests.interleavings.cuts import Flow
from tests.interruptions import table_away
from tests.wiring import BROKER
from tests.world import World
from token_broker.domain.authorization import Redirect
from token_broker.domain.connection import Connection, Status
from token_broker.domain.errors import TokenBrokerError
from token_broker.use_cases.attempt import claim_as_seen

CALLBACK_TIMEOUT = TOKEN_TIMEOUT = 105.0  # as the template sets them
REFRESH_TIMEOUT = 150.0
QUARANTINE = 7 * 86_400


class End(StrEnum):
    """How a flow is to end."""

    CONNECTED = "connected"  # the login has one active connection whose refresh token lives
    LET_GO = "let go"  # no consent lives at Akoya that nobody holds, and no set is kept here
    TAKEN_OUT = "taken out"  # what was given out lives, and is not sent


@dataclass
class Prepared:
    """A flow in its world, and what its parties do until it has come to an end."""

    flow: Flow
    end: End = End.CONNECTED
    timeout: float = REFRESH_TIMEOUT
    goes_on: Callable[[World], object] = lambda _: None
    given_out: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Case:
    """One flow."""

    name: str
    prepare: Callable[[World], Prepared]


@dataclass
class Person:
    """A person who reloads until told how it ended, and the backend that then confirms."""

    subject: str
    address: str
    told: Redirect | None = None
    confirmed: bool = False

    def comes_back(self, world: World) -> None:
        self.reads(world)
        self.is_vouched_for(world)

    def reads(self, world: World) -> None:
        if self.told is None:
            self.told = world.come_back(self.address)

    def is_vouched_for(self, world: World) -> None:
        if self.told and self.told.confirmation and not self.confirmed:
            world.confirm(self.told, self.subject)
            self.confirmed = True


def sent_out(
    world: World,
    subject: str = "ada",
    connection_id: str | None = None,
    user: str = "mikomo_1",
) -> Person:
    """Send a person to the bank, who consents and is about to come back."""
    begun = world.begin(subject, connection_id)
    return Person(subject, world.consent(world.open(begun), user))


def _exchange(world: World) -> Prepared:
    person = sent_out(world)
    return Prepared(person.comes_back, timeout=CALLBACK_TIMEOUT, goes_on=person.comes_back)


def _exchange_of_one_who_leaves(world: World) -> Prepared:
    person = sent_out(world)
    return Prepared(lambda process: process.come_back(person.address), End.LET_GO, CALLBACK_TIMEOUT)


def _schedule(world: World) -> Prepared:
    world.make_due(world.connect().id)
    return Prepared(World.run_schedule)


def _hand_out(world: World) -> Prepared:
    connection = world.connect()
    world.clock.now = float(connection.expires_at or 0)
    return Prepared(lambda process: process.hand_out(connection.id), timeout=TOKEN_TIMEOUT)


def _rejected(world: World) -> Prepared:
    connection = world.connect()
    return Prepared(
        lambda process: process.hand_out(connection.id, rejected=1), timeout=TOKEN_TIMEOUT
    )


def _renewal(world: World) -> Prepared:
    person = sent_out(world, connection_id=world.connect().id)
    return Prepared(person.comes_back, timeout=CALLBACK_TIMEOUT, goes_on=person.comes_back)


def ended(world: World) -> Connection:
    """Connect, and let Akoya refuse the refresh token until the connection has ended."""
    connection = world.connect()
    world.provider.expire("refresh_token")
    world.make_due(connection.id)
    world.run_schedule()
    world.clock.advance(END_AFTER)
    world.run_schedule()
    assert world.row(connection.id).status is Status.REAUTH_REQUIRED
    return connection


def _renewal_of_an_ended_one(world: World) -> Prepared:
    person = sent_out(world, connection_id=ended(world).id)
    return Prepared(person.comes_back, timeout=CALLBACK_TIMEOUT, goes_on=person.comes_back)


def _linked_again(world: World) -> Prepared:
    """The subject links the login once more, and begins without naming the connection."""
    world.connect()
    world.clock.advance(5)
    person = sent_out(world)
    return Prepared(person.comes_back, timeout=CALLBACK_TIMEOUT, goes_on=person.comes_back)


def _linked_again_once_ended(world: World) -> Prepared:
    ended(world)
    person = sent_out(world)
    return Prepared(person.comes_back, timeout=CALLBACK_TIMEOUT, goes_on=person.comes_back)


def _transfer_by_schedule(world: World) -> Prepared:
    """The connection was leased when its subject linked the login again."""
    connection = world.connect()
    world.clock.advance(5)
    claim_as_seen(world.broker, world.row(connection.id))  # by a process that dies
    assert world.come_back(sent_out(world).address).result.status == "active"
    assert world.row(connection.id).generation == 1
    world.pass_a_lease()
    return Prepared(World.run_schedule)


def _superseded(world: World) -> Prepared:
    world.connect("ada")
    world.clock.advance(5)
    person = sent_out(world, "grace")
    return Prepared(person.comes_back, timeout=CALLBACK_TIMEOUT, goes_on=person.comes_back)


def _fall_back(world: World) -> Prepared:
    """A second link that nobody confirms: its set goes to the connection that has the login."""
    world.connect("ada")
    world.clock.advance(5)
    world.come_back(sent_out(world, "grace").address)
    world.clock.advance(901)
    return Prepared(World.run_schedule)


def _disconnect(world: World) -> Prepared:
    connection = world.connect()

    def ask(world: World) -> None:
        world.broker.connections.ask_revoke(connection.id, now=world.clock())

    def flow(process: World) -> None:
        ask(process)
        process.run_schedule()

    return Prepared(flow, End.LET_GO, goes_on=ask)


def in_escrow(world: World, send: Callable[[], object]) -> None:
    """Send while the table is away, so that escrow takes the set."""
    with table_away(world), suppress(TokenBrokerError):
        send()


def _escrow(world: World) -> Prepared:
    world.make_due(world.connect().id)
    in_escrow(world, world.run_schedule)
    world.pass_a_lease()
    return Prepared(World.run_schedule)


def _escrow_of_a_new_link(world: World) -> Prepared:
    person = sent_out(world)
    in_escrow(world, lambda: person.comes_back(world))
    world.pass_a_lease()
    return Prepared(person.comes_back, timeout=CALLBACK_TIMEOUT, goes_on=person.comes_back)


def _escrow_after_a_disconnect(world: World) -> Prepared:
    connection = world.connect()
    world.make_due(connection.id)
    in_escrow(world, world.run_schedule)
    world.broker.connections.ask_revoke(connection.id, now=world.clock())
    world.pass_a_lease()
    return Prepared(World.run_schedule, End.LET_GO)


def _import(world: World) -> Prepared:
    """A backend moves in; its operator runs the command until nothing is left to do."""
    other = World.in_memory()
    other.provider, other.http.provider = world.provider, world.provider
    tokens = other.broker.seal.open(other.row(other.connect().id))
    assert tokens.id_token is not None
    held = transfer.Held(
        subject="ada",
        connector="mikomo",
        refresh_token=tokens.refresh_token,
        id_token=tokens.id_token,
    )

    def run(world: World) -> None:
        transfer.bring_in(world.broker, held, dry_run=False)

    return Prepared(run, goes_on=run)


def _export(world: World) -> Prepared:
    connection = world.connect()
    prepared = Prepared(lambda _: None, End.TAKEN_OUT)

    def run(world: World) -> None:
        _, tokens = transfer.take_out(world.broker, connection.id, quarantine=QUARANTINE)
        prepared.given_out[:] = [tokens.refresh_token.reveal()]

    prepared.flow, prepared.goes_on = run, run
    return prepared


def _injected_code(world: World) -> Prepared:
    """Another's code in this browser, and an Akoya that repeats no nonce: nobody is connected."""
    world.linking = replace(world.linking, send_pkce=False)
    world.provider.arm({"fault": "nonce_missing"})
    mine, theirs = sent_out(world), sent_out(world, "eve", user="mikomo_2")
    (code,) = parse_qs(urlsplit(theirs.address).query)["code"]
    (state,) = parse_qs(urlsplit(mine.address).query)["state"]
    person = Person("ada", f"{BROKER}/callback?state={state}&code={code}")
    return Prepared(person.comes_back, End.LET_GO, CALLBACK_TIMEOUT, goes_on=person.comes_back)


CASES = (
    Case("exchange", _exchange),
    Case("exchange, and the person leaves", _exchange_of_one_who_leaves),
    Case("injected code", _injected_code),
    Case("refresh by schedule", _schedule),
    Case("refresh by hand-out", _hand_out),
    Case("refresh of a rejected bearer", _rejected),
    Case("re-consent", _renewal),
    Case("re-consent of an ended connection", _renewal_of_an_ended_one),
    Case("same login superseded", _superseded),
    Case("same login not confirmed", _fall_back),
    Case("own login linked again", _linked_again),
    Case("own login linked again, once it had ended", _linked_again_once_ended),
    Case("own login linked again, left to the schedule", _transfer_by_schedule),
    Case("disconnect", _disconnect),
    Case("escrow recovery", _escrow),
    Case("escrow recovery of a new link", _escrow_of_a_new_link),
    Case("escrow recovery after a disconnect", _escrow_after_a_disconnect),
    Case("import", _import),
    Case("export", _export),
)
