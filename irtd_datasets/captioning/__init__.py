"""Texts by a language model: prompts, endpoint, journal, validator. Which images want some, `construct` decides."""
