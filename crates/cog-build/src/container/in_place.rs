//! Runs the scripts of packages in a tree that is not a layer yet.

use std::io;
use std::path::Path;

use cog_debian::RunInRoot;
use cog_image::merge_upper;

use super::{Containers, Job};
use crate::error::{BuildError, CommandOutput, Result};
use crate::executor::Executor;
use crate::reporter::Silent;

/// What the scripts print is no news unless one fails; then it is in the error.
pub(crate) struct InPlace<'a> {
    executor: &'a Executor<'a>,
    containers: Containers<'a>,
}

impl<'a> InPlace<'a> {
    pub(crate) fn new(executor: &'a Executor<'a>) -> Result<Self> {
        // A daemon takes longer: it has to be given the tree.
        let own = executor.own.map(Containers::Own);
        let containers = own
            .or(executor.containers)
            .ok_or_else(|| BuildError::NeedsContainer {
                step: "the Debian base".to_owned(),
            })?;
        Ok(Self {
            executor,
            containers,
        })
    }

    fn execute(&self, root: &Path, command: &[&str], env: &[(&str, &str)]) -> Result<()> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let job = Job {
            title: "setting up the packages".to_owned(),
            arguments: command
                .iter()
                .map(|&argument| argument.to_owned())
                .collect(),
            environment: env.iter().map(owned).collect(),
            working_dir: "/".to_owned(),
            mounts: Vec::new(),
            output: CommandOutput::Kept,
        };
        let quiet = Executor {
            reporter: &Silent,
            ..*self.executor
        };
        self.executor.doing("setting up the base's packages");
        match self.containers {
            Containers::Own(engine) => {
                let scratch = self.executor.store.scratch()?;
                // An overlay needs something below: with nothing in it, all changes are made in the tree.
                let nothing = scratch.path().join("nothing");
                fs_err::create_dir(&nothing)?;
                quiet.execute(engine, vec![nothing], root.to_owned(), job)
            }
            Containers::Docker(docker) => {
                let options = self.executor.command_layer_options("the tree as it was");
                let tree = self.executor.store.add_layer_like(root, &options)?;
                let upper = self.executor.upper()?;
                let ended = docker.run(&quiet, &[tree], &[&job], &[&upper])?;
                ended.into_iter().collect::<Result<()>>()?;
                merge_upper(upper.path(), root)?;
                // Containers of our own mount something there, and clear the places away: every container makes them anew.
                for place in ["proc", "sys", "dev"] {
                    match fs_err::remove_dir(root.join(place)) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => {
                            return Err(error.into());
                        }
                        _ => {}
                    }
                }
                Ok(())
            }
        }
    }
}

impl RunInRoot for InPlace<'_> {
    fn run(
        &self,
        root: &Path,
        command: &[&str],
        env: &[(&str, &str)],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.execute(root, command, env)?)
    }
}
