"""Checkpoints: where an image's restoration stands, as the bytes of a file."""

import io
import zipfile
from dataclasses import dataclass
from typing import Any

import torch

from utils.engine.deblur import State

FORMAT = 1


class CheckpointError(Exception):
    """A checkpoint from which nothing can go on. The message is its fault, without a file name."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint tells of an image's restoration.

    Parameters
    ----------
    settings : dict
        What decides the result, as it is recorded with it.
    seconds : float
        How long the restoration has taken so far.
    rescued_from : dict or None
        What the first optimisation had reached, where this is the one after it.
    optimisation : dict
        What changes in a `State` from one iteration to the next.
    """

    settings: dict[str, Any]
    seconds: float
    rescued_from: dict[str, Any] | None
    optimisation: dict[str, Any]

    @property
    def iterations_done(self) -> int:
        """Iterations of the optimisation so far."""
        return len(self.optimisation["losses"])


def pack_checkpoint(
    state: State, settings: dict[str, Any], seconds: float, rescued_from: dict[str, Any] | None
) -> bytes:
    """Put where a restoration stands into a file's bytes (the arguments are `Checkpoint`'s).

    Parameters
    ----------
    state : State
        Where the optimisation stands. Its random inputs are left out: they can be drawn again.

    Returns
    -------
    bytes
        A file that ``torch.load(..., weights_only=True)`` reads.
    """
    optimisation = {
        "gx": state.gx.state_dict(),
        "gk": state.gk.state_dict(),
        "moments": state.moments,
        "noise_state": state.noise_state,
        "noise_device": state.noise_device,
        "losses": torch.tensor(state.losses, dtype=torch.float64),
    }
    content = io.BytesIO()
    torch.save(
        {
            "format": FORMAT,
            "settings": settings,
            "seconds": seconds,
            "rescued_from": rescued_from,
            "optimisation": optimisation,
        },
        content,
    )
    return content.getvalue()


def unpack_checkpoint(content: bytes) -> Checkpoint:
    """Read what `pack_checkpoint` made; on the CPU, whatever device it was on.

    Raises
    ------
    CheckpointError
        If it is damaged, or of another version of this program.
    """
    try:
        # torch.load would take altered bytes for weights.
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise CheckpointError(f"damaged at {damaged}")
        saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        if saved.pop("format") != FORMAT:
            raise CheckpointError("of another version of this program")
        checkpoint = Checkpoint(**saved)
        checkpoint.optimisation["losses"] = checkpoint.optimisation["losses"].tolist()
    except (CheckpointError, MemoryError):
        raise
    except Exception as error:  # whatever zipfile and torch.load raise by the place of the damage
        raise CheckpointError(f"damaged or cut off ({type(error).__name__})") from error
    return checkpoint


def resume(state: State, checkpoint: Checkpoint) -> None:
    """Bring a state that was drawn anew to where a checkpoint's optimisation stood.

    Parameters
    ----------
    state : State
        Drawn with the settings of the checkpoint; changed in place.
    checkpoint : Checkpoint
        What to go on from.

    Raises
    ------
    CheckpointError
        If it does not fit the state; what `state` holds is then undefined.
    """
    saved = checkpoint.optimisation
    try:
        state.gx.load_state_dict(saved["gx"])
        state.gk.load_state_dict(saved["gk"])
        state.moments = saved["moments"]
        for name, moments in (state.moments or {}).items():
            shapes = [weight.shape for weight in getattr(state, name).parameters()]
            for kind in ("means", "squares"):
                if [tensor.shape for tensor in moments[kind]] != shapes:
                    raise ValueError(f"moments of {name}")
        state.noise_state, state.noise_device = saved["noise_state"], saved["noise_device"]
        state.losses = list(saved["losses"])
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise CheckpointError("of networks of another kind") from error
