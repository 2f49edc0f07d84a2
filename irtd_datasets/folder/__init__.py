"""The dataset folder as a format: its files, read and rendered. Building, checking and publishing stand above it."""
