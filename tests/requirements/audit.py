"""Promises of the audit log: tree, format, writer, verification."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("audit:tree:rfc6962", "RFC 9162 §2.1.1", "Roots are those of the recursive definition at every size."),
    Requirement("audit:tree:oracle", "research audit-storage §2", "Roots and proofs equal an independent tree's."),
    Requirement("audit:tree:inclusion", "RFC 9162 §2.1.3", "An inclusion proof holds for its own place only."),
    Requirement("audit:tree:consistency", "RFC 9162 §2.1.4", "A consistency proof holds for its own sizes only."),
    Requirement("audit:tree:proof-length", "trap audit-storage §2", "Short, long and changed proofs are refused."),
    Requirement("audit:tree:domains", "trap audit-storage §2", "A node never passes for a leaf."),
    Requirement("audit:tree:odd-node", "CVE-2012-2459", "The odd node is promoted, never doubled or padded."),
    Requirement("audit:tree:empty", "trap audit-storage §2", "The empty tree is SHA-256 of nothing."),
    Requirement("audit:tree:tiles", "C2SP tlog-tiles", "The tree goes on from its stored tiles."),
    Requirement("audit:record:leaf", "DESIGN §5", "Leaf = header and hash of salted body, under 0x00 and 0x03."),
    Requirement("audit:record:header", "DESIGN §5", "The header has exactly its fixed fields; absent is null."),
    Requirement("audit:record:canonical", "DESIGN §5", "Header and body are RFC 8785 bytes; a body holds no float."),
    Requirement("audit:record:bounded", "DESIGN §11", "An oversize or unencodable record is refused."),
    Requirement("audit:parts:exact", "DESIGN §5", "Parts keep the exact values sent."),
    Requirement("audit:parts:commitment", "DESIGN §5", "One field of a part can be opened and proven alone."),
    Requirement("audit:parts:domains", "DESIGN §5", "Pairs are framed and hashed under domains of their own."),
    Requirement("audit:parts:sealed", "DESIGN §5", "Each part has its own key, bound to stream, seq and name."),
    Requirement("audit:parts:ciphertext", "DESIGN §5", "The body holds the SHA-256 of each part's ciphertext."),
    Requirement("audit:parts:refused", "DESIGN §5", "Refused calls keep digests and at most 4 KB of their parts."),
    Requirement("audit:parts:truncated", "trap audit-storage §3.3", "What is not kept is marked and committed to."),
    Requirement("audit:parts:erasable", "DESIGN §5", "Without its key a part is gone; the leaf still holds."),
    Requirement("audit:parts:tamper", "DESIGN §5", "No changed byte of a sealed part or wrapped key opens."),
    Requirement("audit:checkpoint:form", "C2SP signed-note", "Checkpoints have one spelling and are read strictly."),
    Requirement("audit:checkpoint:signature", "C2SP signed-note", "Origin, size and root are bound by the signature."),
    Requirement("audit:checkpoint:fork", "C2SP tlog-checkpoint", "A signer never signs what contradicts its past."),
    Requirement("audit:store:conformance", "DESIGN §2", "Every record store keeps the same promises."),
    Requirement("audit:store:errors", "STYLE §4", "No exception of the database crosses the room's door."),
    Requirement(
        "audit:writer:order", "DESIGN §5", "Order of calls is order in the log; seq and kind_seq have no gaps."
    ),
    Requirement("audit:writer:durable", "DESIGN §3.12", "An acknowledged record is on disk and found after a restart."),
    Requirement("audit:writer:kill", "DESIGN §11", "kill -9 loses no acknowledged record and the log verifies."),
    Requirement(
        "audit:writer:group", "DESIGN §3.12", "What queues during a commit is committed together, unlingering."
    ),
    Requirement("audit:writer:bounded", "DESIGN §11", "A full queue refuses at once and drops nothing."),
    Requirement("audit:writer:failure", "research audit-storage §3.3", "A failed commit is refused, never retried."),
    Requirement("audit:writer:disk", "DESIGN §5", "Disk watermarks refuse calls, never control records."),
    Requirement("audit:writer:outbox", "DESIGN §5", "The log holds at most one record per outbox id."),
    Requirement("audit:writer:census", "DESIGN §5", "A census by kind precedes every published checkpoint."),
    Requirement(
        "audit:writer:checkpoint", "research audit-storage §3.3", "Only what is durable is signed or published."
    ),
    Requirement("audit:writer:fork", "DESIGN §5", "A log behind a checkpoint it signed is not continued."),
    Requirement("audit:writer:rollup", "DESIGN §5", "The daily roll-up is kept in the transaction of its records."),
    Requirement("audit:writer:pseudonyms", "DESIGN §5", "Pseudonyms become durable, sealed, with their first record."),
    Requirement("audit:flood:refusals", "DESIGN §5", "Beyond 60 equal refusals a minute one record counts them."),
    Requirement("audit:flood:unauthenticated", "DESIGN §5", "First per source, reason, minute recorded; rest counted."),
    Requirement(
        "audit:flood:known-credential", "threat flood", "No flood of strangers hides the use of a proven credential."
    ),
    Requirement("audit:flood:bounded", "DESIGN §11", "Flood counters hold a bounded number of keys and lose none."),
    Requirement("audit:tiles:layout", "C2SP tlog-tiles", "Tiles and bundles have the published paths and bytes."),
    Requirement("audit:proof:offline", "DESIGN §5", "A record's proof verifies offline, and only for that record."),
    Requirement("audit:export:offline", "DESIGN §5", "An export verifies without the server or its keys."),
    Requirement("audit:archive:agent", "DESIGN §6", "A retired agent's records are a file that anybody can check."),
    Requirement("audit:verify:bytes", "issue 2 §5", "Any changed byte of any stored record is found and named."),
    Requirement("audit:verify:order", "issue 2 §5", "Dropped and swapped records are found and named."),
    Requirement("audit:verify:tail", "issue 2 §5", "A dropped tail is found against a checkpoint kept elsewhere."),
    Requirement("audit:verify:rewrite", "DESIGN §5", "A log rewritten without the key contradicts its checkpoints."),
    Requirement("audit:verify:counts", "DESIGN §5", "kind_seq, census and roll-ups are compared with the records."),
    Requirement(
        "audit:verify:open", "DESIGN §5", "With keys commitments are checked; a missing key needs a tombstone."
    ),
    Requirement("audit:verify:anchor", "DESIGN §5", "The report names its anchor and what `none` cannot show."),
    Requirement("audit:verify:processes", "DESIGN §10", "Several processes find exactly what one finds."),
)
