"""Images and JSON inside the elements of a page, so that a page stays one file."""

import base64
import io
import json
from typing import Any

from PIL import Image


def data_url(image: Image.Image, kind: str, **options: Any) -> str:
    """Encode an image as a data URL.

    Args:
        image: Image to store.
        kind: "JPEG" or "PNG".
        options: Options of Pillow's writer, such as `quality`.

    Returns:
        "data:image/jpeg;base64,..." or "data:image/png;base64,...".
    """
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def json_script(payload: Any) -> str:
    """Return JSON inside an HTML script element; no text in it can end the element or begin another one."""
    text = json.dumps(payload, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json">{text}</script>'
