"""What a run reports while it works, for whoever wants to show it."""


class Display:
    """Takes the progress of a run; this one shows nothing.

    `utils.terminal.progress.Bars` draws it on a terminal.
    """

    def start(self, images: int, at_once: int) -> None:
        """A run begins, over so many images, of which so many at once are in work."""

    def begin(self, name: str, stage: str, done: int, total: int) -> None:
        """A stage of an image begins, or goes on after so many of its steps (total 0: unknown)."""

    def step(self, name: str, done: int, total: int, detail: str) -> None:
        """A stage of an image has done so many steps; the detail is its loss, for instance."""

    def end(self, name: str) -> None:
        """An image is no longer in work."""

    def image_done(self) -> None:
        """One more image is finished, skipped or failed."""

    def close(self) -> None:
        """The run ends."""
