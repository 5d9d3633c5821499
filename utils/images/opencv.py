"""OpenCV with this project's limit, which it reads when imported: import `cv2` from here."""

import os

__all__ = ["MAX_PIXELS", "cv2"]

# 8192 x 8192: more than the 61 million pixels of today's full-frame cameras, and in color 1.6 GB
# in the double precision that everything is computed in. OpenCV compares what a file claims with
# it before it takes any memory for the pixels.
MAX_PIXELS = os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(2**26))

import cv2  # noqa: E402

# We say what is wrong with a file in one line; OpenCV's log would take a page.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
