"""``python -m irtd_datasets`` is the command ``irtd``."""

from irtd_datasets.cli import main

if __name__ == "__main__":
    main()
