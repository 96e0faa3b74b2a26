"""Images and labels in, probabilities out: CLIP behind a Lambda handler."""

import os

# From 1.29 on onnxruntime sends events to Microsoft, unless this is set before it is imported:
# https://github.com/microsoft/onnxruntime/pull/27379
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

VERSION = "0.1.0"
