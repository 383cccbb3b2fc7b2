"""A production key needs sign-off before it enrols and its agent's owner before it counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey

from accredit.audit.ports import Actor
from accredit.identity import rows
from accredit.identity.credentials import AgentCredentials
from accredit.identity.enrolment import may_enrol
from accredit.identity.model import Credential, CredentialState
from accredit.kernel.canonical import Digest
from accredit.kernel.clearance import Basis, Clearance, Subject
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, ConflictError, ForbiddenError, NotFoundError, UnauthenticatedError
from accredit.kernel.ids import CredentialId
from accredit.registry.model import AgentState, AgentVersion, Environment
from tests.identity.world import ADMIN, CRM, SUPPORT, Instance, World, agent, granted, public, refusal, run, version

OWNER = Actor(person="psn_1", credential="ses_1", basis="roles")
BACKUP = Actor(person="psn_2", credential="ses_2", basis="roles")
OPERATOR = Actor(person="psn_9", credential="ses_9", basis="roles")
CREDENTIALS = AgentCredentials()


def _clearance(digest: Digest, *, basis: Basis = Basis.APPROVALS, kind: str = "agent-version") -> Clearance:
    return Clearance(Subject(kind, digest), basis, ("psn_3", "psn_4"), "ses_3")


class Production:
    """An installation whose one agent is approved for production."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.key = ECKey.generate_key("P-256")

    @classmethod
    async def begun(cls) -> Production:
        """Its activation has begun."""
        world = await World().started()
        place = cls(world)
        place.stands(AgentState.APPROVED)
        await place.open()
        return place

    def stands(self, state: AgentState) -> None:
        self.world.directory[SUPPORT] = agent(SUPPORT, state=state, environment=Environment.PRODUCTION)

    async def open(self) -> None:
        for write in CREDENTIALS.writes_to_open(
            self.world.control.view, SUPPORT, _clearance(version().digest), version().digest
        ):
            await self.world.put(write.kind, write.key, write.doc)

    async def enrol(self, *, actor: Actor = OPERATOR, pin: str | None = None) -> Credential:
        token = await self.world.enrolment.issue_join_token(SUPPORT, actor=actor, pin_thumbprint=pin)
        return await self.world.enrolment.enrol(token.secret, public(self.key), source="10.0.0.9")

    def instance(self, credential: Credential) -> Instance:
        return Instance(self.world, self.key, credential)


async def _enrolment_refused(world: World) -> Code:
    with pytest.raises(AccreditError) as caught:
        await world.enrolment.issue_join_token(SUPPORT, actor=OWNER)
    return caught.value.code


@pytest.mark.requirement("identity:production:clearance")
def test_no_production_key_enrols_before_its_activation_began_under_a_clearance() -> None:
    async def scenario() -> None:
        world = await World().started()
        place = Production(world)
        for state in (AgentState.DRAFT, AgentState.SUBMITTED, AgentState.REJECTED, AgentState.APPROVED):
            place.stands(state)
            assert await _enrolment_refused(world) is Code.ENROLMENT_CLOSED
        await place.open()
        token = await world.enrolment.issue_join_token(SUPPORT, actor=OWNER)
        (closing,) = CREDENTIALS.writes_to_close(world.control.view, SUPPORT)
        await world.put(closing.kind, closing.key, closing.doc)
        with pytest.raises(ForbiddenError) as caught:  # a join token given out before is no way round
            await world.enrolment.enrol(token.secret, public(place.key), source="10.0.0.9")
        assert caught.value.code is Code.ENROLMENT_CLOSED
        assert CREDENTIALS.writes_to_close(world.control.view, SUPPORT) == ()

    run(scenario())


@pytest.mark.requirement("identity:production:clearance")
@pytest.mark.parametrize(
    "clearance",
    [
        _clearance(version("2").digest),
        _clearance(version().digest, kind="policy-release"),
        _clearance(version().digest, basis=Basis.SINGLE_ADMIN),
        _clearance(version().digest, basis=Basis.ROLES),
    ],
)
def test_enrolment_opens_only_with_approvals_of_exactly_that_version(clearance: Clearance) -> None:
    with pytest.raises(ForbiddenError) as caught:
        CREDENTIALS.writes_to_open(World().control.view, SUPPORT, clearance, version().digest)
    assert caught.value.code is Code.CLEARANCE_REQUIRED


@pytest.mark.requirement("identity:production:clearance")
@given(
    state=st.sampled_from(AgentState),
    environment=st.sampled_from(Environment),
    opened_for=st.none() | st.sampled_from("123").map(lambda digit: version(digit).digest),
    candidate=st.none() | st.just(version("2")),
)
def test_keys_enrol_where_an_agent_runs_and_in_production_only_for_the_version_cleared(
    state: AgentState, environment: Environment, opened_for: Digest | None, candidate: AgentVersion | None
) -> None:
    known = agent(SUPPORT, state=state, environment=environment, candidate=candidate)
    open_to = {
        Environment.DEVELOPMENT: state is AgentState.DRAFT,
        Environment.STAGING: state in {AgentState.SUBMITTED, AgentState.APPROVED},
        Environment.PRODUCTION: state in {AgentState.APPROVED, AgentState.ACTIVE}
        and (opened_for == version("1").digest or (opened_for == version("2").digest and candidate is not None)),
    }
    assert (may_enrol(known, opened_for=opened_for) is None) == open_to[environment]


@pytest.mark.requirement("identity:production:confirmed")
def test_a_production_key_waits_for_the_owner_who_confirms_it_by_its_thumbprint() -> None:
    async def scenario() -> None:
        place = await Production.begun()
        credential = await place.enrol()
        assert credential.state is CredentialState.PENDING
        place.stands(AgentState.ACTIVE)
        told = refusal(await place.instance(credential).ask())
        assert (told.status, told.error, told.code) == (400, "unauthorized_client", Code.CREDENTIAL_PENDING)
        assert told.body()["code"] == "credential_pending", "it proved its key, so it may know that it must wait"
        confirm = place.world.enrolment.confirm
        for actor in (OPERATOR, ADMIN, Actor()):
            with pytest.raises(ForbiddenError):
                await confirm(credential.id, credential.thumbprint, actor=actor)
        for wrong in (ECKey.generate_key("P-256").thumbprint(), "", credential.thumbprint[:-1], "\ud800"):
            with pytest.raises(ConflictError) as caught:
                await confirm(credential.id, wrong, actor=OWNER)
            assert caught.value.code is Code.THUMBPRINT_MISMATCH
        assert (await confirm(credential.id, credential.thumbprint, actor=BACKUP)).state is CredentialState.ACTIVE
        event = place.world.control.events[-1]
        assert (event.facts.kind, event.actor) == ("credential.confirmed", BACKUP)
        assert granted(await place.instance(credential).ask())
        before = len(place.world.control.events)
        await confirm(credential.id, credential.thumbprint, actor=OWNER)
        assert len(place.world.control.events) == before
        with pytest.raises(NotFoundError):
            await confirm(CredentialId("crd_nobody"), credential.thumbprint, actor=OWNER)

    run(scenario())


@pytest.mark.requirement("identity:production:confirmed")
def test_a_pin_confirms_only_when_an_owner_made_it() -> None:
    """Others may make join tokens too, and could pin one to a key of their own."""

    async def scenario() -> None:
        pinned = {}
        for actor in (OWNER, BACKUP, OPERATOR):
            place = await Production.begun()
            pinned[actor.person] = (await place.enrol(actor=actor, pin=place.key.thumbprint())).state
        assert pinned == {
            OWNER.person: CredentialState.ACTIVE,
            BACKUP.person: CredentialState.ACTIVE,
            OPERATOR.person: CredentialState.PENDING,
        }
        place = await Production.begun()
        assert (await place.enrol(actor=OWNER)).state is CredentialState.PENDING

    run(scenario())


@pytest.mark.requirement("identity:production:confirmed")
def test_a_pending_key_whose_join_token_is_used_again_is_locked_and_can_no_more_be_confirmed() -> None:
    async def scenario() -> None:
        place = await Production.begun()
        token = await place.world.enrolment.issue_join_token(SUPPORT, actor=OWNER)
        credential = await place.world.enrolment.enrol(token.secret, public(place.key), source="10.0.0.9")
        with pytest.raises(ForbiddenError):
            await place.world.enrolment.enrol(token.secret, public(ECKey.generate_key("P-256")), source="10.0.0.8")
        found = place.world.state.credential(credential.id)
        assert found is not None
        assert found.state is CredentialState.LOCKED
        with pytest.raises(ConflictError):
            await place.world.enrolment.confirm(credential.id, credential.thumbprint, actor=OWNER)

    run(scenario())


@pytest.mark.requirement("identity:production:confirmed")
def test_a_key_that_was_revoked_or_whose_agent_was_stopped_is_not_confirmed() -> None:
    async def scenario() -> None:
        place = await Production.begun()
        credential = await place.enrol()
        place.stands(AgentState.QUARANTINED)
        with pytest.raises(ForbiddenError) as caught:
            await place.world.enrolment.confirm(credential.id, credential.thumbprint, actor=OWNER)
        assert caught.value.code is Code.AGENT_NOT_ACTIVE
        place.stands(AgentState.ACTIVE)
        await place.world.revocations.revoke_agent(SUPPORT, actor=OWNER)
        with pytest.raises(ConflictError):
            await place.world.enrolment.confirm(credential.id, credential.thumbprint, actor=OWNER)

    run(scenario())


@pytest.mark.requirement("identity:access:state")
@pytest.mark.parametrize("environment", Environment)
def test_an_agent_that_does_not_run_as_it_stands_gets_no_token(environment: Environment) -> None:
    async def scenario() -> None:
        world = await World().started()
        instance = await world.instance()
        running = set()
        for state in AgentState:
            world.directory[SUPPORT] = agent(SUPPORT, state=state, environment=environment)
            reply = await instance.ask()
            if getattr(reply, "access_token", None):
                running.add(state)
            else:
                assert refusal(reply).code is Code.AGENT_NOT_ACTIVE
                assert refusal(reply).credential == instance.credential.id
        assert (
            running
            == {
                Environment.DEVELOPMENT: {AgentState.DRAFT},
                Environment.STAGING: {AgentState.SUBMITTED, AgentState.APPROVED},
                Environment.PRODUCTION: {AgentState.ACTIVE},
            }[environment]
        )

    run(scenario())


@pytest.mark.requirement("identity:access:state")
def test_an_agent_stopped_while_its_token_is_put_on_record_gets_none() -> None:
    async def scenario() -> None:
        world = await World().started()
        instance = await world.instance()

        async def stopped() -> None:
            world.directory[SUPPORT] = agent(SUPPORT, state=AgentState.SUSPENDED)

        world.audit.before_durable = stopped
        assert refusal(await instance.ask()).code is Code.AGENT_NOT_ACTIVE

    run(scenario())


@pytest.mark.requirement("identity:credentials:writes")
def test_halting_ends_live_tokens_and_keeps_keys_and_ending_takes_both() -> None:
    async def scenario() -> None:
        world = await World().started()
        assert CREDENTIALS.writes_to_halt(world.control.view, SUPPORT) == (), "nothing was ever given out"
        instance = await world.instance()
        token = await instance.token()
        waiting = await world.enrolment.issue_join_token(SUPPORT, actor=OWNER)
        for write in CREDENTIALS.writes_to_halt(world.control.view, SUPPORT):
            await world.put(write.kind, write.key, write.doc)
        with pytest.raises(UnauthenticatedError):
            world.verifier.verify(token, path="/mcp/crm")
        token = await instance.token()
        world.verifier.verify(token, path="/mcp/crm")
        ending = CREDENTIALS.writes_to_end(world.control.view, SUPPORT)
        assert ending[0].kind == rows.EPOCH
        for write in ending:
            await world.put(write.kind, write.key, write.doc)
        with pytest.raises(UnauthenticatedError):
            world.verifier.verify(token, path="/mcp/crm")
        assert refusal(await instance.ask(resource=CRM)).code is Code.CREDENTIAL_REVOKED
        with pytest.raises(UnauthenticatedError):
            await world.enrolment.enrol(waiting.secret, public(ECKey.generate_key("P-256")), source="10.0.0.9")
        assert [write.kind for write in CREDENTIALS.writes_to_end(world.control.view, SUPPORT)] == [rows.EPOCH]

    run(scenario())


@pytest.mark.requirement("identity:credentials:writes")
def test_an_agent_with_more_keys_than_fit_into_one_change_is_revoked_all_the_same() -> None:
    async def scenario() -> None:
        world = await World().started()
        first = (await world.instance()).credential
        row = world.control.view.get(rows.CREDENTIAL, first.id)
        assert row is not None
        for number in range(450):
            await world.put(rows.CREDENTIAL, f"crd_{number}", row.doc)
        await world.revocations.revoke_agent(SUPPORT, actor=OWNER)
        assert {one.state for one in world.state.credentials_of(SUPPORT)} == {CredentialState.REVOKED}
        assert world.state.epoch(SUPPORT) is not None

    run(scenario())
