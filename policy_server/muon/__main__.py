"""From a spectrum log to a recipe and to pictures: ``python -m policy_server.muon recipe runs/a/spectrum --output recipe.yaml``."""

import argparse
import sys
from pathlib import Path

from policy_server.muon.configuration import describe_config
from policy_server.muon.cost import CostModel, measure_costs
from policy_server.muon.recipe import RecipeConfig, choose_recipe
from policy_server.muon.recipe_file import Recipe, write_recipe
from policy_server.muon.spectrum_log import layer_spectra, read_spectra
from policy_server.muon.spectrum_plots import plot_quantiles, plot_spectra
from policy_server.runtime.command import run_command


def main() -> int:
    arguments = _parse()
    return _plot(arguments) if arguments.command == "plot" else _recipe(arguments)


def _recipe(arguments: argparse.Namespace) -> int:
    spectra = layer_spectra(read_spectra(arguments.spectrum, arguments.last))
    config = RecipeConfig(arguments.quantile, margin=arguments.margin, precisions=tuple(arguments.precision))
    recipe = choose_recipe(spectra, config, measure_costs() if arguments.measure_costs else CostModel())
    write_recipe(recipe, arguments.output)
    _show(recipe)
    print(f"recipe for {len(recipe.layers)} layers is in {arguments.output}")
    return 0


def _show(recipe: Recipe) -> None:
    width = max(map(len, recipe.layers))
    for name, config in recipe.layers.items():
        print(f"{name.ljust(width)}  {describe_config(config)}")
    saved = recipe.prediction
    print(f"FLOPs {saved['flops_over_fixed_five']:.2f} of five fixed steps', time {saved['cost_over_fixed_five']:.2f},")
    print(f"error {saved['error']:.3f} against {saved['error_of_fixed_five']:.3f}")


def _plot(arguments: argparse.Namespace) -> int:
    rows = read_spectra(arguments.spectrum)
    arguments.output.mkdir(parents=True, exist_ok=True)
    step = rows[-1].step
    quantiles, spectra = arguments.output / "quantiles.png", arguments.output / f"spectra_{step}.png"
    plot_quantiles(rows, quantiles)
    plot_spectra(rows, step, spectra)
    print(f"pictures are in {quantiles} and {spectra}")
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m policy_server.muon",
        description="Choose a recipe for Muon from measured spectra, or draw them.",
        epilog="example: python -m policy_server.muon recipe runs/train/reach_cued/spectrum --output recipe.yaml",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="{recipe,plot}")
    recipe = commands.add_parser(
        "recipe", help="a polar configuration for each layer, as YAML that the optimizer reads"
    )
    recipe.add_argument(
        "--quantile", type=float, default=0.5, help="share of directions that must not fail (default 0.5)"
    )
    recipe.add_argument(
        "--margin", type=float, default=0.5, help="threshold at most this times the quantile (default 0.5)"
    )
    recipe.add_argument("--last", type=int, default=3, help="measurements that the recipe must serve (default 3)")
    recipe.add_argument(
        "--precision",
        nargs="+",
        default=["float32", "bfloat16"],
        choices=["bfloat16", "float32"],
        help="which may be used (default both; bfloat16 is taken only where the costs say that it is faster)",
    )
    recipe.add_argument(
        "--measure-costs", action="store_true", help="measure this machine instead of the declared costs"
    )
    plot = commands.add_parser("plot", help="quantiles over the steps, and the spectra of the last measurement")
    for command, what, default in ((recipe, "file", "recipe.yaml"), (plot, "folder", "spectrum_plots")):
        command.add_argument("spectrum", type=Path, help="folder of the spectrum log")
        command.add_argument("--output", type=Path, default=Path(default), help=f"{what} to write (default {default})")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
