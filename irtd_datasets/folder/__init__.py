"""The dataset folder as a format: files, manifest, ledger, card, Croissant, index, and reading its rows."""
