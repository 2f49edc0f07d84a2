"""What a training run needs of a dataset folder beyond ``load_dataset``: layouts of other programs."""
