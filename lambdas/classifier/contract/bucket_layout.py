"""The names of this program's own objects in a bucket, and of its events."""

# Prefixes of a bucket for this program's own objects.
RESULTS = "results/"
MANIFESTS = "manifests/"
MAP_RUNS = "map-runs/"
EVENT_SOURCE = "clip-classifier"
