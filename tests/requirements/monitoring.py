"""Promises of the monitoring room."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "monitoring:baseline:opened",
        "DESIGN §7",
        "a baseline holds the posture digests and the approved sets of the version it was opened for",
    ),
    Requirement(
        "monitoring:baseline:approved-pins", "DESIGN §7", "definitions are those approved, not those pinned now"
    ),
    Requirement("monitoring:baseline:clearance", "DESIGN §2", "no baseline in production without a clearance"),
    Requirement(
        "monitoring:baseline:closed", "DESIGN §6", "retirement closes the baseline; opening or closing twice is one"
    ),
    Requirement("monitoring:baseline:missing", "threat tampering", "who runs in production without one is quarantined"),
    Requirement(
        "monitoring:posture:version", "DESIGN §7", "another version in force than the approved one is found at once"
    ),
    Requirement("monitoring:posture:definition", "issue 3 §5", "a re-pinned or drifted tool definition is found"),
    Requirement(
        "monitoring:posture:reported", "issue 3 §5", "another prompt, model or version that an instance reports"
    ),
    Requirement("monitoring:posture:one-alert", "threat flood", "one alert however many things an instance says"),
    Requirement(
        "monitoring:posture:changeover", "DESIGN §7", "instances may be of the version before for a quarter hour"
    ),
    Requirement("monitoring:posture:bounded", "DESIGN §11", "a posture of another form or size is refused"),
    Requirement(
        "monitoring:tier:risen", "DESIGN §6", "a tier above the one an agent in production was approved under is drift"
    ),
    Requirement(
        "monitoring:tier:once",
        "DESIGN §7",
        "it is told of once, however far it rises, and holds every call for security",
    ),
    Requirement("monitoring:tier:renewed", "DESIGN §7", "its hold is renewed before it ends, as long as it is so"),
    Requirement("monitoring:tier:over", "DESIGN §7", "what is put right ends the alert, and the hold that answered it"),
    Requirement("monitoring:tier:approved-anew", "DESIGN §6", "a version put in force by new votes ends both as well"),
    Requirement("monitoring:tier:unknown", "DESIGN §3.10", "a tier nobody can compute ends no hold and stops no round"),
    Requirement("monitoring:tier:rounds", "DESIGN §11", "a bounded number in a round, and everybody has a turn"),
    Requirement("monitoring:novelty:tool", "DESIGN §7", "a call of a tool outside of the approved set is told of once"),
    Requirement("monitoring:novelty:destination", "DESIGN §7", "a call that went to an unapproved origin is told of"),
    Requirement("monitoring:novelty:data", "DESIGN §7", "a data class outside of the approved set is told of"),
    Requirement("monitoring:novelty:denial", "DESIGN §7", "the first denial of each tool is told of, busy times apart"),
    Requirement("monitoring:novelty:history", "issue 3 §5", "what the roll-ups of earlier days show is not new"),
    Requirement("monitoring:novelty:bounded", "threat flood", "an agent cannot open any number of alerts"),
    Requirement("monitoring:ghost", "issue 3 §8", "a retired agent's key or token in use is recognised"),
    Requirement(
        "monitoring:ghost:clear", "DESIGN §5", "its record names our own id of the credential and nothing else"
    ),
    Requirement(
        "monitoring:alert:dedupe", "DESIGN §7", "one alert per agent, kind and matter while it is not resolved"
    ),
    Requirement(
        "monitoring:alert:lifecycle", "DESIGN §8", "an alert is acknowledged and resolved by a person, on record"
    ),
    Requirement("monitoring:alert:again", "DESIGN §7", "what is still so when its alert is resolved is told anew"),
    Requirement("monitoring:alert:private", "DESIGN §5", "what people write and instances say stands in sealed parts"),
    Requirement("monitoring:offer:added", "issue 5 §1", "what a tool server adds or renames is told of once"),
    Requirement("monitoring:offer:bounded", "threat flood", "a tool server cannot open any number of alerts"),
    Requirement("monitoring:remediation:table", "DESIGN §7", "posture in production is answered, novelty never"),
    Requirement(
        "monitoring:remediation:persists", "issue 3 §5", "what is to be done stays so until it is marked as done"
    ),
    Requirement(
        "monitoring:remediation:contained", "DESIGN §7", "who is contained already needs no further containing"
    ),
    Requirement("monitoring:round:repeat", "DESIGN §11", "a round repeated finds nothing more and writes nothing"),
    Requirement(
        "monitoring:round:kill", "DESIGN §11", "killed at any write, no alert is lost, doubled or counted twice"
    ),
    Requirement("monitoring:round:bounded", "DESIGN §11", "a round reads a bounded number of records and goes on"),
    Requirement("monitoring:round:rollback", "threat tampering", "a cursor that is not proven skips nothing"),
    Requirement("monitoring:usage", "issue 3 §5", "granted, used and denied per tool, with the last use"),
    Requirement("monitoring:installed", "issue 3 §5", "records of a real installation are read as they are written"),
    Requirement("monitoring:shapes:classes", "DESIGN §7", "values of arguments are kept as classes, never as they are"),
    Requirement(
        "monitoring:shapes:choices", "issue 7 §1", "choices that a schema lists are told apart; other keys hashed"
    ),
    Requirement("monitoring:shapes:bounded", "DESIGN §11", "of any arguments few short classes are kept"),
    Requirement(
        "monitoring:drift:exact", "issue 7 §4", "the statistic is an e-detector whose mean after t sessions is t"
    ),
    Requirement("monitoring:drift:false-alarms", "issue 7 §4", "without a change at most one alarm in 200 sessions"),
    Requirement("monitoring:drift:found", "issue 7 §4", "a change is found and named by the view that moved"),
    Requirement("monitoring:drift:dated", "issue 7 §4", "a change is dated"),
    Requirement("monitoring:drift:creeping", "issue 7 bad input", "a change that creeps is found"),
    Requirement("monitoring:drift:bad-input", "issue 7 bad input", "baselines of few or equal sessions raise no flood"),
    Requirement("monitoring:drift:restored", "DESIGN §7", "stopped anywhere, a detector goes on as if it had not been"),
    Requirement("monitoring:drift:bounded", "issue 7 numbers", "a detector's state stays within 20 KB"),
    Requirement(
        "monitoring:profiles:features", "issue 7 §1", "a finished session is its calls and numbers, none of its text"
    ),
    Requirement(
        "monitoring:profiles:sessions", "issue 7 §1", "a session ends when it was idle and none of its calls is open"
    ),
    Requirement(
        "monitoring:profiles:exact", "issue 7 §1", "profiles and numbers follow from the log, however it was read"
    ),
    Requirement("monitoring:profiles:bad-input", "issue 7 bad input", "huge sessions and erased arguments do no harm"),
    Requirement(
        "monitoring:profiles:kept", "issue 7 §1", "profiles and states come back as they were, or are made anew"
    ),
    Requirement(
        "monitoring:profiles:bounded", "DESIGN §11", "old sessions and those beyond 2,000 of an agent are let go of"
    ),
    Requirement(
        "monitoring:profiles:installed", "issue 7 §1", "an installation keeps up profiles and makes them again"
    ),
    Requirement(
        "monitoring:accuracy:counted", "issue 7 §10", "dispositions say how often what raises alerts was right"
    ),
    Requirement("monitoring:alert:disposition", "issue 7 §9", "whoever resolves an alert says what it was"),
    Requirement(
        "monitoring:remediation:rules", "issue 7 §9", "a release says what answers alerts, and rehearses it first"
    ),
    Requirement(
        "monitoring:remediation:faults", "issue 7 §9", "a rule that could not be meant is refused with its fix"
    ),
    Requirement(
        "monitoring:remediation:stronger", "issue 7 §9", "rules add to what is built in and take nothing from it"
    ),
    Requirement("monitoring:remediation:statistic", "DESIGN §7", "nothing is stopped on a statistic alone"),
    Requirement(
        "monitoring:remediation:carried-out", "issue 7 §9", "what a rule says is done, for its time, and rehearsed"
    ),
    Requirement(
        "monitoring:drift:fleet", "issue 7 §4", "over a fleet false discoveries are held down, however many agents"
    ),
    Requirement("monitoring:suggestion:manifest", "issue 7 §8", "what an agent could do without, as a ready manifest"),
    Requirement("monitoring:costs:reconciled", "issue 7 §7", "costs added up by anything are all that the log has"),
    Requirement("monitoring:costs:forecast", "issue 7 §7", "what a month will come to, with an interval"),
    Requirement("monitoring:costs:unusual", "issue 7 §7", "days on which far more was spent than before"),
    Requirement("monitoring:costs:exported", "issue 7 §7", "costs are exported, and no cell is a formula"),
)
