"""Names of the files at the top of a dataset folder; each stands here alone."""

from __future__ import annotations

__all__ = ["CARD", "LEDGER", "STATE"]

LEDGER = "ledger.json"
CARD = "README.md"
STATE = ".built.json"
"""Identities of the inputs of each shard. They hold times of the release's files, so that two builds of copies of one
release would differ in them: they are kept out of the manifest, and this file is not published."""
