"""People who read rows: a page on this machine, their verdicts on disk, and the folder that follows from them."""
