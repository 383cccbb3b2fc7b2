"""Agents, their versions and owners, teams, people, tool servers: who and what exists, as declared and pinned.

Manifests come in through `service.Registry.apply`, all of them or none; `catalogue.Catalogue` is what everybody else
reads. What always holds: a version is immutable and addressed by the digest of its canonical form; a tool's pinned
definition changes by an explicit, recorded re-pin alone; a name in an environment is one agent's; a call's arguments
are judged by a schema that was bounded before it was compiled. Row kinds: `rows`. Plugs in: `ports.DefinitionSource`,
which asks tool servers, and the data classes in `data_classes.json`.
"""
