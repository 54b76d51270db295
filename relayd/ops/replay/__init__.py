"""Putting mail through again: from dead letters, an archive, the ledger or the bucket; by the queue or here."""
