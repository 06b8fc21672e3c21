"""Trains modelhost-nano, the tiny demonstration model in the wheel, from scratch (`python -m training.make_nano`)."""
