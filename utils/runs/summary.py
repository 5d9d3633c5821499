"""The summary at the end of a run: the table, the overview, and what failed."""

from pathlib import Path
from typing import Any

import numpy as np

from datasets.catalog import find_truth
from statistic.metrics import comp_upto_shift
from utils.errors import DataError, describe, printable
from utils.images.files import OVERVIEW, read_json
from utils.images.reading import read_gray, read_image
from utils.log import log
from utils.runs.experiment import Experiment
from utils.runs.options import Options
from utils.runs.overview import MAX_ROWS, Panels, draw_overview, shrink
from utils.runs.results import Outputs
from utils.tables import format_table


def report(
    options: Options, experiment: Experiment, failures: dict[str, str], elsewhere: set[str]
) -> None:
    """Print the table of all images, draw their overview, and name those that failed.

    Parameters
    ----------
    options, experiment
        As in `utils.runs.run.restore_all`.
    failures : dict of str to str
        The reason why an image failed, by its name.
    elsewhere : set of str
        Names of the images that another process was working on, and may have finished by now.
    """
    rows: list[list[str]] = []
    panels: list[Panels] = []
    scores: list[list[float]] = []
    for path in options.images:
        if path.stem in failures:
            rows.append([path.stem, "failed"])
            continue
        if path.stem in elsewhere and not Outputs(options.save_path, path.stem).recorded_finished():
            rows.append([path.stem, "in progress elsewhere"])
            continue
        try:
            record, panel = read_result(path, options, experiment)
        except Exception as error:  # whatever one image's fault, the others are reported
            log.warning("%s: not in the table: %s", path.stem, describe(error))
            rows.append([path.stem])
            continue
        loss = f"{record['final_loss']:.5f}" if "final_loss" in record else ""
        rows.append([path.stem, f"{record['seconds']:.0f}", loss])
        if panel.before and panel.after:
            scores.append([*panel.before, *panel.after])
            rows[-1] += format_scores(scores[-1])
        if len(panels) < MAX_ROWS:
            panels.append(panel)

    if len(scores) > 1:
        rows.append([f"mean of {len(scores)}", "", "", *format_scores(np.mean(scores, axis=0))])
    header = ["image", "seconds", "loss"]
    if scores:
        header += ["PSNR blurry", "restored", "SSIM blurry", "restored"]
    print(format_table(header, rows))
    if panels:
        picture = options.save_path / OVERVIEW
        try:
            draw_overview(picture, panels)
            print(f"picture: {printable(str(picture))}")
        except Exception as error:  # the results exist, with or without it
            log.warning("no picture: %s", describe(error))
    for name, reason in failures.items():
        print(printable(f"failed: {name}: {reason}"))


def read_result(
    path: Path, options: Options, experiment: Experiment
) -> tuple[dict[str, Any], Panels]:
    """Read the record and the images of a result, and score it if its truth is known."""
    outputs = Outputs(options.save_path, path.stem)
    record = read_json(outputs.record)
    blurry, restored = read_image(path), read_image(outputs.image)
    truth, before, after = None, None, None
    if truth_path := find_truth(path):
        try:
            truth = read_image(truth_path)
            scored = experiment.scored_luma
            before, after = (
                comp_upto_shift(scored.luminance(image, experiment.luma), scored.luminance(truth))[
                    :2
                ]
                for image in (blurry, restored)
            )
        except (DataError, OSError, ValueError) as error:
            log.warning("%s: not scored: %s", path.stem, describe(error))
    if experiment.color_suffix and outputs.file(experiment.color_suffix).is_file():
        restored = read_image(outputs.file(experiment.color_suffix))
    kernel = read_gray(experiment.files(path.stem).get("kernel", outputs.kernel))
    blurry, restored = shrink(blurry), shrink(restored)
    truth = None if truth is None else shrink(truth)
    return record, Panels(path.stem, blurry, restored, truth, kernel, before, after)


def format_scores(scores: list[float]) -> list[str]:
    """PSNR and SSIM of the blurry and of the restored image as the table's columns."""
    psnr_before, ssim_before, psnr_after, ssim_after = scores
    return [f"{psnr_before:.2f}", f"{psnr_after:.2f}", f"{ssim_before:.4f}", f"{ssim_after:.4f}"]
