"""Web pages for the people who answer for agents: the fleet, one agent's whole record, and what waits for a decision.

Server-rendered; every view has one URL, and htmx asks that URL for a part of it. The pages hold no logic of their own:
what they change goes through the same operations as `/api/v1`, what they show comes from the same reads. Always true:
every answer carries a Content-Security-Policy that allows nothing inline and nothing foreign; a page is shown to a
session and to nothing else; a change takes the session's cookie, its own token in the form, and a browser that says
the form came from here; and nothing anybody wrote can pass for the page around it (`text.py`).
"""
