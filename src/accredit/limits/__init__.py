"""How much may happen: rates, budgets, concurrency, timeouts."""
