"""What a results folder says of how it was made."""

import json
from pathlib import Path

import pytest

from utils.errors import DataError
from utils.runs.results import Outputs, describe_differences, find_progress, prepare_folder

FIT = {"stage": "joint fit", "num_iter": 5000, "channels": 128}
QUICK_FIT = {"stage": "joint fit", "num_iter": 1200, "channels": 64}
FINISH = {"stage": "finish", "fit_kernel": True}


def settings(*stages, name=None, seed=0):
    named = {"method_name": name} if name else {}
    return {**named, "method": list(stages), "seed": seed}


@pytest.mark.parametrize(
    ("made_with", "wanted", "message"),
    [
        (settings(FIT, name="default"), settings(FIT, name="default"), ""),
        (settings(FIT, name="default"), settings(FIT, name="mine"), ""),
        (settings(FIT), settings(FIT, name="default"), ""),
        (
            settings(FIT, name="default"),
            settings(QUICK_FIT, name="quick", seed=3),
            "method default instead of quick, seed 0 instead of 3",
        ),
        (
            settings(FIT, name="default"),
            settings({**FIT, "num_iter": 9}, name="default"),
            "joint fit num_iter 5000 instead of 9",
        ),
        (
            settings(FIT, FINISH, name="default"),
            settings(QUICK_FIT, name="default"),
            "stages joint fit, finish instead of joint fit",
        ),
        (
            settings(FIT),  # of a version that did not record the name
            settings(QUICK_FIT, name="quick"),
            "joint fit channels 128 instead of 64, joint fit num_iter 5000 instead of 1200",
        ),
        ({"x_sha256": "a"}, {"x_sha256": "b"}, "another x"),
    ],
)
def test_differences_are_told_in_the_words_of_the_options(made_with, wanted, message):
    assert describe_differences(made_with, wanted) == message


def test_a_result_that_was_emptied_is_not_finished(tmp_path):
    outputs = Outputs(tmp_path, "a")
    made_with = settings(FIT, name="default")
    record = {"settings": made_with, "finished": True, "files": ["_x.png"]}
    outputs.record.write_text(json.dumps(record))
    outputs.image.write_bytes(b"picture")
    assert find_progress(outputs, made_with, [outputs.image]) == (True, None)
    outputs.image.write_bytes(b"")
    assert find_progress(outputs, made_with, [outputs.image]) == (False, None)


def test_a_folder_that_cannot_be_written_is_named_with_its_option(tmp_path):
    file = Path(tmp_path, "file")
    file.touch()
    with pytest.raises(DataError, match="another --export"):
        prepare_folder(file / "below", "--export")
