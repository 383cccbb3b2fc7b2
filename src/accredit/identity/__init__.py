"""Who is calling: agents by their own keys, people by their own credentials, upstreams by brokered secrets."""
