"""What a command line asks for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from utils.engine.stage import Method

LOCAL = "local"  # the address that stands for a Ray started by this process
AUTO: Literal["auto"] = "auto"  # a kernel size that is to be found from the image


@dataclass(frozen=True)
class Options:
    """What a command line asks for, whatever the script.

    Parameters
    ----------
    images : list of Path
        The blurry images, in order.
    save_path : Path
        Folder of the results.
    method_name : str
        The method's name.
    method : tuple of Stage
        The method, with the length and the weights that were asked for.
    auto_precision : str
        What ``auto`` stands for in the method's recipes (see `utils.engine.precision`).
    kernel_size : tuple of int or `AUTO`, optional
        Height and width for all images; by default each image's name decides.
    save_frequency : int
        Iterations between two updates of the results.
    checkpoint_seconds : float
        Seconds between two checkpoints of an image.
    seed : int
        The random seed.
    device : str
        A device that exists (see `utils.engine.deblur.choose_device`).
    workers : int
        How many images are restored side by side, each in its own process; 1 means this process.
    threads : int, optional
        Threads for each image; by default PyTorch decides.
    ray : str, optional
        Address of the Ray cluster to compute on (see `utils.runs.cluster.Cluster`).
    gpus_per_image : float
        How much of a GPU of the cluster one image takes, at most 1.
    overwrite : bool
        Whether to restore from scratch whatever exists, with whatever settings it was made.
    """

    images: list[Path]
    save_path: Path
    method_name: str
    method: Method
    auto_precision: str = "fp32"
    kernel_size: tuple[int, int] | Literal["auto"] | None = None
    save_frequency: int = 100
    checkpoint_seconds: float = 60
    seed: int = 0
    device: str = "auto"
    workers: int = 1
    threads: int | None = None
    ray: str | None = None
    gpus_per_image: float = 1
    overwrite: bool = False
