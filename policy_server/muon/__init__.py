"""Muon with a layer-aware polar factor: Newton-Schulz families, optimizer, spectrum, recipe. For any PyTorch model."""
