"""RS-GPT4V: optical remote-sensing instructions of ten component datasets, in a layout that nobody has published."""
