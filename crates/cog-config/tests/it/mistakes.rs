//! Mistakes as data: what `cog` says of each, and whether the schema for editors knows it, which
//! `tests/scenarios/test_config_schema.py` looks at.

use serde_json::Value;

use crate::support::Project;

#[test]
fn each_mistake_is_told() {
    let mistakes: Value =
        serde_json::from_str(include_str!("mistakes.json")).expect("the file is JSON");
    let mistakes = mistakes.as_array().expect("a list");
    assert!(mistakes.len() > 50);
    for mistake in mistakes {
        // JSON is YAML.
        let project = Project::new(&mistake["config"].to_string());
        let expected = mistake["error"].as_str().expect("a text");
        let said = project
            .load()
            .expect_err(&mistake["config"].to_string())
            .to_string();
        assert!(said.contains(expected), "{mistake}: {said}");
    }
}
