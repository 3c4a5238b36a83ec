"""The scaling ladder: policies of growing size, trained alike, and the laws by which the spectra of their momenta shrink.

After "Spectral Scaling Laws of Muon" (arXiv 2606.04058), which fitted them on language models.
"""
