"""Captions by a language model: prompt, endpoint, journal, validator. Which images want one, `construct` decides."""
