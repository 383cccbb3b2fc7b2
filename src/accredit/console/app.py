"""The console as one ASGI application: its routes, and what each shows or has done."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import Final, TypeVar
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from accredit.approvals.model import ApprovalRequest, HoldVerdict, VoteVerdict
from accredit.console.agents import AgentViews
from accredit.console.assessing import assessment_form
from accredit.console.breaking import BreakGlassViews
from accredit.console.conditions import obligations_of
from accredit.console.entry import LOGIN, STATIC, ConsoleEntry, SessionCookie, is_fragment
from accredit.console.findings import FindingViews
from accredit.console.frame import Surroundings
from accredit.console.incidents import IncidentViews
from accredit.console.pages import Pages, StaticFiles
from accredit.console.people import PeopleViews
from accredit.console.ports import ConsoleServices
from accredit.console.reviews import ReviewViews
from accredit.console.stores import StoreViews
from accredit.console.views import Views
from accredit.kernel.canonical import Digest
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, InvalidInputError, NotFoundError, UnauthenticatedError
from accredit.kernel.ids import AgentId, HoldId, ToolId
from accredit.lifecycle.discovery.findings import FindingAnswer
from accredit.lifecycle.reviews.deciding import AskedDecision
from accredit.lifecycle.reviews.model import ItemVerdict
from accredit.lifecycle.stored import ReviewVerdict
from accredit.monitoring.model import AlertDisposition
from accredit.registry.model import Role, Tier

__all__ = ["console_app"]

_log = logging.getLogger("accredit.console")
_TITLES: Final = {400: "That cannot be read", 401: "Sign in first", 403: "You may not", 404: "There is no such page",
                  409: "It has changed", 429: "Too many attempts", 503: "It cannot be done now"}  # fmt: skip

_PAST: Final = {"submit": "submitted", "activate": "activated", "suspend": "suspended", "resume": "resumed",
                "quarantine": "quarantined", "lift": "lifted", "retire": "retired"}  # fmt: skip
_MAX_REASON: Final = 500
_OWN_PATH: Final = re.compile(r"/console(?:/[A-Za-z0-9._~/-]*)?(?:\?[A-Za-z0-9._~/=&%+-]*)?")
_E = TypeVar("_E", bound=StrEnum)
_Handler = Callable[[Request], Awaitable[Response]]


def console_app(services: ConsoleServices) -> ASGIApp:
    """The application that answers `/console`, `/login` and `/logout`, and leads there from `/`."""
    static = StaticFiles()
    pages = Pages(static)
    cookie = SessionCookie(services.public_url)
    common = Surroundings(services)
    views, agents = Views(services, pages, common), AgentViews(services, pages, common)
    people = PeopleViews(services, pages, common)
    findings = FindingViews(services, pages, common)
    stores = StoreViews(services, pages, common)
    incidents = IncidentViews(services, pages, common)
    broken = BreakGlassViews(services, pages, common)
    reviews = ReviewViews(services, pages, common)
    operations = services.operations

    def refusal(request: Request, error: AccreditError) -> Response:
        if is_fragment(request):
            return Response(error.message, error.status, media_type="text/plain")
        return pages.page("refused", status=error.status, title=_TITLES.get(error.status, "That failed"), fault=error)

    def acting(act: _Handler, again: _Handler) -> _Handler:
        """What a form asked for; refused, the page it came from with what was typed, and why."""

        async def handled(request: Request) -> Response:
            try:
                return await act(request)
            except AccreditError as error:
                request.state.fault = error
                answer = await again(request)
                answer.status_code = error.status
                return answer

        return handled

    # -- signing in and out

    def sign_in_page(request: Request, error: AccreditError | None = None) -> Response:
        known = request.state.operator
        return pages.page(
            "login",
            status=error.status if error else 200,
            fault=error,
            next=_own_path(request.state.form.get("next", request.query_params.get("next", ""))),
            email=common.email(known.person) if known else None,
        )

    async def login(request: Request) -> Response:
        if request.method != "POST":
            return sign_in_page(request)
        form, source = request.state.form, request.client.host if request.client else ""
        try:
            secret = await services.sessions.open_session(form.get("link", "").strip()[:512], source=source)
        except UnauthenticatedError as error:
            services.turned_away(error.code, path=LOGIN, source=source, cause=error.cause)
            return sign_in_page(request, error)
        except AccreditError as error:
            return sign_in_page(request, error)
        if request.state.operator is not None:
            await services.sessions.close_session(request.state.operator)
        answer = RedirectResponse(_own_path(form.get("next", "")), 303)
        cookie.put(answer, secret)
        return answer

    async def logout(request: Request) -> Response:
        await services.sessions.close_session(request.state.visit.operator)
        answer = RedirectResponse(LOGIN, 303)
        cookie.remove(answer)
        return answer

    async def front(_: Request) -> Response:
        return RedirectResponse("/console", 303)

    # -- what people do

    async def vote(request: Request) -> Response:
        form, request_id = request.state.visit.form, request.path_params["request"]
        role, verdict = _one_of(Role, form, "role"), _one_of(VoteVerdict, form, "verdict")
        await operations.vote(
            request.state.visit.operator,
            request_id,
            role,
            verdict,
            Digest(form.get("view_digest", "")[:80]),
            form.get("comment", "").strip(),
            obligations_of(form, request.state.visit.operator, role) if verdict is VoteVerdict.APPROVE else (),
        )
        return _done(f"/console/approvals/{request_id}", "voted")

    async def withdraw(request: Request) -> Response:
        request_id = request.path_params["request"]
        await operations.withdraw(request.state.visit.operator, request_id)
        return _done(f"/console/approvals/{request_id}", "withdrawn")

    async def answer(request: Request) -> Response:
        form, hold = request.state.visit.form, HoldId(request.path_params["hold"])
        await operations.answer_hold(
            request.state.visit.operator,
            hold,
            _one_of(HoldVerdict, form, "verdict"),
            view_digest=Digest(form.get("view_digest", "")[:80]),
            reason=form.get("reason", "").strip(),
            role=form.get("role", "")[:80] or None,
        )
        return _done(f"/console/holds/{hold}", "answered")

    async def assess(request: Request) -> Response:
        form, request_id = request.state.visit.form, request.path_params["request"]
        if "more" in form:
            return await views.approval(request)
        await operations.assess(request.state.visit.operator, request_id, assessment_form(form))
        return _done(f"/console/approvals/{request_id}", "assessed")

    async def own_link(request: Request) -> Response:
        who = request.state.visit.operator
        secret = await operations.sign_in_link(who, who.person)
        return people.link(request, secret, address=common.email(who.person), for_self=True)

    async def end_credential(request: Request) -> Response:
        who, credential = request.state.visit.operator, request.path_params["credential"]
        await services.sessions.revoke_token(who, credential)
        return _done("/console/account", "ended")

    async def connect(request: Request) -> Response:
        credential = request.path_params["credential"]
        url = operations.connect_account(request.state.visit.operator, credential)
        return people.consent(request, credential, url)

    async def connected(request: Request) -> Response:
        """Back from an authorization server: what proves that it was sent for is in the answer, not in a form."""
        query = request.query_params
        if len(query.multi_items()) != len(query):
            raise InvalidInputError(Code.BODY_DUPLICATE_KEYS, "the answer repeats a parameter")
        await operations.connected_account(request.state.visit.operator, request.path_params["credential"], dict(query))
        return _done("/console/accounts", "connected")

    async def disconnect(request: Request) -> Response:
        await operations.disconnect_account(request.state.visit.operator, request.path_params["credential"])
        return _done("/console/accounts", "disconnected")

    async def link_for(request: Request) -> Response:
        person = people.known(request.path_params["person"])
        secret = await operations.sign_in_link(request.state.visit.operator, person.id)
        return people.link(request, secret, address=person.email, for_self=False)

    async def invite(request: Request) -> Response:
        email = request.state.visit.form.get("email", "").strip()
        secret = await operations.invite(request.state.visit.operator, email)
        return people.link(request, secret, address=email, for_self=False)

    async def ask_for_role(request: Request) -> Response:
        form = request.state.visit.form
        person = people.known(form.get("person", ""))
        team = form.get("team", "")[:200] or None
        asked = await operations.propose_role(
            request.state.visit.operator, _one_of(Role, form, "role"), person=person.id, team=team
        )
        return _done(f"/console/approvals/{asked.id}", "asked")

    async def handle(request: Request) -> Response:
        who, form, alert = request.state.visit.operator, request.state.visit.form, request.path_params["alert"]
        note = form.get("note", "").strip()
        match form.get("act", ""):
            case "acknowledge":
                await operations.acknowledge(who, alert, note)
            case "resolve":
                await operations.resolve(who, alert, note, disposition=_one_of(AlertDisposition, form, "disposition"))
            case _:
                raise InvalidInputError(Code.BODY_MALFORMED, "choose one of acknowledge, resolve")
        return _done("/console/alerts", "handled")

    async def answer_finding(request: Request) -> Response:
        who, form, finding = request.state.visit.operator, request.state.visit.form, request.path_params["finding"]
        chosen = _one_of(FindingAnswer, form, "answer")
        made = await services.findings.answer(who, finding, chosen, form.get("reason", "").strip())
        return findings.drafted(request, made) if made.draft else _done("/console/findings", "found")

    async def open_incident(request: Request) -> Response:
        who, form = request.state.visit.operator, request.state.visit.form
        severity, reason = form.get("severity", "")[:1], _reason_in(form)
        if severity not in {"1", "2", "3", "4"}:
            raise InvalidInputError(Code.BODY_MALFORMED, "severity is 1 (gravest) to 4")
        agent = agents.named(form.get("agent", "").strip()[:200], who)
        await services.incident_operations.open(who, [agent.id], int(severity), reason)
        return _done("/console/incidents", "flagged")

    async def freeze_incident(request: Request) -> Response:
        await services.incident_operations.freeze(request.state.visit.operator, request.path_params["incident"])
        return _done("/console/incidents", "frozen")

    async def close_incident(request: Request) -> Response:
        who, reason = request.state.visit.operator, _reason_in(request.state.visit.form)
        await services.incident_operations.close(who, request.path_params["incident"], reason)
        return _done("/console/incidents", "closed")

    async def decide_item(request: Request) -> Response:
        form, review = request.state.visit.form, request.path_params["review"]
        to = form.get("to", "").strip()
        verdict = _one_of(ReviewVerdict, form, "verdict")
        await services.store_operations.decide(
            request.state.visit.operator,
            review,
            form.get("item", "")[:2_000],
            Digest(form.get("digest", "")[:80]),
            verdict,
            AgentId(to) if to and verdict is ReviewVerdict.REASSIGN else None,
        )
        after = form.get("after", "")[:2_000]
        return RedirectResponse(f"/console/stores/{review}?{urlencode({'done': 'decided', 'after': after})}", 303)

    async def decide_clean(request: Request) -> Response:
        review, verdict = request.path_params["review"], _one_of(ReviewVerdict, request.state.visit.form, "verdict")
        await services.store_operations.decide_clean(request.state.visit.operator, review, verdict)
        return _done(f"/console/stores/{review}", "decided")

    async def link_chat(request: Request) -> Response:
        channel = request.path_params["channel"]
        code = await services.chats.link_code(request.state.visit.operator, channel)
        return people.chat_code(request, channel, code)

    async def unlink_chat(request: Request) -> Response:
        await services.chats.unlink(request.state.visit.operator, request.path_params["link"])
        return _done("/console/account", "unlinked")

    async def confirm_glass(request: Request) -> Response:
        seen = request.state.visit.form.get("digest", "")[:80]
        await services.glasses.confirm(request.state.visit.operator, request.path_params["glass"], seen)
        return _done("/console/break-glass", "confirmed")

    async def end_glass(request: Request) -> Response:
        await services.glasses.end(request.state.visit.operator, request.path_params["glass"])
        return _done("/console/break-glass", "over")

    async def decide_permission(request: Request) -> Response:
        form, review = request.state.visit.form, request.path_params["review"]
        asked = AskedDecision(
            ToolId(form.get("permission", "")[:600]),
            _one_of(ItemVerdict, form, "verdict"),
            form.get("reason", "").strip(),
        )
        view = form.get("view", "")[:80]
        await services.review_operations.decide(request.state.visit.operator, review, [asked], view)
        return _done(f"/console/reviews/{review}", "decided")

    async def state_need(request: Request) -> Response:
        form, review = request.state.visit.form, request.path_params["review"]
        needed = form.get("needed", "")
        if needed not in {"yes", "no"}:
            raise InvalidInputError(Code.BODY_MALFORMED, "say whether it is needed: yes or no")
        await services.review_operations.state_need(
            request.state.visit.operator, review, needed=needed == "yes", text=form.get("statement", "")
        )
        return _done(f"/console/reviews/{review}", "stated")

    async def start_campaign(request: Request) -> Response:
        form = request.state.visit.form
        tiers = [_one_of(Tier, form, "tier")] if form.get("tier") else []
        made = await services.review_operations.start(
            request.state.visit.operator, tiers=tiers, reason=form.get("reason", "").strip()
        )
        return _done(f"/console/review-campaigns/{made.id}", "started")

    async def accept_identity(request: Request) -> Response:
        form, campaign = request.state.visit.form, request.path_params["campaign"]
        await services.review_operations.accept(
            request.state.visit.operator, campaign, form.get("identity", "")[:200], form.get("reason", "").strip()
        )
        return _done(f"/console/review-campaigns/{campaign}", "accepted")

    async def close_campaign(request: Request) -> Response:
        campaign = request.path_params["campaign"]
        await services.review_operations.close(request.state.visit.operator, campaign)
        return _done(f"/console/review-campaigns/{campaign}", "campaign-closed")

    async def act(request: Request) -> Response:
        who, form = request.state.visit.operator, request.state.visit.form
        agent, name = AgentId(request.path_params["agent"]), request.path_params["act"]
        plain = {"submit": operations.submit, "activate": operations.activate}
        told = {
            "suspend": operations.suspend,
            "resume": operations.resume,
            "quarantine": operations.quarantine,
            "lift": operations.lift,
        }
        made: object = None
        if name in plain:
            made = await plain[name](who, agent)
        elif name in told or name == "retire":
            reason = _reason_in(form)
            if name == "retire":
                made = await operations.retire(who, agent, reason, Digest(form.get("plan", "")[:80]))
            else:
                await told[name](who, agent, reason)
        else:
            raise NotFoundError(Code.NOT_FOUND, "there is no page at this address")
        if isinstance(made, ApprovalRequest):
            if name == "retire":  # what is asked about its end is not for an owner without a role to look at
                return _done(f"/console/agents/{agent}", "proposed")
            return _done(f"/console/approvals/{made.id}", _PAST[name])
        return _done(f"/console/agents/{agent}", _PAST[name])

    # -- what went wrong

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, AccreditError)  # noqa: S101 - registered for these alone
        return refusal(request, error)

    async def unrouted(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for these alone
        answer = refusal(request, NotFoundError(Code.NOT_FOUND, "there is no page at this address"))
        answer.status_code = error.status_code
        return answer

    async def unexpected(request: Request, error: Exception) -> Response:
        _log.error("unhandled error", exc_info=error)
        return refusal(request, AccreditError(Code.INTERNAL, "internal error"))

    app = Starlette(
        routes=[
            Route("/", front),
            Route(STATIC + "{name}", static.answer),
            Route(LOGIN, login, methods=["GET", "POST"]),
            Route("/logout", logout, methods=["POST"]),
            Route("/console", views.fleet),
            Route("/console/", front),
            Route("/console/inbox", views.inbox),
            Route("/console/holds/{hold}", views.hold, methods=["GET"]),
            Route("/console/holds/{hold}", acting(answer, views.hold), methods=["POST"]),
            Route("/console/approvals/{request}", views.approval),
            Route("/console/approvals/{request}/vote", acting(vote, views.approval), methods=["POST"]),
            Route("/console/approvals/{request}/assessment", acting(assess, views.approval), methods=["POST"]),
            Route("/console/approvals/{request}/withdraw", acting(withdraw, views.approval), methods=["POST"]),
            Route("/console/alerts", agents.alerts),
            Route("/console/alerts/{alert}", acting(handle, agents.alerts), methods=["POST"]),
            Route("/console/findings", findings.findings),
            Route("/console/findings/{finding}", acting(answer_finding, findings.findings), methods=["POST"]),
            Route("/console/incidents", incidents.incidents, methods=["GET"]),
            Route("/console/incidents", acting(open_incident, incidents.incidents), methods=["POST"]),
            Route(
                "/console/incidents/{incident}/freeze", acting(freeze_incident, incidents.incidents), methods=["POST"]
            ),
            Route("/console/incidents/{incident}/close", acting(close_incident, incidents.incidents), methods=["POST"]),
            Route("/console/records/{seq}", agents.record),
            Route("/console/account", people.account),
            Route("/console/account/link", acting(own_link, people.account), methods=["POST"]),
            Route(
                "/console/account/credentials/{credential}", acting(end_credential, people.account), methods=["POST"]
            ),
            Route("/console/account/chats/{channel}", acting(link_chat, people.account), methods=["POST"]),
            Route("/console/account/chat-links/{link}", acting(unlink_chat, people.account), methods=["POST"]),
            Route("/console/accounts", people.accounts),
            Route("/console/accounts/{credential}/connect", acting(connect, people.accounts), methods=["POST"]),
            Route("/console/accounts/{credential}/callback", acting(connected, people.accounts), methods=["GET"]),
            Route("/console/accounts/{credential}/disconnect", acting(disconnect, people.accounts), methods=["POST"]),
            Route("/console/people", people.people),
            Route("/console/people/invite", acting(invite, people.people), methods=["POST"]),
            Route("/console/people/roles", acting(ask_for_role, people.people), methods=["POST"]),
            Route("/console/people/{person}/link", acting(link_for, people.people), methods=["POST"]),
            Route("/console/reviews", reviews.reviews, methods=["GET"]),
            Route("/console/reviews", acting(start_campaign, reviews.reviews), methods=["POST"]),
            Route("/console/reviews/{review}", reviews.card),
            Route("/console/reviews/{review}/decide", acting(decide_permission, reviews.card), methods=["POST"]),
            Route("/console/reviews/{review}/need", acting(state_need, reviews.card), methods=["POST"]),
            Route("/console/review-campaigns/{campaign}", reviews.campaign),
            Route(
                "/console/review-campaigns/{campaign}/accept",
                acting(accept_identity, reviews.campaign),
                methods=["POST"],
            ),
            Route(
                "/console/review-campaigns/{campaign}/close", acting(close_campaign, reviews.campaign), methods=["POST"]
            ),
            Route("/console/stores", stores.stores),
            Route("/console/stores/{review}", stores.review),
            Route("/console/stores/{review}/items", acting(decide_item, stores.review), methods=["POST"]),
            Route("/console/stores/{review}/clean", acting(decide_clean, stores.review), methods=["POST"]),
            Route("/console/break-glass", broken.glasses),
            Route("/console/break-glass/{glass}/confirm", acting(confirm_glass, broken.glasses), methods=["POST"]),
            Route("/console/break-glass/{glass}/end", acting(end_glass, broken.glasses), methods=["POST"]),
            Route("/console/agents/{agent}", agents.agent),
            Route("/console/agents/{agent}/{act}", agents.act, methods=["GET"]),
            Route("/console/agents/{agent}/{act}", acting(act, agents.act), methods=["POST"]),
        ],
        exception_handlers={AccreditError: refused, HTTPException: unrouted, Exception: unexpected},
    )
    app.router.redirect_slashes = False
    # around everything, the framework's own answer to a mistake of ours included
    return ConsoleEntry(app, sessions=services.sessions, cookie=cookie, refused=services.turned_away, failed=refusal)


def _reason_in(form: Mapping[str, str]) -> str:
    reason = form.get("reason", "").strip()
    if not 1 <= len(reason) <= _MAX_REASON:
        raise InvalidInputError(Code.BODY_MALFORMED, f"a reason has 1 to {_MAX_REASON} characters")
    return reason


def _own_path(path: str) -> str:
    """Where to go after signing in: a page of this console, never elsewhere."""
    inside = _OWN_PATH.fullmatch(path) and not path.startswith(STATIC)
    return path if inside else "/console"


def _done(path: str, what: str) -> Response:
    return RedirectResponse(f"{path}?done={what}", 303)


def _one_of(kind: type[_E], form: Mapping[str, str], name: str) -> _E:
    try:
        return kind(form.get(name, ""))
    except ValueError as error:
        raise InvalidInputError(Code.BODY_MALFORMED, f"choose a {name}: {', '.join(kind)}") from error
