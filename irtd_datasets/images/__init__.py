"""Checking images, turning them upright, and matching pairs of them."""
