"""From open_clip to a bundle; never part of what serves."""
