//! Files that are named without the `@` that would send them.

use cog_inputs::{Kind, ModelInputs};
use serde_json::Value;

use super::expanded;

/// What to do about a `flag` that names a file of this machine where the model takes files, and gives it the name alone:
/// the model then looks for it where it runs.
pub(crate) fn forgotten_at(flags: &[String], document: &Value, kind: Kind) -> Option<String> {
    let model = ModelInputs::of(document);
    let inputs = model.inputs(kind)?;
    flags.iter().find_map(|flag| {
        let (name, path) = flag.split_once('=')?;
        let takes_files = inputs.field(name)?.takes_files();
        let is_name = !path.starts_with('@') && !path.contains("://") && !path.starts_with("data:");
        (takes_files && is_name && expanded(path).is_file()).then(|| {
            format!(
                "the model got the text `{path}`, not the file: did you mean `-i {name}=@{path}`?"
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_file_that_is_there_and_was_not_sent_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("photo.jpg");
        fs_err::write(&path, "x").unwrap();
        let path = path.display();
        let document = json!({"components": {"schemas": {"Input": {"type": "object", "properties": {
            "image": {"type": "string", "format": "uri"}, "text": {"type": "string"},
        }}}}});
        let advice = |flag: String| forgotten_at(&[flag], &document, Kind::Prediction);
        let forgotten = advice(format!("image={path}")).unwrap();
        assert!(
            forgotten.ends_with(&format!("did you mean `-i image=@{path}`?")),
            "{forgotten}"
        );
        for fine in [
            format!("image=@{path}"),
            format!("image=file://{path}"),
            format!("image={path}.none"),
            format!("text={path}"),
            format!("other={path}"),
        ] {
            assert_eq!(advice(fine.clone()), None, "{fine}");
        }
    }
}
