//! Mistakes that only requirement lines and tables show, told with all others.

use cog_errors::Hint as _;

use crate::support::Project;

#[test]
fn an_old_python_is_refused_with_the_newest_that_is_possible() {
    for version in ["3.7", "3.8", "3.9"] {
        let project = Project::gpu(&format!("python_version: '{version}'"), &["torch==2.0.1"]);
        let error = project.load().expect_err("it is old");
        let said = format!(
            "invalid build.python_version \"{version}\": minimum supported Python version is 3.10"
        );
        assert!(error.to_string().starts_with(&said), "{error}");
        let hint = error.hint().expect("a hint");
        assert_eq!(
            hint,
            "the requirements allow `python_version: \"3.11\"`: `torch==2.0.1` has wheels up to Python 3.11"
        );
    }
    let inline = "build: {python_version: '3.8', python_packages: ['torch==1.13.1']}\n";
    let error = Project::new(inline).load().expect_err("it is old");
    assert!(
        error
            .hint()
            .expect("a hint")
            .contains("`python_version: \"3.10\"`")
    );
}

#[test]
fn cuda_and_cudnn_must_go_together() {
    let fields = "cuda: '11.8', cudnn: '9'";
    let said = "CUDA 11.8 is incompatible with CuDNN 9: compatible CuDNN versions are: 8";
    assert!(Project::gpu(fields, &[]).invalid().starts_with(said));
    Project::cpu(fields, &[]).config();
    Project::gpu("cuda: '12.7', cudnn: '9'", &[]).config();
    Project::gpu("cuda: '12.4', cudnn: '9'", &[]).config();
}

#[test]
fn cuda_must_be_tensorflows() {
    let said =
        "TensorFlow 2.15.0 is incompatible with CUDA 11.8: TensorFlow 2.15.0 requires CUDA 12.2";
    let project = Project::gpu("cuda: '11.8'", &["tensorflow==2.15.0"]);
    assert!(project.invalid().starts_with(said), "{}", project.invalid());
    Project::cpu("cuda: '11.8'", &["tensorflow==2.15.0"]).config();
    Project::gpu("cuda: '12.4'", &["tensorflow==2.15.0"]).config();
    Project::gpu("cuda: '11.8'", &["tensorflow>=2.15.0"]).config();
    Project::gpu("cuda: '11.8'", &["tensorflow==0.4.1"]).config();
}

#[test]
fn all_of_them_are_told_at_once() {
    let said = Project::gpu(
        "python_version: '3.9', cuda: '9.1', cudnn: '7'",
        &["tensorflow==2.15.0"],
    )
    .invalid();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    assert!(
        lines[1].contains("minimum supported CUDA version is 11"),
        "{said}"
    );
    assert!(lines[2].contains("TensorFlow"), "{said}");
}
