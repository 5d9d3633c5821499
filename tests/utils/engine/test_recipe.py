"""The schedules at their edges."""

import pytest

from utils.engine.recipe import LEVIN, PAPER_5K, PAPER_20K, QUICK, recipes


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


def test_recipes_by_name():
    named = recipes(LEVIN)
    assert list(named) == ["default", "quick", "paper-5k", "paper-20k"]
    assert named["default"] is LEVIN
    assert named["quick"] is QUICK
    assert (named["paper-20k"].num_iter, named["paper-20k"].milestones) == (
        20000,
        (5000, 10000, 15000),
    )
