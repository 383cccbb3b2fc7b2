"""What may happen: layered policies, one pure decision."""
