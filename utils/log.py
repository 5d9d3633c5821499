"""Where runs say what they do; `utils.terminal.program` shows it on a terminal."""

import logging

log = logging.getLogger("selfdeblur")
