"""What runs beside the robot: bundle, observation history, preprocessing, ONNX engine, chunk schedule. No torch."""
