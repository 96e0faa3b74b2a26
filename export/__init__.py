"""From open_clip to a bundle; never part of what serves."""

import classifier as classifier  # Turns onnxruntime's telemetry off before any module here imports it.
