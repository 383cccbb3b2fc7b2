"""The structured risk assessment of a high gate: its form, its digest, and what it must name.

The votes of a high gate carry the digest, so nobody approves with one assessment in view and another on file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from accredit.kernel.canonical import Digest, digest_value
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.ids import PersonId

__all__ = ["RiskAssessment", "assessment_digest", "assessment_schema", "read_assessment"]

_Text = Annotated[str, StringConstraints(min_length=3, max_length=2_000)]
_Level = Annotated[int, Field(ge=1, le=5)]
_Residual = Literal["low", "medium", "high"]


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, alias_generator=to_camel)


class _Mitigation(_Form):
    """What lessens a risk: a policy in force, or a measure in words."""

    policy: Annotated[str, StringConstraints(min_length=1, max_length=400)] | None = Field(
        None, description="id of a policy of the release in force, or of one of the agent's own grants"
    )
    measure: _Text | None = Field(None, description="what is done outside of policy")

    @model_validator(mode="after")
    def _one_of_both(self) -> _Mitigation:
        if (self.policy is None) == (self.measure is None):
            raise ValueError("a mitigation is a policy or a measure")
        return self


class _Risk(_Form):
    risk: _Text = Field(description="what can go wrong, for whom")
    likelihood: _Level = Field(description="1 rare to 5 almost certain, with the mitigations left out")
    impact: _Level = Field(description="1 negligible to 5 severe")
    mitigations: Annotated[list[_Mitigation], Field(max_length=20)]
    residual: _Residual = Field(description="what is left with the mitigations")

    @model_validator(mode="after")
    def _lessened_by_something(self) -> _Risk:
        if not self.mitigations and self.residual == "low" and self.likelihood * self.impact > 6:
            raise ValueError("a risk of that size is not low without a mitigation")
        return self


class RiskAssessment(_Form):
    """What a high agent may do wrong, what lessens it, and who accepts what is left."""

    risks: Annotated[list[_Risk], Field(min_length=1, max_length=50)]
    residual: _Residual = Field(description="of the whole; no lower than the highest of the risks")
    accepted_by: Annotated[str, StringConstraints(pattern=r"^psn_[0-9a-f]{32}$")] = Field(
        description="id of the person who accepts the residual risk: a business owner"
    )

    @model_validator(mode="after")
    def _no_lower_than_its_risks(self) -> RiskAssessment:
        order = ("low", "medium", "high")
        if order.index(self.residual) < max(order.index(risk.residual) for risk in self.risks):
            raise ValueError("the residual risk is no lower than that of any single risk")
        return self

    @property
    def accepter(self) -> PersonId:
        return PersonId(self.accepted_by)


def read_assessment(form: Mapping[str, Any], *, policies: Collection[str]) -> RiskAssessment:
    """The assessment a form holds; `policies` are the ids that can be named as mitigations.

    Raises:
        InvalidInputError: with what is wrong, and where.
    """
    try:
        found = RiskAssessment.model_validate(dict(form))
    except ValidationError as error:
        at = error.errors(include_url=False, include_input=False)[0]
        path = ".".join(str(step)[:60] for step in at["loc"])
        raise InvalidInputError(
            Code.ASSESSMENT_INVALID,
            f"`{path or 'the assessment'}`: {str(at['msg'])[:200]}",
            hint="the form is at /api/v1/schemas/assessment.json",
        ) from error
    for number, risk in enumerate(found.risks):
        for mitigation in risk.mitigations:
            if mitigation.policy is not None and mitigation.policy not in policies:
                raise InvalidInputError(
                    Code.ASSESSMENT_INVALID,
                    f"`risks.{number}.mitigations`: no policy `{mitigation.policy[:200]}` is in force",
                    hint="policy ids are listed by `accredit policy show`",
                )
    return found


def assessment_digest(assessment: RiskAssessment, *, nonce: str) -> Digest:
    """What votes bind to; the nonce keeps it from being guessed."""
    return digest_value("risk-assessment", {"form": assessment.model_dump(by_alias=True), "nonce": nonce})


def assessment_schema() -> dict[str, Any]:
    """The published JSON Schema (2020-12)."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "/api/v1/schemas/assessment.json",
        **RiskAssessment.model_json_schema(by_alias=True),
        "title": "RiskAssessment",
    }
