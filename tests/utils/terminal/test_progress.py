"""The progress bars."""

from utils.terminal.progress import Bars


def test_a_stage_may_learn_of_more_steps_on_its_way(capsys):
    bars = Bars()
    bars.begin("photo", "parts", 0, 0)
    for done, total in ((40, 40), (41, 80), (80, 80)):
        bars.step("photo", done, total, "")
        assert (bars.bars["photo"].n, bars.bars["photo"].total) == (done, total)
    bars.end("photo")
    assert "/?" not in capsys.readouterr().err
