"""Dataset folders made from dataset folders, what is in them, and their boxes for detectors."""
