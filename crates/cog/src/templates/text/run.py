# The model's interface: https://cog.run/python

from cog import BaseRunner, Input


class Runner(BaseRunner):
    def setup(self) -> None:
        """Load the model into memory, so that many predictions can use it"""
        self.greeting = "Hello"

    def run(
        self,
        prompt: str = Input(description="Whom to greet"),
        excitement: int = Input(description="Exclamation marks", ge=0, le=10, default=1),
    ) -> str:
        """Run one prediction on the model"""
        return f"{self.greeting}, {prompt}{'!' * excitement}"
