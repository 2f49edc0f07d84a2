"""What makes a folder a Hub dataset: the card, and pictures of what is in it."""
