"""From registration to retirement: steps that can be interrupted anywhere and go on, and what people do to agents.

What always holds: every step that gives has a step that takes; each is recorded before the next begins and can be done
again without effect; nothing runs in production without a clearance that was checked again at activation; a retired
id stays retired. `operations.Operations` is what the API and the console call; `dossier` answers what anybody asks of
an agent.
"""
