"""Says what a picture without a face is like: `no_face` → insights only; a leaf of the tree raises nothing.

No model, three plain measures. Colour: the pixels are counted by hue into named colours, or where they have too little
saturation or light for a hue into black, grey and white; the most frequent wins. Brightness: the mean lightness, 0 to
255. Sharpness: the variance of the Laplacian, near 0 for a blur. The label follows from them: `night` if it is dark,
`nature` where much is green or blue, `built` where most has no hue (streets, walls), else `mixed`.
"""

import time

import cv2
import numpy as np
from directory import FINAL, fail, insights, only_input

HUES = ((8, "red"), (22, "orange"), (33, "yellow"), (85, "green"), (130, "blue"), (155, "purple"), (172, "pink"))
"""Where each hue ends, of OpenCV's 180; the rest is red again."""

GREYS = ("black", "grey", "white")
SIDE = 256  # pixels; colours are as good on a small picture


def count_colours(image: cv2.typing.MatLike) -> dict[str, float]:
    """The share of the pixels by named colour, the most frequent first."""
    hue, saturation, value = cv2.split(cv2.cvtColor(image, cv2.COLOR_BGR2HSV))
    names = [name for _, name in HUES] + ["red", *GREYS]
    which = np.searchsorted([end for end, _ in HUES], hue, side="right")
    plain = (saturation < 45) | (value < 40)
    which[plain] = len(HUES) + 1 + np.searchsorted([60, 190], value[plain])
    shares: dict[str, float] = {}
    for name, count in zip(names, np.bincount(which.ravel(), minlength=len(names)), strict=True):
        shares[name] = shares.get(name, 0.0) + float(count) / hue.size
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def label(shares: dict[str, float], brightness: float) -> str:
    if brightness < 60:
        return "night"
    if shares["green"] + shares["blue"] > 0.4:
        return "nature"
    return "built" if sum(shares[name] for name in GREYS) > 0.5 else "mixed"


def main() -> None:
    began = time.monotonic()
    cv2.setNumThreads(1)
    picture = only_input()
    image = cv2.imread(str(picture))
    if image is None:
        fail(f"{picture.name} is no picture that OpenCV can read: send a jpg or png", FINAL)
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    brightness = round(float(grey.mean()), 1)
    shares = count_colours(cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA))
    insights(
        label=label(shares, brightness),
        colour=next(iter(shares)),
        colours={name: round(share, 3) for name, share in shares.items() if share >= 0.05},
        brightness=brightness,
        sharpness=round(float(cv2.Laplacian(grey, cv2.CV_64F).var()), 1),
        seconds=round(time.monotonic() - began, 3),
    )


if __name__ == "__main__":
    main()
