"""Muon with a layer-aware polar factor, for any PyTorch model.

    layers = assign_layers(model)                                   # layers.py: who trains what, and why
    print(describe(layers))
    optimizer = Muon(muon_parameters(model), lr=1e-3, adaptive=AdaptiveConfig())            # optimizer.py, adaptive.py
    log = SpectrumLog(folder, layers, every=100)                    # spectrum_log.py
    for step, batch in enumerate(batches, start=1):
        optimizer.zero_grad()
        loss(model, batch).backward()
        optimizer.step()
        log.observe(step, optimizer.matrices())

How a polar factor is computed is a ``PolarConfig`` (configuration.py); what it does to a singular value says response.py, what it
costs cost.py, which one a layer needs recipe.py.
"""
