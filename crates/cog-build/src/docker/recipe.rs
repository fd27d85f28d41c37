//! Writes jobs as a Dockerfile. Pure: from values to text.
//!
//! Each job is one `RUN`, hence one layer. What it needs from this machine is in a folder of the build context of its own,
//! named by its number, and is mounted while it runs. Nothing in the Dockerfile is newer than what Docker 20.10 knows
//! without fetching a front end.

use std::fmt::Write as _;

use crate::container::{Job, Mount};

use super::error::DaemonError;

/// Where a job finds its folder of the context.
pub(super) const FOLDER: &str = "/tmp/.cog";
/// The script that does a job, in its folder.
pub(super) const SCRIPT: &str = "run";
/// Where a job finds its variables, which may hold credentials of package indexes and proxies: a secret.
pub(super) const VARIABLES: &str = "/tmp/.cog-variables";
/// Where a job leaves the exit status of its command: a build whose `RUN` fails leaves nothing.
pub(super) const STATUS: &str = "/tmp/.cog-status";

/// How a job gets what it mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// It sees it.
    Mounted,
    /// It gets a copy, which is part of its layer until we take it out.
    Copied,
    /// It sees it, and the daemon keeps nothing of it.
    Secret,
}

pub(super) fn way(mount: &Mount) -> Way {
    if mount.is_secret() {
        Way::Secret
    } else if mount.is_writable() {
        Way::Copied
    } else {
        Way::Mounted
    }
}

/// The name of the mount `number` in its job's folder.
pub(super) fn member(number: usize) -> String {
    format!("m{number}")
}

/// The id of the secret that is mount `number` of the job `job`.
pub(super) fn secret_id(job: usize, number: usize) -> String {
    format!("cog-{job}-{number}")
}

/// The id of the secret that holds the variables of the job `job`.
pub(super) fn variables_id(job: usize) -> String {
    format!("cog-{job}-variables")
}

/// The variables of `job`, as its script reads them. A shell has no way to say others.
pub(super) fn variables(job: &Job) -> String {
    let is_name = |name: &str| {
        let mut letters = name.bytes();
        letters
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
            && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == b'_')
    };
    let variables = job.environment.iter().filter(|(name, _)| is_name(name));
    let line = |(name, value): &(String, String)| format!("export {name}={}\n", shell_word(value));
    variables.map(line).collect()
}

/// The Dockerfile that does `jobs` one after the other over the image `base`.
pub(super) fn dockerfile(base: &str, jobs: &[&Job]) -> Result<String, DaemonError> {
    let mut text = format!("FROM {base}\n");
    for (number, job) in jobs.iter().enumerate() {
        let title = job.title.replace(['\n', '\r'], " ");
        let mut run = format!(
            "# {title}\nRUN --mount=type=bind,source={number},target={FOLDER} \
             --mount=type=secret,id={},target={VARIABLES},required=true",
            variables_id(number)
        );
        for (at, mount) in job.mounts.iter().enumerate() {
            let target = plain(&mount.target)?;
            let _ = match way(mount) {
                Way::Copied => Ok(()),
                Way::Mounted => write!(
                    run,
                    " --mount=type=bind,source={number}/{},target={target}",
                    member(at)
                ),
                Way::Secret => write!(
                    run,
                    " --mount=type=secret,id={},target={target},required=true",
                    secret_id(number, at)
                ),
            };
        }
        let _ = writeln!(text, "{run} [\"/bin/sh\", \"{FOLDER}/{SCRIPT}\"]");
    }
    Ok(text)
}

/// Flags have no quotes that all daemons agree on.
fn plain(target: &str) -> Result<&str, DaemonError> {
    let odd =
        |letter: char| letter.is_whitespace() || matches!(letter, ',' | '"' | '\'' | '\\' | '$');
    if target.contains(odd) {
        return Err(DaemonError::Target {
            target: target.to_owned(),
        });
    }
    Ok(target)
}

/// The script that does `job`, unless one before it failed.
pub(super) fn script(job: &Job) -> String {
    let mut text = format!("if [ -f {STATUS} ] && [ \"$(cat {STATUS})\" != 0 ]; then exit 0; fi\n");
    for (at, mount) in job.mounts.iter().enumerate() {
        if way(mount) == Way::Copied {
            let (member, target) = (member(at), shell_word(&mount.target));
            let _ = writeln!(
                text,
                "mkdir -p {target} && cp -a {FOLDER}/{member}/. {target}/ || exit 1"
            );
        }
    }
    let words = job.arguments.iter().map(|word| shell_word(word));
    let command = words.collect::<Vec<_>>().join(" ");
    let _ = writeln!(
        text,
        ". {VARIABLES}\ncd {} || exit 1",
        shell_word(&job.working_dir)
    );
    let _ = writeln!(text, "{command}\necho $? > {STATUS}");
    text
}

/// A word that the shell leaves as it is.
fn shell_word(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::CommandOutput;

    fn job() -> Job {
        Job {
            title: "say it's\ndone".to_owned(),
            arguments: ["/bin/sh", "-c", "echo it's done"]
                .map(str::to_owned)
                .to_vec(),
            environment: Vec::new(),
            working_dir: "/".to_owned(),
            mounts: vec![
                Mount::read_only("/a", "/in"),
                Mount::writable("/b", "/out"),
                Mount::secret("/c", "/root/.token"),
            ],
            output: CommandOutput::Kept,
        }
    }

    #[test]
    fn a_job_is_an_instruction_and_a_script() {
        let text = dockerfile("base:1", &[&job(), &job()]).expect("the targets are plain");
        insta::assert_snapshot!(text, @r#"
        FROM base:1
        # say it's done
        RUN --mount=type=bind,source=0,target=/tmp/.cog --mount=type=secret,id=cog-0-variables,target=/tmp/.cog-variables,required=true --mount=type=bind,source=0/m0,target=/in --mount=type=secret,id=cog-0-2,target=/root/.token,required=true ["/bin/sh", "/tmp/.cog/run"]
        # say it's done
        RUN --mount=type=bind,source=1,target=/tmp/.cog --mount=type=secret,id=cog-1-variables,target=/tmp/.cog-variables,required=true --mount=type=bind,source=1/m0,target=/in --mount=type=secret,id=cog-1-2,target=/root/.token,required=true ["/bin/sh", "/tmp/.cog/run"]
        "#);
        insta::assert_snapshot!(script(&job()), @r#"
        if [ -f /tmp/.cog-status ] && [ "$(cat /tmp/.cog-status)" != 0 ]; then exit 0; fi
        mkdir -p '/out' && cp -a /tmp/.cog/m1/. '/out'/ || exit 1
        . /tmp/.cog-variables
        cd '/' || exit 1
        '/bin/sh' '-c' 'echo it'\''s done'
        echo $? > /tmp/.cog-status
        "#);
    }

    #[test]
    fn variables_are_what_they_were() {
        let mut job = job();
        job.environment = [("A", "it's\n$B"), ("no-name", "x"), ("_1", "")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec();
        assert_eq!(variables(&job), "export A='it'\\''s\n$B'\nexport _1=''\n");
    }

    #[test]
    fn a_target_that_no_flag_can_name_is_refused() {
        let mut job = job();
        for target in ["/a b", "/a,b", "/a\"", "/$a"] {
            job.mounts[0].target = target.to_owned();
            let refused = dockerfile("base:1", &[&job]).expect_err("it is odd");
            assert!(refused.to_string().contains(target), "{refused}");
        }
    }
}
