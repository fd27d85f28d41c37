use super::*;
use crate::container::Mount;
use crate::error::Result;
use crate::workshop::Workshop;
pub(crate) fn base(w: &Workshop<'_>, _version: &str) -> Result<Base> {
    let key = crate::plan::key("dev base", 3).finish();
    let facts = BaseFacts {
        name: "dev".into(),
        interpreter: Interpreter {
            path: "/usr/bin/python3.11".into(),
            minor: "3.11".into(),
        },
        python_platform: python_platform("2_36"),
        env: vec![],
        user: None,
        stop_signal: None,
        labels: Default::default(),
        exposed_ports: Default::default(),
        volumes: Default::default(),
        extra: Map::new(),
    };
    if let Some(r) = w.store.step(&key)? {
        return Ok(Base {
            layers: r.layers,
            facts,
        });
    }
    let s = w.store.scratch()?;
    assert!(
        std::process::Command::new("cp")
            .args(["-a", "/tmp/cogbuild/base"])
            .arg(s.path().join("d"))
            .status()?
            .success()
    );
    let _ = std::fs::remove_dir_all(s.path().join("d/dev"));
    let layer = w
        .store
        .add_layer_from_dir(&s.path().join("d"), &w.command_layer_options("base"))?;
    w.store.record_step(
        &key,
        &StepRecord {
            layers: vec![layer.clone()],
            facts: Value::Null,
        },
    )?;
    Ok(Base {
        layers: vec![layer],
        facts,
    })
}
pub(crate) fn package_sources(_workshop: &Workshop<'_>) -> Result<Vec<Mount>> {
    Ok(vec![])
}
