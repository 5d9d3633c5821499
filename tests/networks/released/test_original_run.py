"""Two networks that the original code wrote, in a run of somebody else's in 2022."""

import numpy as np
import pytest
import torch

from networks.released.load import load_image_network, load_kernel_network
from tests.conftest import SHARED, first_that_exists
from utils.images.reading import read_gray

# The image of a kernel is from before the last update and the network from after it, which moved
# the logarithm of an entry by up to 1.25e-5 (the last rate) times the sum of the hidden layer, 151.
LAST_UPDATE = 0.0019


@pytest.mark.parametrize("name, side", [("im1_kernel5_img", 11), ("im4_kernel4_img", 27)])
def test_the_network_gives_the_kernel_beside_it(name, side):
    folder = first_that_exists(SHARED / "data/original_run/levin")
    gk = load_kernel_network(folder / f"{name}_knet.pth")
    assert gk.kernel_size == (side, side)
    zk = 0.1 * torch.zeros(200).uniform_(generator=torch.Generator().manual_seed(0))
    assert zk[:2].tolist() == pytest.approx([0.0496256612, 0.0768221840])
    with torch.no_grad():
        kernel = gk(zk)[0, 0].numpy()
    kernel = 255 * kernel / kernel.max()
    image = 255 * read_gray(folder / f"{name}_k.png")
    assert np.all(np.abs(kernel - image) <= 0.5 + 2 * LAST_UPDATE * kernel)
    assert np.sum(np.rint(kernel) != np.rint(image)) <= 1  # 4.5045 where the image has 4
    with pytest.raises(ValueError, match="not Gx"):
        load_image_network(folder / f"{name}_knet.pth")
