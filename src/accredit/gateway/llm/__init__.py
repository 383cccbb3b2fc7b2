"""What passes between an agent and a language model, read from a copy: the bytes themselves are never touched here.

Four request shapes (`shapes.py`). `requests.py` says what a request asks for; `extract.py` says what an answer holds,
as the events of `events.py`, one reader per way of answering (`chat.py`, `responses.py`, `messages.py`); `frames.py`
cuts a stream into frames that join back to it.

What always holds: nothing here does I/O or keeps more than a bound; an answer's bytes never raise; any split of them
gives the same events; what is not understood is not left out in silence: an unknown kind of tool counts as hosted, and
what could not be read is reported as `Broke`. What clients would disagree about is read in the way that shows more.
"""
