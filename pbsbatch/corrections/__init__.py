"""What people corrected elsewhere, brought back into the ledger beside a run's results."""
