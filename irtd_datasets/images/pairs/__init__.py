"""Pairs of an infrared and a visible image: alignment from labels or images, and the crop to the common view."""

from irtd_datasets.images.pairs.cropping import REASONS, PairCrop, PairQuality, crop_pair
from irtd_datasets.images.pairs.transform import IDENTITY, PairTransform

__all__ = ["IDENTITY", "REASONS", "PairCrop", "PairQuality", "PairTransform", "crop_pair"]
