"""The progress bars."""

import time

from utils.terminal.progress import Bars


def test_a_stage_may_learn_of_more_steps_on_its_way(capsys):
    bars = Bars()
    bars.begin("photo", "parts", 0, 0)
    for done, total in ((40, 40), (41, 80), (80, 80)):
        bars.step("photo", done, total, "")
        assert (bars.bars["photo"].n, bars.bars["photo"].total) == (done, total)
    bars.end("photo")
    assert "/?" not in capsys.readouterr().err


def test_no_time_left_is_said_while_the_total_is_unknown(capsys):
    bars = Bars()
    bars.begin("photo", "kernel size", 0, 0)
    bars.step("photo", 1, 0, "tried 9 x 9")
    bars.bars["photo"].refresh()
    state = capsys.readouterr().err
    assert "1/?" in state
    assert "? left" in state
    time.sleep(0.01)  # so that there is a rate
    bars.step("photo", 2, 0, "tried 13 x 13")
    bars.bars["photo"].refresh()
    assert "2/?" in (state := capsys.readouterr().err) and "? left" in state
    bars.step("photo", 3, 3, "9 x 9")
    bars.bars["photo"].refresh()
    assert bars.bars["photo"].total == 3 and "00:00 left" in capsys.readouterr().err
