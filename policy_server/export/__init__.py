"""From a checkpoint to a bundle: ONNX graphs, parity, manifest."""
