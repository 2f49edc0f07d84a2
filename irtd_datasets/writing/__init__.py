"""From a release to a dataset folder: plan, write, account, put into place. How records are read stands in `rows`."""
