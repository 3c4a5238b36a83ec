"""Spectra of layers that have not been trained yet, from the quantiles that a scaling law predicts."""

from collections.abc import Iterable, Mapping

from policy_server.muon.errors import SpectrumError
from policy_server.muon.layers import Layer
from policy_server.muon.recipe import LayerSpectrum
from policy_server.muon.spectrum import spectrum_from_quantiles


def predicted_spectra(
    layers: Iterable[Layer], quantiles: Mapping[tuple[str, int], Mapping[float, float]]
) -> dict[str, LayerSpectrum]:
    """Name → spectrum for every layer that Muon trains, as ``choose_recipe`` takes them.

    Args:
        layers: from ``assign_layers`` of the model to be trained.
        quantiles: (type, quarter) → share of the directions → singular value of M / ‖M‖_F there.

    Raises:
        SpectrumError: no quantiles for a layer's type and quarter.
    """
    spectra = {}
    for layer in layers:
        if layer.kind != "muon":
            continue
        rows, columns = layer.matrix
        parts = []
        for kind in layer.types:
            if (kind, layer.quarter) not in quantiles:
                raise SpectrumError(
                    f"'{layer.name}': no quantiles for type '{kind}' in quarter {layer.quarter}: fit the law on a model that has it"
                )
            parts.append(spectrum_from_quantiles(quantiles[kind, layer.quarter], min(rows, columns)))
        spectra[layer.name] = LayerSpectrum(rows, columns, tuple(parts))
    return spectra
