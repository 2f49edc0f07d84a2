"""MMRS-1M: optical, SAR and infrared remote sensing conversations of the EarthGPT paper."""
