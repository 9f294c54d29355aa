"""Make the picture of the README: the demo picture, the hands that are found in it, and their meshes.

    python data_scripts/demo_picture.py

Writes `book/images/demo.jpg` and, in the shape that links to the book are shown with, `book/_static/social.jpg`.
"""

from pathlib import Path

from PIL import Image, ImageOps

from dhpe_lib.hand.model import HandModel
from dhpe_lib.prediction.demo import compare_hands, demo_scene
from dhpe_lib.prediction.from_photo import predict_hands
from dhpe_lib.prediction.hand_search import load_hand_networks
from dhpe_lib.prediction.overlay import photo_figure

OUT = Path(__file__).parent.parent / "book" / "images" / "demo.jpg"
SOCIAL = OUT.parent.parent / "_static" / "social.jpg"
WIDTH = 1600


def main() -> None:
    model = HandModel.open_hand()
    scene = demo_scene(model)
    hands = predict_hands(model, load_hand_networks(), scene.image)
    for error in compare_hands(scene, hands):
        print(error)
    picture = Image.fromarray(photo_figure(hands, scene.image))
    picture = picture.resize((WIDTH, round(WIDTH * picture.height / picture.width)), Image.Resampling.LANCZOS)
    picture.save(OUT, quality=86)
    ImageOps.pad(picture, (1200, 630), color="white").save(SOCIAL, quality=86)
    print(f"wrote {OUT.name}: {picture.width} x {picture.height} pixels, {OUT.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
