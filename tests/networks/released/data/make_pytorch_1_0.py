"""Write the files beside this one, as PyTorch 1.0 wrote those of the authors.

python3.7 -m pip install torch==1.0.0 && python3.7 tests/networks/released/data/make_pytorch_1_0.py

They are what torch.save of that version makes of whole modules on a GPU: the format before the zip
files, modules with `_backend`, and records of every class's source, whose text is left out here.
The numbers follow a pattern instead of chance, so that they compress well.
"""

import gzip
import inspect
import io
import sys
from pathlib import Path

import torch

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))

from released_tree import classes_in, image_network, kernel_network, pattern  # noqa: E402


def save(name, network):
    for i, tensor in enumerate(network.state_dict().values()):
        tensor.copy_(pattern(i, tensor.shape))
    content = io.BytesIO()
    torch.save(network, content)
    path = FOLDER / f"{name}.gz"
    path.write_bytes(gzip.compress(content.getvalue(), 9))
    print(path.name, path.stat().st_size)


inspect.getsourcefile = lambda thing: f"{thing.__module__}.py"
inspect.getsource = lambda thing: f"class {thing.__name__}: pass"
torch.serialization.register_package(0, lambda storage: "cuda:0", lambda storage, location: None)
with classes_in("models"):
    save("pytorch_1_0_xnet.pth", image_network())
save("pytorch_1_0_knet.pth", kernel_network(15 * 13))
