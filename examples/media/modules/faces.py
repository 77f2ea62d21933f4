"""Looks for faces in a picture: `frame_extracted` → `face_detected` with boxes drawn, or `no_face`.

The detector is the frontal-face cascade that OpenCV ships. `no_face` forwards the picture as it came, by name: it is
not stored a second time.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import cv2
from directory import DATA_IN, FINAL, fail, insights, meta, only_input, output, raise_event

LEAST_WIDTH = 480  # smaller pictures are enlarged to this many pixels, or their faces are too small for the detector
LEAST_FACE = 60  # pixels, after that
GREEN = (80, 200, 0)  # blue, green, red

Box = tuple[int, int, int, int]


def find_faces(image: cv2.typing.MatLike) -> list[Box]:
    """The faces' boxes as left, top, width, height in pixels of the picture."""
    scale = max(1.0, LEAST_WIDTH / image.shape[1])
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    grey = cv2.equalizeHist(cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC))
    detector = cv2.CascadeClassifier(f"{cv2.data.haarcascades}haarcascade_frontalface_alt2.xml")
    found: Sequence[Sequence[int]] = detector.detectMultiScale(grey, 1.1, 5, minSize=(LEAST_FACE, LEAST_FACE))
    return [(int(x / scale), int(y / scale), int(w / scale), int(h / scale)) for x, y, w, h in found]


def save_boxed(image: cv2.typing.MatLike, boxes: list[Box], target: Path) -> None:
    for x, y, width, height in boxes:
        cv2.rectangle(image, (x, y), (x + width, y + height), GREEN, max(1, image.shape[1] // 200))
    if not cv2.imwrite(str(target), image):
        fail(f"{target.name} could not be written: is the disk full?")


def main() -> None:
    began = time.monotonic()
    cv2.setNumThreads(1)
    picture = only_input()
    image = cv2.imread(str(picture))
    if image is None:
        fail(f"{picture.name} is no picture that OpenCV can read: send a jpg or png", FINAL)
    boxes = find_faces(image)
    passed_on = {key: value for key, value in meta().items() if key in ("clip", "time_s")}
    if boxes:
        boxed = output(f"{picture.stem}-faces.jpg")
        save_boxed(image, boxes, boxed)
        raise_event("face_detected", files=[boxed.name], data={**passed_on, "count": len(boxes)})
    else:
        raise_event("no_face", inputs=[str(picture.relative_to(DATA_IN))], data=passed_on)
    insights(faces=len(boxes), boxes=boxes, seconds=round(time.monotonic() - began, 3))


if __name__ == "__main__":
    main()
