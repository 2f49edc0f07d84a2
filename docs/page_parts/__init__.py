"""The generated parts of the documentation, one module a subject; each lists its parts in ``BLOCKS``."""
