"""SQLite: one file (or memory) that the embedded bus, ledger and documents share."""
