//! Which Python package has a module that could not be imported.

/// What Python says before the name.
const COMPLAINT: &str = "ModuleNotFoundError: No module named '";

/// What to do about the module that `text` says is missing.
pub(super) fn advice(text: &str) -> Option<String> {
    let module = missing(text)?;
    let found = PACKAGES.binary_search_by_key(&module, |(module, _)| module);
    if let Ok(at) = found {
        let package = PACKAGES[at].1;
        return Some(format!(
            "the Python module `{module}` is missing: add `{package}` to the project's requirements"
        ));
    }
    Some(format!(
        "the Python module `{module}` is missing: add the package that has it to the project's requirements, or, if it \
         is a file of the project, see that it is there and that `.dockerignore` does not leave it out"
    ))
}

/// The last module that is missing: what was tried before may have been done without. A part of a package that is
/// there is another matter.
fn missing(text: &str) -> Option<&str> {
    let (_, after) = text.rsplit_once(COMPLAINT)?;
    let (name, _) = after.split_once('\'')?;
    let is_whole = !name.is_empty()
        && name
            .chars()
            .all(|character| character.is_alphanumeric() || character == '_');
    is_whole.then_some(name)
}

/// Modules whose packages have other names, sorted.
const PACKAGES: &[(&str, &str)] = &[
    ("Crypto", "pycryptodome"),
    ("OpenSSL", "pyOpenSSL"),
    ("PIL", "pillow"),
    ("attr", "attrs"),
    ("bs4", "beautifulsoup4"),
    ("clip", "git+https://github.com/openai/CLIP.git"),
    ("cv2", "opencv-python-headless"),
    ("dateutil", "python-dateutil"),
    ("docx", "python-docx"),
    ("dotenv", "python-dotenv"),
    ("faiss", "faiss-cpu"),
    ("ffmpeg", "ffmpeg-python"),
    ("fitz", "PyMuPDF"),
    ("git", "GitPython"),
    ("jwt", "PyJWT"),
    ("magic", "python-magic"),
    ("mpl_toolkits", "matplotlib"),
    ("pkg_resources", "setuptools<81"),
    ("pptx", "python-pptx"),
    ("skimage", "scikit-image"),
    ("sklearn", "scikit-learn"),
    ("whisper", "openai-whisper"),
    ("yaml", "PyYAML"),
    ("zmq", "pyzmq"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_names_each_module_once() {
        assert!(PACKAGES.is_sorted_by(|(one, _), (other, _)| one < other));
    }

    #[test]
    fn the_package_of_a_module_is_named() {
        let text = "Traceback\nModuleNotFoundError: No module named 'cv2'\n";
        let advised = advice(text).expect("there is advice");
        assert!(advised.contains("`cv2`") && advised.contains("`opencv-python-headless`"));
        let advised =
            advice("ModuleNotFoundError: No module named 'utils'").expect("there is advice");
        assert!(advised.contains("`utils`") && advised.contains(".dockerignore"));
    }

    #[test]
    fn a_part_of_a_package_is_not_a_package() {
        assert_eq!(
            advice("ModuleNotFoundError: No module named 'torch.fancy'"),
            None
        );
        assert_eq!(advice("No module named"), None);
    }
}
