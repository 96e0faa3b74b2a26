"""What is ours in a bucket and on its bus."""

# Prefixes of a bucket for this program's own objects.
RESULTS = "results/"
MANIFESTS = "manifests/"
MAP_RUNS = "map-runs/"
EVENT_SOURCE = "clip-classifier"
