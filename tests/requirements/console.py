"""Promises of the web console."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("console:entry:session", "DESIGN §4", "a page is shown to a living session and to nothing else"),
    Requirement("console:entry:poll", "trap idle sessions", "what a page asks by itself keeps no session alive"),
    Requirement("console:login:once", "DESIGN §4", "a sign-in link is exchanged once for a session on the server"),
    Requirement("console:login:next", "threat open redirect", "signing in and out lead to pages of this console alone"),
    Requirement("console:login:replaces", "threat login CSRF", "nobody is signed in as somebody else unawares"),
    Requirement("console:form:taken", "DESIGN §4", "a form of this session, sent by its own page, is carried out"),
    Requirement("console:form:own-token", "identity-console §3.3", "a form carries its own session's token"),
    Requirement("console:form:own-page", "identity-console §3.3", "a form comes from a page of this very origin"),
    Requirement("console:form:bounded", "DESIGN §11", "a form is bounded, of one encoding, without repeated fields"),
    Requirement("console:headers:every", "issue 3 §6", "every answer carries the strict policy, errors included"),
    Requirement("console:house:small", "identity-console §3.3", "no template is over 250 lines"),
    Requirement("console:house:inline", "identity-console §3.3", "nothing inline, nothing unescaped in a template"),
    Requirement(
        "console:house:foreign", "identity-console §3.3", "no page names anything elsewhere, or a supplied URL"
    ),
    Requirement("console:house:vendored", "STYLE §8", "what is vendored carries version and licence"),
    Requirement("console:text:isolated", "DESIGN §11", "supplied text is one box of text, whole, and never markup"),
    Requirement("console:text:marked", "DESIGN §11", "characters that deceive the eye are spelled out and marked"),
    Requirement("console:fleet:pages", "identity-console §3.3", "pages neither skip nor repeat an agent"),
    Requirement("console:fleet:filter", "issue 3 §6", "the fleet is filtered by name, team, environment, state, tier"),
    Requirement("console:browser:policy", "issue 3 §6", "no page of the console breaks its policy in a real browser"),
    Requirement("console:browser:axe", "issue 3 §6", "every page is clean by axe, in light and dark"),
    Requirement("console:browser:keys", "issue 3 §6", "signing in, finding, voting and answering need no pointer"),
    Requirement("console:browser:hostile", "DESIGN §11", "hostile text shown to an approver deceives nobody"),
    Requirement("console:browser:narrow", "identity-console §3.3", "pages fit narrow windows and 200 % zoom"),
    Requirement("console:browser:login", "DESIGN §4", "a link's secret leaves the address at once and is sent once"),
    Requirement("console:browser:fragment", "identity-console §3.3", "htmx gets a part from the view's own URL"),
    Requirement("console:browser:live", "issue 3 §6", "an agent's page follows its decisions, and can be paused"),
    Requirement("console:browser:assess", "issue 3 §3", "a risk assessment is written where one votes"),
    Requirement("console:agent:questions", "DESIGN §6", "one view answers the five questions, each with its record"),
    Requirement("console:agent:offers", "DESIGN §6", "offered is what the state allows and the person may do"),
    Requirement("console:sight:roles", "issue 3 §2", "without a role one sees what one owns or may answer"),
    Requirement("console:live:newest", "issue 3 §6", "the newest calls are followed in the log, bounded"),
    Requirement("console:assess:form", "issue 3 §3", "a page's fields become the published form, rows left empty not"),
    Requirement(
        "console:installed:link", "DESIGN §4", "the first link opens the console or gives a token, whichever first"
    ),
    Requirement(
        "console:installed:session", "DESIGN §4", "who signed out or left is out at once; no session is planted"
    ),
    Requirement("console:installed:headers", "issue 3 §6", "a real installation's pages carry the strict policy"),
    Requirement(
        "console:installed:bounds", "DESIGN §11", "hosts, heads, forms and attempts are bounded on the real port"
    ),
    Requirement("console:people:link", "DESIGN §4", "a sign-in link is shown once, to whoever asked for it"),
    Requirement("console:accounts:connected", "issue 5 §5", "a person connects an account by an answer they went for"),
    Requirement("console:people:own", "DESIGN §4", "one sees and ends what acts in one's own name, and nobody else's"),
    Requirement(
        "console:people:admin", "DESIGN §4", "administrators invite, make links and ask for roles in the console"
    ),
    Requirement(
        "console:people:pages", "identity-console §3.3", "the list of people neither skips nor repeats anybody"
    ),
    Requirement(
        "console:life:whole", "issue 3 §6", "people lead an agent's whole life from a real console, by keyboard"
    ),
    Requirement("console:life:hostile", "DESIGN §11", "hostile manifests deceive nobody in a real console"),
    Requirement("console:fleet:tiers", "DESIGN §10", "listed tiers are those of now, and lists wait for none"),
    Requirement("console:fault:typed", "STYLE §4", "a refused form says why and loses nothing that was typed"),
)
