"""From a release to a dataset folder: plan, write, account for everything, put into place."""
