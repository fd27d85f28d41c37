from pathlib import Path

import joblib
from cog import BaseModel, BaseRunner, Input


class Prediction(BaseModel):
    species: str
    probability: float


class Runner(BaseRunner):
    def setup(self) -> None:
        weights = joblib.load(Path(__file__).parent / "weights" / "iris.joblib")
        self.model = weights["model"]
        self.species = weights["species"]

    def run(
        self,
        sepal_length: float = Input(description="Centimetres", ge=0, le=20),
        sepal_width: float = Input(description="Centimetres", ge=0, le=20),
        petal_length: float = Input(description="Centimetres", ge=0, le=20),
        petal_width: float = Input(description="Centimetres", ge=0, le=20),
    ) -> Prediction:
        flower = [[sepal_length, sepal_width, petal_length, petal_width]]
        probabilities = self.model.predict_proba(flower)[0]
        best = int(probabilities.argmax())
        return Prediction(species=self.species[best], probability=float(probabilities[best]))
