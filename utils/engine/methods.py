"""The methods, side by side: each is a tuple of stages, and each number names its source.

A script offers a table of methods to ``--method NAME``; the first is its default.
"""

from dataclasses import replace

from utils.engine.recipe import Recipe
from utils.engine.stage import Method
from utils.engine.stages.estimate import CheckKernel, EstimateKernel
from utils.engine.stages.finish import Finish
from utils.engine.stages.fit import (
    Fit,
    FitFromKernel,
    FitIfUntrusted,
    ImageFit,
    JointFit,
    ReleasedFit,
)
from utils.engine.stages.photograph import (
    CompareParts,
    Deconvolve,
    FindKernelSize,
    InWindow,
    WindowKernel,
)
from utils.engine.stages.refine import Refine

# The authors' scripts, selfdeblur_levin.py and the others of the same names as ours.
LEVIN = Recipe()
LAI = Recipe(mse_iterations=500)
YCBCR = Recipe(num_iter=2500, milestones=(1600, 1900, 2200), mse_iterations=500)
NONBLIND = Recipe(num_iter=1000, milestones=(700, 800, 900), mse_iterations=0)
REPRODUCE = Recipe(
    num_iter=2, milestones=(700, 800, 900), mse_iterations=0, image_lr=0.0001, kernel_lr=0.0
)

# The paper's model: mean squared error throughout, and total variation (section 4.1).
PAPER_5K = Recipe(mse_iterations=None, tv_weight=1e-6)
PAPER_20K = replace(PAPER_5K, num_iter=20000, milestones=(5000, 10000, 15000))

# Ours, for machines without a GPU: a narrower Gx and a short schedule with a faster Gk. A kernel_lr
# of 0.001 with 150 mse_iterations was better on one image and worse on another.
QUICK = Recipe(
    num_iter=1200,
    milestones=(720, 900, 1080),
    mse_iterations=300,
    kernel_lr=0.0005,
    channels=64,
    precision="auto",
)


# Ours, from an estimate of the kernel. Most of an iteration's time goes into the maps of full size:
# with 16 channels there, more iterations fit into it (benchmarks/RESULTS.md).
FAST = Recipe(
    num_iter=400,
    milestones=(260, 320, 370),
    mse_iterations=0,
    kernel_lr=0.01,
    channels=64,
    top_channels=16,
)


def blind(recipe: Recipe) -> Method:
    """Fit both networks; if the image collapses to black, refit Gx with the estimated kernel."""
    remedy = replace(
        NONBLIND,
        channels=recipe.channels,
        scales=recipe.scales,
        tv_weight=recipe.tv_weight,
        precision=recipe.precision,
    )
    return (JointFit(recipe), ImageFit(remedy, only_if_black=True))


def blind_methods(default: Recipe) -> dict[str, Method]:
    """The methods for an unknown kernel, given the recipe of the authors' script."""
    return {
        "default": blind(default),
        "fast": (
            EstimateKernel(),
            FitIfUntrusted(replace(QUICK, precision="fp32")),
            CheckKernel(),
            Refine(),
            FitFromKernel(FAST),
            Finish(),
        ),
        "quick": blind(QUICK),
        "paper-5k": blind(PAPER_5K),
        "paper-20k": blind(PAPER_20K),
    }


PHOTOGRAPH: Method = (WindowKernel(), CompareParts(), Deconvolve())
"""For a photograph of any size: the kernel from a window, then the whole image by tiles."""

NONBLIND_METHODS: dict[str, Method] = {
    "default": (ImageFit(NONBLIND),),
    "quick": (ImageFit(QUICK),),
    "paper-5k": (ImageFit(PAPER_5K),),
    "paper-20k": (ImageFit(PAPER_20K),),
}
"""The methods for a known kernel."""

REPRODUCE_METHODS: dict[str, Method] = {"default": (ReleasedFit(REPRODUCE),)}
"""As the authors show their released networks: unchanged, and after one small step of Gx."""


def look_in(method: Method, window: tuple[int, int, int, int]) -> Method:
    """Have the stages that look at a part of the image look at this one."""
    return tuple(
        replace(stage, window=window) if isinstance(stage, InWindow) else stage for stage in method
    )


def find_size_first(method: Method) -> Method:
    """Put the search for the kernel's size before a method, in the same window if it has one."""
    windows = [stage.window for stage in method if isinstance(stage, InWindow)]
    return (FindKernelSize(*windows[:1]), *method)


def change_recipes(
    method: Method,
    *,
    num_iter: int | None = None,
    tv_weight: float | None = None,
    precision: str | None = None,
) -> Method:
    """Change the recipes of a method's fits; None leaves a setting unchanged.

    Parameters
    ----------
    method : tuple of Stage
        The method.
    num_iter : int, optional
        Length of the first fit; the rest of its schedule stays. One that runs only where no kernel
        is trusted has it too, but does not count.
    tv_weight : float, optional
        Weight of the total variation, in all fits.
    precision : str, optional
        Arithmetic of Gx, in all fits.
    """
    stages = []
    for stage in method:
        if isinstance(stage, Fit):
            recipe = stage.recipe
            if num_iter is not None:
                recipe = replace(recipe, num_iter=num_iter)
                num_iter = num_iter if isinstance(stage, FitIfUntrusted) else None
            if tv_weight is not None:
                recipe = replace(recipe, tv_weight=tv_weight)
            if precision is not None:
                recipe = replace(recipe, precision=precision)
            stage = replace(stage, recipe=recipe)
        stages.append(stage)
    return tuple(stages)


def resolve_precision(method: Method, auto: str) -> Method:
    """Replace the precision ``auto`` in a method's recipes by a definite one."""
    return tuple(
        replace(stage, recipe=replace(stage.recipe, precision=auto))
        if isinstance(stage, Fit) and stage.recipe.precision == "auto"
        else stage
        for stage in method
    )


def without_remedy(method: Method) -> Method:
    """Remove the stages that run only if the image collapses to black."""
    return tuple(
        stage for stage in method if not (isinstance(stage, ImageFit) and stage.only_if_black)
    )
