//! The name of an image that was given none.

use std::path::Path;

const PREFIX: &str = "cog-";
const MAX_LENGTH: usize = 26;

/// From the project's folder: lower case, blanks as dashes, everything else out, at most 26 characters, `cog-` before it.
pub fn derived_image_name(project_dir: &Path) -> String {
    let folder = project_dir
        .file_name()
        .map(|name| name.to_string_lossy().to_lowercase())
        .unwrap_or_default();
    let name: String = folder
        .chars()
        .map(|character| if character == ' ' { '-' } else { character })
        .filter(|character| {
            character.is_ascii_lowercase() || character.is_ascii_digit() || *character == '-'
        })
        .take(MAX_LENGTH)
        .collect();
    if name.starts_with(PREFIX) {
        name
    } else {
        format!("{PREFIX}{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_of_the_folder() {
        for (folder, name) in [
            ("/x/Hello World", "cog-hello-world"),
            ("/x/cog-thing", "cog-thing"),
            ("/x/a_b.c", "cog-abc"),
            (
                "/x/abcdefghijklmnopqrstuvwxyz0123",
                "cog-abcdefghijklmnopqrstuvwxyz",
            ),
        ] {
            assert_eq!(derived_image_name(Path::new(folder)), name);
        }
    }
}
