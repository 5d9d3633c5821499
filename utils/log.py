"""The messages of a run, which `utils.terminal.progress` shows on the terminal."""

import logging

log = logging.getLogger("selfdeblur")
