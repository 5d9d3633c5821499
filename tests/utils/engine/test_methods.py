"""The schedules at their edges, and the methods that they make."""

import pytest

from utils.engine.methods import (
    LAI,
    LEVIN,
    NONBLIND,
    NONBLIND_METHODS,
    PAPER_5K,
    PAPER_20K,
    QUICK,
    REPRODUCE_METHODS,
    blind_methods,
    change_recipes,
    resolve_precision,
    without_remedy,
)
from utils.engine.stages.estimate import CheckKernel, EstimateKernel
from utils.engine.stages.finish import Finish
from utils.engine.stages.fit import FitFromKernel, FitIfUntrusted, ImageFit, JointFit
from utils.engine.stages.refine import Refine


@pytest.mark.parametrize(
    ("iteration", "factor"),
    [
        (0, 1), (1999, 1), (2000, 1 / 2), (2999, 1 / 2), (3000, 1 / 4), (3999, 1 / 4),
        (4000, 1 / 8), (4999, 1 / 8),
    ],
)  # fmt: skip
def test_rates_are_halved_at_each_milestone(iteration, factor):
    assert LEVIN.learning_rates(iteration) == (0.01 * factor, 0.0001 * factor)


def test_ssim_takes_over_after_the_first_iterations():
    assert LEVIN.loss_name(999) == "MSE"
    assert LEVIN.loss_name(1000) == "1-SSIM"


@pytest.mark.parametrize("recipe", [PAPER_5K, PAPER_20K])
def test_the_papers_recipes_never_use_ssim(recipe):
    assert recipe.loss_name(10**6) == "MSE"
    assert recipe.tv_weight == 1e-6


def test_methods_by_name():
    methods = blind_methods(LAI)
    assert list(methods) == ["default", "fast", "quick", "paper-5k", "paper-20k"]
    assert [type(stage) for stage in methods["fast"]] == [
        EstimateKernel,
        FitIfUntrusted,
        CheckKernel,
        Refine,
        FitFromKernel,
        Finish,
    ]
    joint, remedy = methods["default"]
    assert joint == JointFit(LAI)
    assert remedy == ImageFit(NONBLIND, only_if_black=True)
    assert methods["quick"][0].recipe is QUICK
    assert methods["quick"][1].recipe.channels == QUICK.channels
    paper = methods["paper-20k"][0].recipe
    assert (paper.num_iter, paper.milestones) == (20000, (5000, 10000, 15000))
    assert NONBLIND_METHODS["default"] == (ImageFit(NONBLIND),)
    assert list(REPRODUCE_METHODS) == ["default"]


def test_faithful_methods_compute_in_float32_on_every_machine():
    for methods in (blind_methods(LEVIN), blind_methods(LAI), NONBLIND_METHODS, REPRODUCE_METHODS):
        for stage in methods["default"]:
            assert stage.recipe.precision == "fp32"


def test_the_length_is_that_of_the_first_fit_and_the_weight_that_of_all():
    joint, remedy = change_recipes(
        blind_methods(LEVIN)["default"], num_iter=7, tv_weight=1e-5, precision="bf16"
    )
    assert (joint.recipe.num_iter, remedy.recipe.num_iter) == (7, NONBLIND.num_iter)
    assert joint.recipe.tv_weight == remedy.recipe.tv_weight == 1e-5
    assert joint.recipe.precision == remedy.recipe.precision == "bf16"
    assert joint.recipe.milestones == LEVIN.milestones
    assert change_recipes(blind_methods(LEVIN)["default"]) == blind_methods(LEVIN)["default"]


def test_an_open_precision_is_resolved_and_a_fixed_one_is_kept():
    quick, default = (blind_methods(LEVIN)[name] for name in ("quick", "default"))
    assert {stage.recipe.precision for stage in resolve_precision(quick, "bf16")} == {"bf16"}
    assert resolve_precision(default, "bf16") == default


def test_the_remedy_may_be_left_out():
    assert without_remedy(blind_methods(LAI)["default"]) == (JointFit(LAI),)
    assert without_remedy(NONBLIND_METHODS["default"]) == NONBLIND_METHODS["default"]
