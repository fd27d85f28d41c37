# The model's interface: https://cog.run/python

import tempfile

from cog import BaseRunner, Input, Path
from PIL import Image, ImageOps


class Runner(BaseRunner):
    def setup(self) -> None:
        """Load the model into memory, so that many predictions can use it"""

    def run(
        self,
        image: Path = Input(description="Input image"),
        scale: float = Input(description="Factor to scale image by", ge=0.01, le=10, default=0.5),
        grayscale: bool = Input(description="Take the colours out", default=False),
    ) -> Path:
        """Run one prediction on the model"""
        picture = ImageOps.scale(Image.open(image).convert("RGB"), scale)
        if grayscale:
            picture = ImageOps.grayscale(picture)
        output = Path(tempfile.mkdtemp()) / "output.png"
        picture.save(output)
        return output
