"""What the laws are for: a recipe for a policy that was not trained yet, and how such a recipe would have done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from policy_server.ladder.configuration import LadderConfig
from policy_server.ladder.laws import Group, Law, fit_law, group_values, predicted_quantiles
from policy_server.ladder.plateau import PlateauValue
from policy_server.ladder.rungs import Rung
from policy_server.muon.cost import CostModel
from policy_server.muon.errors import SpectrumError
from policy_server.muon.layers import Layer, assign_layers
from policy_server.muon.matrices import MatrixLayout
from policy_server.muon.predicted import predicted_spectra
from policy_server.muon.recipe import LayerSpectrum, choose_recipe, predict_saving
from policy_server.muon.recipe_file import Recipe
from policy_server.muon.spectrum_log import SpectrumRow, layer_spectra, read_spectra
from policy_server.sweep.trainings import make_policy, merged
from policy_server.training.configuration import TrainingConfig

_LAST_MEASUREMENTS = 3


@dataclass(frozen=True)
class RecipeCheck:
    """The recipe from spectra that the smaller sizes predict, on the spectra that the largest then had, beside the recipe from these.

    FLOPs are over those of five fixed steps; ``error`` is the root mean square over the measured directions; ``same`` is the share of
    layers for which both recipes say the same.
    """

    family: str
    rung: str
    layers: int
    same: float
    flops_predicted: float
    flops_measured: float
    error_predicted: float
    error_measured: float
    error_of_fixed_five: float


def check_predicted_recipe(rungs: Sequence[Rung], values: Sequence[PlateauValue], confidence: float) -> RecipeCheck:
    """For the runs of one family: laws from all but the largest size, a recipe for that size, and how it does on what was measured there.

    Raises:
        SpectrumError: fewer than three sizes, or a layer of the largest has no law.
    """
    largest = max(rung.parameters for rung in rungs)
    rung = next(rung for rung in rungs if rung.parameters == largest)
    laws = fit_laws(group_values(value for value in values if value.parameters < largest), confidence)
    if not laws:
        raise SpectrumError(f"{rung.family}: a predicted recipe needs three sizes")
    rows = read_spectra(rung.spectrum, _LAST_MEASUREMENTS)
    measured = layer_spectra(rows)
    predicted = predicted_spectra(_layers(rows), predicted_quantiles(laws, rung.family, largest))
    return _compare(rung, choose_recipe(predicted), choose_recipe(measured), measured)


def recipe_for(
    config: LadderConfig, values: Sequence[PlateauValue], training: TrainingConfig, model: CostModel | None = None
) -> Recipe:
    """A recipe for the networks of ``training``, from the laws of the family of the same backbone.

    Raises:
        SpectrumError: no such family, or a layer whose type and depth have no law.
    """
    family = family_of(config, training.model.backbone)
    laws = fit_laws(group_values(value for value in values if value.family == family), config.confidence)
    policy = make_policy(training)
    size = sum(parameter.numel() for parameter in policy.parameters())
    spectra = predicted_spectra(assign_layers(policy), predicted_quantiles(laws, family, size))
    return choose_recipe(spectra, training.optimizer.muon.adaptive.recipe, model)


def fit_laws(groups: Sequence[Group], confidence: float) -> list[Law]:
    return [fit_law(group, confidence) for group in groups]


def family_of(config: LadderConfig, backbone: str) -> str:
    """Raises SpectrumError: the ladder has no family of this backbone."""
    backbones = {}
    for name, family in config.families.items():
        settings = merged(config.base, family.training)
        backbones[settings.get("model", {}).get("backbone", "unet_attention")] = name
    if backbone not in backbones:
        raise SpectrumError(f"backbone '{backbone}' has no law: the ladder has {', '.join(sorted(backbones))}")
    return backbones[backbone]


def _compare(rung: Rung, predicted: Recipe, measured: Recipe, spectra: Mapping[str, LayerSpectrum]) -> RecipeCheck:
    by_prediction = predict_saving(predicted.layers, spectra, CostModel())
    by_measurement = predict_saving(measured.layers, spectra, CostModel())
    same = sum(predicted.layers[name] == measured.layers[name] for name in spectra)
    return RecipeCheck(
        family=rung.family,
        rung=rung.name,
        layers=len(spectra),
        same=same / len(spectra),
        flops_predicted=by_prediction["flops_over_fixed_five"],
        flops_measured=by_measurement["flops_over_fixed_five"],
        error_predicted=by_prediction["error"],
        error_measured=by_measurement["error"],
        error_of_fixed_five=by_measurement["error_of_fixed_five"],
    )


def _layers(rows: Sequence[SpectrumRow]) -> list[Layer]:
    """The layers that a spectrum log tells of."""
    parts: dict[str, dict[int, SpectrumRow]] = {}
    for row in rows:
        parts.setdefault(row.name, {})[row.part] = row
    return [
        Layer(
            name,
            (len(own) * own[0].rows, own[0].columns),
            "muon",
            "logged",
            MatrixLayout(len(own)),
            tuple(own[part].type for part in sorted(own)),
            own[0].quarter,
        )
        for name, own in parts.items()
    ]
