"""The two scripts that show released networks, through their command lines."""

import hashlib
import json
import warnings

import numpy as np
import pytest
import torch

import selfdeblur_lai_reproduce
import selfdeblur_levin_reproduce
from networks.fcn import KernelNetwork
from networks.released.load import load_image_network, load_kernel_network
from networks.skip import SkipNetwork
from tests.networks.released.released_tree import classes_in, image_network, kernel_network
from utils.engine.deblur import draw_start
from utils.errors import DataError, UsageError
from utils.images.files import write_whole
from utils.images.kernels import crop_to_blurry
from utils.images.reading import read_gray, read_image
from utils.images.writing import write_png
from utils.runs.results import network_content

NAME = "im3_kernel9_img"  # a number without a size: the networks know their own
SIZE = (44, 40)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Make a folder with an image, and one with its networks in the authors' format."""
    data, models = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("models")
    generator = np.random.default_rng(0)
    write_png(data / f"{NAME}.png", generator.uniform(0.2, 0.8, SIZE))
    torch.manual_seed(0)
    with warnings.catch_warnings(), classes_in("models"):
        warnings.simplefilter("ignore")
        for letter, network in (("x", image_network()), ("k", kernel_network(25))):
            path = models / f"{NAME}_{letter}net.pth"
            torch.save(network, path, _use_new_zipfile_serialization=False)
    return data, models


def sums(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def main(inputs, save_path, *options):
    data, models = inputs
    arguments = ["--data_path", data, "--model_path", models, "--save_path", save_path, *options]
    return selfdeblur_levin_reproduce.main([*map(str, arguments), "--device", "cpu"])


@pytest.mark.parametrize("script", ["selfdeblur_levin_reproduce.py", "selfdeblur_lai_reproduce.py"])
def test_shows_the_networks_and_leaves_them_alone(script, inputs, run_script, tmp_path):
    data, models = inputs
    before = sums(models)
    result = run_script(
        script, "--data_path", data, "--model_path", models, "--save_path", tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert sums(models) == before
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {
        f"{NAME}_x.png", f"{NAME}_k.png", f"{NAME}.json", f"{NAME}_loss.csv", "overview.png"
    }  # fmt: skip

    record = json.loads((tmp_path / f"{NAME}.json").read_text())
    assert record["finished"] and record["iterations_done"] == 2
    assert record["loss"] == "1-SSIM"
    settings = record["settings"]
    (stage,) = settings["method"]
    assert (stage["image_lr"], stage["kernel_lr"]) == (0.0001, 0)
    assert stage["milestones"] == [700, 800, 900]
    assert settings["kernel_size"] == [5, 5]
    assert settings["xnet_sha256"] == before[f"{NAME}_xnet.pth"]
    assert settings["knet_sha256"] == before[f"{NAME}_knet.pth"]


def test_first_iteration_shows_the_network_as_it_is(inputs, tmp_path):
    _, models = inputs
    assert main(inputs, tmp_path / "first", "--num_iter", 1) == 0
    gx = load_image_network(models / f"{NAME}_xnet.pth")
    gk = load_kernel_network(models / f"{NAME}_knet.pth")
    start = draw_start(SIZE, (5, 5))
    generator = torch.Generator().set_state(start.noise_state)
    noise = torch.empty_like(start.zx).normal_(generator=generator)
    with torch.no_grad():
        image = crop_to_blurry(gx(start.zx + 0.001 * noise)[0, 0].numpy(), (5, 5))
        kernel = gk(start.zk)[0, 0].numpy()
    shown = read_gray(tmp_path / "first" / f"{NAME}_x.png")
    assert shown.std() > 0.01
    assert shown == pytest.approx(image, abs=0.6 / 255)
    assert read_gray(tmp_path / "first" / f"{NAME}_k.png") == pytest.approx(
        kernel / kernel.max(), abs=0.6 / 255
    )

    # In the second iteration the image has changed, the kernel has not.
    assert main(inputs, tmp_path / "second") == 0
    assert abs(read_gray(tmp_path / "second" / f"{NAME}_x.png") - shown).max() > 0.02
    kernels = [(tmp_path / run / f"{NAME}_k.png").read_bytes() for run in ("first", "second")]
    assert kernels[0] == kernels[1]


def test_saves_every_iteration(inputs, tmp_path, monkeypatch):
    saved = []

    def write(path, content):
        saved.append(path.name)
        write_whole(path, content)

    monkeypatch.setattr("utils.runs.run.write_whole", write)
    assert main(inputs, tmp_path, "--num_iter", 3) == 0
    assert saved.count(f"{NAME}_x.png") == 3


def test_exports_networks_that_torch_loads_safely(inputs, tmp_path):
    _, models = inputs
    exported = tmp_path / "exported"
    assert main(inputs, tmp_path / "a", "--export", exported) == 0
    for letter, load in (("x", load_image_network), ("k", load_kernel_network)):
        path = exported / f"{NAME}_{letter}net.pth"
        saved = torch.load(path, weights_only=True)
        assert saved["image_size"] == list(SIZE)
        assert saved["settings"]["kernel_size"] == [5, 5]
        released = load(models / path.name).state_dict()
        assert saved["state_dict"].keys() == released.keys()
        # They are the released ones, not those after the step.
        for key, tensor in load(path).state_dict().items():
            assert torch.equal(tensor, released[key])

    # The exported networks serve as models themselves, and give the same pictures.
    assert main((inputs[0], exported), tmp_path / "b") == 0
    for suffix in ("x", "k"):
        pictures = [(tmp_path / run / f"{NAME}_{suffix}.png").read_bytes() for run in "ab"]
        assert pictures[0] == pictures[1]


def test_export_neither_replaces_models_nor_other_networks(inputs, tmp_path, capsys):
    _, models = inputs
    before = sums(models)
    with pytest.raises(UsageError, match="is the --model_path, which is never written"):
        main(inputs, tmp_path / "a", "--export", models)
    assert sums(models) == before

    exported = tmp_path / "exported"
    assert main(inputs, tmp_path / "a", "--export", exported) == 0
    assert main(inputs, tmp_path / "a", "--export", exported) == 0  # done before, both
    other = exported / f"{NAME}_xnet.pth"
    whole = other.read_bytes()
    other.write_bytes(b"of some other run")
    assert main(inputs, tmp_path / "a", "--export", exported) == 1
    assert "--overwrite replaces it" in capsys.readouterr().err
    assert other.read_bytes() == b"of some other run"
    assert main(inputs, tmp_path / "a", "--export", exported, "--overwrite") == 0
    assert other.read_bytes() == whole


def test_notices_changed_models(inputs, tmp_path, capsys):
    data, models = inputs
    assert main(inputs, tmp_path / "a") == 0
    assert main(inputs, tmp_path / "a") == 0
    assert "done before" in capsys.readouterr().err

    changed = tmp_path / "models"
    changed.mkdir()
    for path in models.iterdir():
        (changed / path.name).write_bytes(path.read_bytes())
    torch.save(kernel_network(25), changed / f"{NAME}_knet.pth")
    assert main((data, changed), tmp_path / "a") == 1
    message = capsys.readouterr().err
    assert "was made with another knet; " in message


def test_says_what_is_missing_or_wrong(inputs, tmp_path, capsys):
    data, models = inputs
    with pytest.raises(DataError, match="no such folder of networks; results/README.md says"):
        main((data, tmp_path / "none"), tmp_path / "a")
    (tmp_path / "empty").mkdir()
    assert main((data, tmp_path / "empty"), tmp_path / "a") == 1
    assert f"{NAME}_xnet.pth: no such network; results/README.md" in capsys.readouterr().err
    assert main(inputs, tmp_path / "a", "--kernel_size", 7) == 1
    assert "Gk for a kernel of 5 x 5, not of 7 x 7" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(inputs, tmp_path, "--recipe", "quick")
    assert "invalid choice: 'quick'" in capsys.readouterr().err


def test_a_hostile_model_fails_alone_and_does_nothing(inputs, tmp_path, capsys):
    data, models = inputs
    both, folder, marker = tmp_path / "data", tmp_path / "models", tmp_path / "marker"
    both.mkdir()
    folder.mkdir()
    for name in (NAME, "im1_kernel1_img"):
        (both / f"{name}.png").write_bytes((data / f"{NAME}.png").read_bytes())
        for letter in "xk":
            (folder / f"{name}_{letter}net.pth").write_bytes(
                (models / f"{NAME}_{letter}net.pth").read_bytes()
            )
    (folder / "im1_kernel1_img_xnet.pth").write_bytes(
        b"\x80\x02cposix\nsystem\nX" + len(f"touch {marker}").to_bytes(4, "little")
        + f"touch {marker}".encode() + b"\x85R."
    )  # fmt: skip
    assert main((both, folder), tmp_path / "results") == 1
    assert "im1_kernel1_img_xnet.pth: refused: names 'posix.system'" in capsys.readouterr().err
    assert not marker.exists()
    assert (tmp_path / "results" / f"{NAME}_x.png").exists()
    assert not (tmp_path / "results" / "im1_kernel1_img_x.png").exists()


def test_color_input_of_lai_keeps_its_color(inputs, tmp_path):
    data, models = inputs
    folder = tmp_path / "data"
    folder.mkdir()
    color = np.dstack([read_gray(data / f"{NAME}.png") * share for share in (1, 0.8, 0.6)])
    write_png(folder / f"{NAME}.png", color)
    arguments = ["--data_path", folder, "--model_path", models, "--save_path", tmp_path / "a"]
    assert selfdeblur_lai_reproduce.main([*map(str, arguments), "--device", "cpu"]) == 0
    assert read_image(tmp_path / "a" / f"{NAME}_x.png").shape == SIZE
    assert read_image(tmp_path / "a" / f"{NAME}.png").shape == (*SIZE, 3)


def test_refuses_a_narrower_network(inputs, tmp_path, capsys):
    _, models = inputs
    folder = tmp_path / "models"
    folder.mkdir()
    settings = {"channels": 6, "scales": 5, "kernel_size": [5, 5]}
    for letter, network in (("x", SkipNetwork(channels=6)), ("k", KernelNetwork((5, 5)))):
        write_whole(folder / f"{NAME}_{letter}net.pth", network_content(network, SIZE, settings))
    assert main((inputs[0], folder), tmp_path / "a") == 1
    assert "Gx with 6 channels and 5 scales" in capsys.readouterr().err
