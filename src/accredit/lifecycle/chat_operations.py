"""Votes from chats: channels that administrators declare, accounts that people link to themselves, and callbacks.

Whoever declared a channel, or stored its secret, can sign what they like: they could be behind every account linked in
it. So linking ties them to it, and each vote ties them anew before it is judged: on what one of them asks for, owns or
wrote, nobody votes through that channel, and nobody so linked asks for what they vote on.
"""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from accredit.approvals.chat import (
    ChatKind,
    ChatLinking,
    ChatVote,
    counts_from_chat,
    read_callback,
    signed_slack,
    signed_standard,
)
from accredit.approvals.model import ApprovalRequest
from accredit.audit.model import Facts
from accredit.audit.ports import Actor, Change, ControlLog, StateView, Write
from accredit.identity.broker import SealedBroker
from accredit.identity.model import Operator
from accredit.identity.rows import CHAT_CODE, CHAT_LINK, secret_hash
from accredit.kernel.canonical import Digest, canonical
from accredit.kernel.clearance import Basis
from accredit.kernel.clock import BothClocks, Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, ForbiddenError, NotFoundError, UnauthenticatedError
from accredit.kernel.ids import IdSource, PersonId, check_name
from accredit.kernel.sealing import Sealer
from accredit.lifecycle.operations import Operations
from accredit.lifecycle.permission import Permission, require_admin_scope
from accredit.lifecycle.ports import ApprovalDesk
from accredit.registry.authority import Act
from accredit.registry.organisation import AccountTie
from accredit.registry.rows import ACCOUNT_TIE, account_tie_doc, account_tie_key
from accredit.registry.service import Registry

__all__ = ["CHAT_CHANNEL", "ChatChannel", "ChatLink", "ChatOperations", "Heard"]

CHAT_CHANNEL: Final = "chat_channel"
_CODE_US: Final = 10 * 60_000_000
_REMEMBERED_S: Final = 660
_MOST_REMEMBERED: Final = 20_000
_MOST_CHANNELS: Final = 20
_SIGNED_TIME: Final = {ChatKind.SLACK: "x-slack-request-timestamp", ChatKind.STANDARD: "webhook-timestamp"}
"""The header whose time a signature of that kind is over; any other could be anybody's."""


@dataclass(frozen=True, slots=True)
class ChatChannel:
    """A chat from which callbacks are taken."""

    name: str
    kind: ChatKind
    credential: str
    """The brokered credential whose value it signs with."""
    by: PersonId
    """Who declared it."""


@dataclass(frozen=True, slots=True)
class ChatLink:
    """An account in a chat that a person linked to themselves."""

    id: str
    channel: str
    person: PersonId
    since_us: int


@dataclass(frozen=True, slots=True)
class Heard:
    """What a callback came to."""

    link: ChatLink | None = None
    request: ApprovalRequest | None = None


class ChatOperations:
    """Acts of people about chats, and the callbacks. `highest` is the tier up to which approvals may come from one."""

    def __init__(
        self,
        control: ControlLog,
        registry: Registry,
        operations: Operations,
        approvals: ApprovalDesk,
        broker: SealedBroker,
        sealer: Sealer,
        *,
        clock: Clock,
        ids: IdSource,
        highest: str,
    ) -> None:
        self._control = control
        self._registry = registry
        self._operations = operations
        self._approvals = approvals
        self._broker = broker
        self._sealer = sealer.derive("chat-users")
        self._clock = clock
        self._clocks = BothClocks(clock.now())
        self._ids = ids
        self.highest = highest
        self._permission = Permission(registry)
        self.began_s = clock.now().wall_s
        self._seen: OrderedDict[str, int] = OrderedDict()
        """Callbacks that were taken, until when on the boot clock."""
        self._alone = asyncio.Lock()

    # -- what people do

    def channels(self) -> tuple[ChatChannel, ...]:
        """Every channel, by name."""
        return tuple(_channel(row.key, row.doc) for row in self._control.view.scan(CHAT_CHANNEL))

    async def declare(self, who: Operator, name: str, kind: ChatKind, credential: str) -> ChatChannel:
        """Take callbacks of a chat, signed with the value of a stored credential. Declaring it anew ends its links.

        Raises:
            InvalidInputError: that is no name.
            UnavailableError: there is no such credential.
            ConflictError: there are too many channels.
        """
        self._permission.require(Act.MANAGE_PEOPLE, who)
        check_name(name, "chat channel")
        self._broker.signing_secret(credential)

        def build(view: StateView) -> Change:
            known = list(view.scan(CHAT_CHANNEL))
            if len(known) >= _MOST_CHANNELS and all(row.key != name for row in known):
                raise ConflictError(Code.CONFLICT, f"there are {_MOST_CHANNELS} channels already")
            doc = {"by": who.person, "credential": credential, "kind": kind.value}
            writes = (Write(CHAT_CHANNEL, name, doc), *self._of_channel(view, name))
            return Change(Facts("chat.declared"), writes, _actor(who), {"channel": name, "kind": kind.value})

        await self._control.transact(build)
        return self._known(name)

    async def remove(self, who: Operator, name: str) -> None:
        """Take no callback of a chat any more, and forget who linked accounts there.

        Raises:
            NotFoundError: there is no such channel.
        """
        self._permission.require(Act.MANAGE_PEOPLE, who)

        def build(view: StateView) -> Change:
            self._known(name)
            writes = (Write(CHAT_CHANNEL, name, None), *self._of_channel(view, name))
            return Change(Facts("chat.removed"), writes, _actor(who), {"channel": name}, narrowing=True)

        await self._control.transact(build)

    def links(self, who: Operator) -> tuple[ChatLink, ...]:
        """The accounts that somebody linked to themselves."""
        found = (_link(row.key, row.doc) for row in self._control.view.scan(CHAT_LINK))
        return tuple(one for one in found if one.person == who.person)

    async def link_code(self, who: Operator, channel: str) -> str:
        """Make a code, good once and for ten minutes: whoever gives it in that chat is this person there.

        Raises:
            NotFoundError: there is no such channel.
            ForbiddenError: they are a service account, or nobody else is there yet.
        """
        require_admin_scope(who)
        known = self._registry.organisation.people.get(who.person)
        if who.basis != Basis.ROLES or known is None or known.bot:
            raise ForbiddenError(Code.NOT_AUTHORISED, "only a person among others votes from a chat")
        code = "accq_" + urlsafe_b64encode(self._ids.secret(24)).rstrip(b"=").decode()

        def build(view: StateView) -> Change:
            self._known(channel)
            expires_us = self._clock.now().wall_us + _CODE_US
            doc = {"channel": channel, "expires_us": expires_us, "person": who.person}
            old = (Write(row.kind, row.key, None) for row in view.scan(CHAT_CODE) if row.doc["person"] == who.person)
            writes = (*old, Write(CHAT_CODE, secret_hash(code), doc))
            return Change(Facts("chat.link_asked"), writes, _actor(who), {"channel": channel})

        await self._control.transact(build)
        return code

    async def unlink(self, who: Operator, link: str) -> None:
        """End a link: one's own, or with the right to manage people anybody's.

        Raises:
            NotFoundError: there is none.
        """
        require_admin_scope(who)
        row = self._control.view.get(CHAT_LINK, link)
        if row is None or row.doc["person"] != who.person:
            self._permission.require(Act.MANAGE_PEOPLE, who)

        def build(view: StateView) -> Change:
            there = view.get(CHAT_LINK, link)
            if there is None:
                raise NotFoundError(Code.NOT_FOUND, f"there is no link `{link[:80]}`")
            body = {"channel": there.doc["channel"], "person": there.doc["person"]}
            return Change(Facts("chat.unlinked"), (Write(CHAT_LINK, link, None),), _actor(who), body, narrowing=True)

        await self._control.transact(build)

    # -- what a chat sends

    async def heard(self, name: str, headers: Mapping[str, str], body: bytes) -> Heard:
        """Do what a callback says, once.

        Raises:
            UnauthenticatedError: there is no such channel, it is not signed, too old, or was taken before.
            InvalidInputError: it says nothing that could be done.
            ForbiddenError: nobody linked that account, or they may not vote, or not from a chat.
            Otherwise as `Operations.vote`.
        """
        row = self._control.view.get(CHAT_CHANNEL, name)
        if row is None:
            raise UnauthenticatedError(Code.UNAUTHENTICATED, "the callback was not accepted", cause="no such channel")
        channel = _channel(name, row.doc)
        check = signed_slack if channel.kind is ChatKind.SLACK else signed_standard
        secret, _ = self._broker.signing_secret(channel.credential)
        now = self._clock.now()
        mark = f"{name} {check(secret, headers, body, now_s=now.wall_s)}"
        self._require_fresh(mark, int(headers[_SIGNED_TIME[channel.kind]]), now.boot_us)
        said = read_callback(channel.kind, body)
        async with self._alone:
            if isinstance(said, ChatLinking):
                return Heard(link=await self._linked(channel, said))
            return Heard(request=await self._voted(channel, said))

    def _require_fresh(self, mark: str, stamp: int, boot_us: int) -> None:
        now_s = boot_us // 1_000_000
        while self._seen and next(iter(self._seen.values())) <= now_s:
            self._seen.popitem(last=False)
        # what came before this process is remembered by nobody
        if mark in self._seen or stamp < self.began_s or len(self._seen) >= _MOST_REMEMBERED:
            raise UnauthenticatedError(Code.UNAUTHENTICATED, "the callback was not accepted", cause="taken before")
        self._seen[mark] = now_s + _REMEMBERED_S

    async def _linked(self, channel: ChatChannel, said: ChatLinking) -> ChatLink:
        key, made = self._key(channel.name, said.user), list[ChatLink]()

        def build(view: StateView) -> Change:
            now, hashed = self._clock.now(), secret_hash(said.code)
            row = view.get(CHAT_CODE, hashed)
            if row is None or row.doc["channel"] != channel.name or self._clocks.passed(row.doc["expires_us"], now):
                raise ForbiddenError(Code.LINK_INVALID, "the code is unknown, expired or was used", hint="make another")
            person = PersonId(row.doc["person"])
            taken = view.get(CHAT_LINK, key)
            if taken is not None and taken.doc["person"] != person:
                raise ConflictError(
                    Code.CONFLICT, "somebody else linked this account", hint="they end their link first"
                )
            made.append(ChatLink(key, channel.name, person, now.wall_us))
            doc = {"channel": channel.name, "person": person, "since_us": now.wall_us}
            writes = (Write(CHAT_CODE, hashed, None), Write(CHAT_LINK, key, doc), *self._ties(channel, person))
            return Change(Facts("chat.linked"), writes, _system(channel), {"channel": channel.name, "person": person})

        await self._control.transact(build)
        return made[-1]

    async def _voted(self, channel: ChatChannel, said: ChatVote) -> ApprovalRequest:
        row = self._control.view.get(CHAT_LINK, self._key(channel.name, said.user))
        person = PersonId(row.doc["person"]) if row is not None else None
        known = self._registry.organisation.people.get(person) if person is not None else None
        if row is None or person is None or known is None or known.left:
            raise ForbiddenError(
                Code.NOT_AUTHORISED, "nobody linked this account", hint="link it with `accredit chat link`, signed in"
            )
        request = self._approvals.get(said.request)
        if request is None:
            raise NotFoundError(Code.NOT_FOUND, "there is no such request")
        if not counts_from_chat(request, said.verdict, self.highest):
            raise ForbiddenError(
                Code.NOT_AUTHORISED,
                "this is not approved from a chat",
                hint="look at it in the console, and vote there",
            )
        await self._control.transact(lambda view: self._tied(view, channel, person))
        credential = f"chat/{channel.name}"
        who = Operator(person, credential, frozenset({"admin", "read"}), Basis.ROLES.value)
        return await self._operations.vote(
            who, said.request, said.role, said.verdict, Digest(said.view_digest), said.comment
        )

    def _tied(self, view: StateView, channel: ChatChannel, person: PersonId) -> Change | None:
        """The ties of a vote, as of now: nothing comes into force by them, so they are there before it is judged."""
        ties = tuple(one for one in self._ties(channel, person) if _older(view, one))
        body = {"channel": channel.name, "person": person}
        return Change(Facts("chat.vote_tied"), ties, _system(channel), body) if ties else None

    def _ties(self, channel: ChatChannel, person: PersonId) -> tuple[Write, ...]:
        _, stored_by = self._broker.signing_secret(channel.credential)
        now_us = self._clock.now().wall_us
        hands = {channel.by, PersonId(stored_by or channel.by)} - {person}
        ties = [AccountTie(person, hand, now_us) for hand in sorted(hands)]
        return tuple(Write(ACCOUNT_TIE, account_tie_key(one), account_tie_doc(one)) for one in ties)

    def _known(self, name: str) -> ChatChannel:
        row = self._control.view.get(CHAT_CHANNEL, name)
        if row is None:
            raise NotFoundError(Code.NOT_FOUND, f"there is no chat channel `{name[:80]}`")
        return _channel(name, row.doc)

    def _of_channel(self, view: StateView, name: str) -> tuple[Write, ...]:
        return tuple(
            Write(row.kind, row.key, None)
            for kind in (CHAT_LINK, CHAT_CODE)
            for row in view.scan(kind)
            if row.doc["channel"] == name
        )

    def _key(self, channel: str, user: str) -> str:
        """Under which a link is found: who does not hold the key learns no account from it."""
        return "chl_" + self._sealer.fingerprint(canonical([channel, user])).removeprefix("hmac-sha256:")[:32]


def _older(view: StateView, tie: Write) -> bool:
    """Whether a tie is not there, or at least a day old."""
    row = view.get(tie.kind, tie.key)
    return row is None or tie.doc is None or row.doc["at_us"] < tie.doc["at_us"] - 86_400_000_000


def _channel(name: str, doc: Mapping[str, Any]) -> ChatChannel:
    return ChatChannel(name, ChatKind(doc["kind"]), doc["credential"], PersonId(doc["by"]))


def _link(key: str, doc: Mapping[str, Any]) -> ChatLink:
    return ChatLink(key, doc["channel"], PersonId(doc["person"]), doc["since_us"])


def _system(channel: ChatChannel) -> Actor:
    return Actor(credential=f"chat/{channel.name}", basis="system")


def _actor(who: Operator) -> Actor:
    return Actor(person=who.person, credential=who.credential, basis=who.basis)
