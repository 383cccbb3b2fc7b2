"""Whether an agent still behaves as approved: sequential tests of its sessions against its baseline."""
