"""Trains the classifier and writes its weights to `weights/iris.joblib`."""

from pathlib import Path

import joblib
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split


def main() -> None:
    iris = load_iris()
    train_x, test_x, train_y, test_y = train_test_split(iris.data, iris.target, random_state=0)
    model = RandomForestClassifier(n_estimators=50, random_state=0).fit(train_x, train_y)
    weights = Path(__file__).parent / "weights"
    weights.mkdir(exist_ok=True)
    joblib.dump(
        {"model": model, "species": list(map(str, iris.target_names))},
        weights / "iris.joblib",
    )
    print(f"accuracy on held-out flowers: {model.score(test_x, test_y):.2f}")


if __name__ == "__main__":
    main()
