"""What makes a folder a Hub dataset: the card, and images of what is in it."""
