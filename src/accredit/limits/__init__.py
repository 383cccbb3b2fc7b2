"""How much may happen: rates, budgets, concurrency, timeouts.

Decides whether one more attempt may be judged and whether one admitted call still has room. What always holds: a
call takes rate, concurrency and budget together or nothing; what is reserved is settled or given back exactly once,
in the window it was reserved in; spent and open money never exceed the cap; counters are a fold of the log, so a
restart gives the same or a stricter state. Plug in at `ports.CounterStore`.
"""
