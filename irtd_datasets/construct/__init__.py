"""Making what was never released: benchmark and captions from source sets, by rules that are written down."""
