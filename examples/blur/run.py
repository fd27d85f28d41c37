import tempfile

from cog import BaseRunner, Input, Path
from PIL import Image, ImageFilter


class Runner(BaseRunner):
    def run(
        self,
        image: Path = Input(description="Photo to blur", accept="image/*"),
        radius: float = Input(description="Blur radius in pixels", ge=0, le=50, default=5),
    ) -> Path:
        with Image.open(image) as photo:
            blurred = photo.convert("RGB").filter(ImageFilter.GaussianBlur(radius))
        output = Path(tempfile.mkdtemp()) / "blurred.png"
        blurred.save(output)
        return output
