"""What a command line asks for."""

from dataclasses import dataclass
from pathlib import Path

from utils.engine.stage import Method

LOCAL = "local"  # the address that stands for a Ray of this process's own


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
    kernel_size : tuple of int or None
        Height and width for all images; None where each image's name decides.
    save_frequency : int
        Iterations from one refreshing of the results to the next.
    checkpoint_seconds : float
        Seconds from one checkpoint of an image in work to the next.
    seed : int
        The random seed.
    device : str
        A device that is there (see `utils.engine.deblur.choose_device`).
    workers : int
        How many images are restored side by side at most, each in a process of its own; 1 is in
        this process.
    threads : int or None
        Threads of each; None leaves that to PyTorch.
    ray : str or None
        Address of the Ray cluster that computes (see `utils.runs.cluster.Cluster`); None where this
        machine does.
    gpus_per_image : float
        How much of a GPU of the cluster one image takes.
    overwrite : bool
        Whether what is there is restored again, from the start, with whatever settings it was made.
    """

    images: list[Path]
    save_path: Path
    method_name: str
    method: Method
    auto_precision: str
    kernel_size: tuple[int, int] | None
    save_frequency: int
    checkpoint_seconds: float
    seed: int
    device: str
    workers: int
    threads: int | None
    ray: str | None
    gpus_per_image: float
    overwrite: bool
