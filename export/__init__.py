"""From open_clip to a bundle; never part of what serves."""

# Turns onnxruntime's telemetry off before any module here imports it.
import classifier as classifier
