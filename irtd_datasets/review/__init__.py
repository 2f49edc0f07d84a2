"""People who read rows: a page on this machine, their verdicts on disk, and the dataset folder that follows from them."""
