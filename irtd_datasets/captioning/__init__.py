"""Captions by a language model: the prompt, the endpoint, the journal that loses no paid answer, the validator."""
