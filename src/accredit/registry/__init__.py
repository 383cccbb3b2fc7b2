"""Agents, versions, people and their roles, teams, tool servers: who and what exists, and where each agent stands.

Manifests come in through `service.Registry.apply`, all of them or none; `catalogue.Catalogue` and
`organisation.Organisation` are what everybody else reads. What always holds: a version is immutable and addressed by
the digest of its canonical form; what is enforced of an agent is its version in force, whatever is declared since; an
agent's state changes by `Registry.transition` along `lifecycle` alone; what takes two persons is a `proposals.Proposal`
that writes nothing until `Registry.enact` gets its clearance, and is enacted once, as judged, or not at all; there are
never fewer than two administrators again; a tool's pinned definition changes by an explicit, recorded re-pin alone; a
name in an environment is one agent's, an id for ever; a call's arguments are judged by a schema that was bounded before
it was compiled. Row kinds: `rows`. Plugs in: `ports.DefinitionSource`, which asks tool servers, and the data classes in
`data_classes.json`.
"""
