//! `--separate-weights`: the image with the large files, and how the model's image gets them.

use super::Result;
use super::recipe::{Recipe, one_line};
use crate::separated::SeparatedPath;

/// The stage of the other image.
const STAGE: &str = "weights";

/// What comes from an image of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeparatedWeights {
    /// Name of the model's image; that of the other one is derived from it.
    pub image: String,
    /// What is in it.
    pub paths: Vec<SeparatedPath>,
}

impl SeparatedWeights {
    /// Name of the image with the large files.
    pub fn weights_image(&self) -> String {
        format!("{}-weights", self.image)
    }

    /// What the source is copied without.
    pub fn exclude_patterns(&self) -> Vec<String> {
        self.paths
            .iter()
            .flat_map(SeparatedPath::patterns)
            .collect()
    }
}

/// The Dockerfile of the image with the large files.
pub fn weights_dockerfile(separated: &SeparatedWeights) -> Result<String> {
    let mut recipe = Recipe::new();
    recipe.instruction("FROM", "scratch");
    for path in &separated.paths {
        recipe.copy("", path.path(), &format!("/src/{}", path.path()))?;
    }
    Ok(recipe.finish().text)
}

/// Makes the other image known. Without large files there is none.
pub(super) fn stage(recipe: &mut Recipe, separated: &SeparatedWeights) -> Result<()> {
    if separated.paths.is_empty() {
        return Ok(());
    }
    let image = separated.weights_image();
    one_line("the name of the image", &image)?;
    recipe.instruction("FROM", format!("{image} AS {STAGE}"));
    Ok(())
}

/// Each path as a layer that does not depend on those below.
pub(super) fn copy(recipe: &mut Recipe, separated: &SeparatedWeights) -> Result<()> {
    separated.paths.iter().try_for_each(|path| {
        let path = format!("/src/{}", path.path());
        recipe.copy(&format!("--link --from={STAGE} "), &path, &path)
    })
}
