"""The optimizer that sets its own recipe: spectra are measured during burn-in, and the newest measurement chooses."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from policy_server.muon.cost import CostModel
from policy_server.muon.recipe import LayerSpectrum, RecipeConfig, choose_recipe
from policy_server.muon.recipe_file import Recipe
from policy_server.muon.spectrum import part_spectra
from policy_server.runtime.errors import ConfigurationError


@dataclass(frozen=True)
class AdaptiveConfig:
    """When to measure: every ``every`` steps up to ``burn_in``, then every ``refresh_every`` steps (0: never again).

    Each measurement alone chooses the recipe that holds until the next, so a resumed run needs nothing but the recipe.
    """

    burn_in: int = 300
    every: int = 50
    refresh_every: int = 0
    recipe: RecipeConfig = field(default_factory=RecipeConfig)

    def __post_init__(self) -> None:
        if self.every < 1 or self.burn_in < self.every:
            raise ConfigurationError(
                f"adaptive: burn_in {self.burn_in}, every {self.every}: needs 1 <= every <= burn_in"
            )

    def is_due(self, step: int) -> bool:
        """``step`` counts from 1."""
        if step <= self.burn_in:
            return step % self.every == 0
        return bool(self.refresh_every) and step % self.refresh_every == 0


def measure_recipe(matrices: Mapping[str, Tensor], config: RecipeConfig, model: CostModel) -> Recipe:
    """The recipe for momenta, name → (parts, rows, columns), that are about to be orthonormalised."""
    spectra = {
        name: LayerSpectrum(each.shape[1], each.shape[2], tuple(part_spectra(each))) for name, each in matrices.items()
    }
    return choose_recipe(spectra, config, model)
