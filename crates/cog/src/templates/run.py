# The model's interface: https://cog.run/python

from cog import BaseRunner, Input, Path


class Runner(BaseRunner):
    def setup(self) -> None:
        """Load the model into memory, so that many predictions can use it"""
        # self.model = torch.load("./weights.pth")

    def run(
        self,
        image: Path = Input(description="Grayscale input image"),
        scale: float = Input(description="Factor to scale image by", ge=0, le=10, default=1.5),
    ) -> Path:
        """Run one prediction on the model"""
        # processed_input = preprocess(image)
        # output = self.model(processed_input, scale)
        # return postprocess(output)
