"""IR-TD."""
