"""What a run reports while it works."""


class Display:
    """Takes the progress of a run. `utils.terminal.progress.Bars` draws it on a terminal."""

    def start(self, images: int, at_once: int) -> None:
        """A run begins, over so many images, so many of them at a time."""

    def begin(self, name: str, stage: str, done: int, total: int) -> None:
        """A stage of an image begins, or resumes after so many of its steps (total 0: unknown)."""

    def step(self, name: str, done: int, total: int, detail: str) -> None:
        """A stage of an image has done so many steps (total 0: unknown).

        The detail may be its loss.
        """

    def end(self, name: str) -> None:
        """An image is no longer being restored."""

    def image_done(self) -> None:
        """One more image is finished, skipped or failed."""

    def close(self) -> None:
        """The run ends."""
